//! Postgres roles of one session each: there while the session is, named in the server's own log, gone afterwards, whatever
//! was killed meanwhile.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::process::Command;

use crate::appliance::{Appliance, Who, text};
use crate::raw::{Raw, Said, until_it_listens};
use crate::upstream_logins::superuser;

const PASSWORD: &str = "minter-canary-4711";

/// An appliance with a connection `own` whose sessions have roles of their own.
fn start() -> Appliance {
    let appliance = Appliance::start();
    superuser(
        &appliance,
        &format!(
            "CREATE ROLE weir_minter LOGIN CREATEROLE PASSWORD '{PASSWORD}'; CREATE ROLE clinic_reader;
             GRANT clinic_reader TO weir_minter WITH ADMIN OPTION;
             GRANT SELECT ON ALL TABLES IN SCHEMA public TO clinic_reader; GRANT USAGE, CREATE ON SCHEMA public TO clinic_reader"
        ),
    );
    let port = superuser(&appliance, "SHOW port");
    let secret = appliance.dir.join("secrets/minter");
    let file = fs::File::options().write(true).create_new(true).mode(0o600).open(secret);
    file.unwrap().write_all(PASSWORD.as_bytes()).unwrap();
    let role = |name: &str, parent: &str| {
        format!(
            "[[connection]]\nname = \"{name}\"\nprotocol = \"postgres\"\nupstream = \"127.0.0.1:{port}\"\n\
             tls = \"verify-full\"\nroots = \"../tls/ca.pem\"\nserver_name = \"localhost\"\ndatabase = \"clinic\"\n\
             [[role]]\nconnection = \"{name}\"\nname = \"privileged\"\nuser = \"weir_minter\"\n\
             password_file = \"../secrets/minter\"\nsession_role = \"{parent}\"\n\
             [[grant]]\nconnection = \"{name}\"\nrole = \"privileged\"\ngroups = [\"privileged\"]\n"
        )
    };
    let access = [role("own", "clinic_reader"), role("not-ours", "postgres")].concat();
    fs::write(appliance.dir.join("access/own.toml"), access).unwrap();
    let applied = appliance.admin(&["apply", "--config", appliance.var("WEIR_CONFIG")]);
    assert!(applied.status.success(), "{}", text(&applied.stderr));
    Appliance::until("the connection to be in force", || log_in(&appliance).ok());
    until_none_is_left(&appliance);
    appliance
}

fn log_in(appliance: &Appliance) -> Result<Raw, Said> {
    Raw::log_in(appliance, "own", "privileged", &appliance.token(Who::Privileged))
}

/// Roles of sessions that the server has.
fn roles(appliance: &Appliance) -> Vec<String> {
    let names =
        superuser(appliance, "SELECT rolname FROM pg_roles WHERE rolname LIKE 'weir\\_s\\_%' ORDER BY 1");
    names.lines().map(str::to_owned).collect()
}

fn until_none_is_left(appliance: &Appliance) {
    Appliance::until("the sessions' roles to be gone", || roles(appliance).is_empty().then_some(()));
}

fn one(raw: &mut Raw, sql: &str) -> String {
    raw.query(sql).unwrap_or_else(|said| panic!("{sql}: {said:?}")).remove(0)
}

#[test]
fn a_session_has_a_role_of_its_own_while_it_lasts_and_the_servers_log_names_it() {
    let appliance = start();
    let (mut first, mut second) = (log_in(&appliance).unwrap(), log_in(&appliance).unwrap());
    let own = one(&mut first, "SELECT session_user");
    assert_ne!(own, one(&mut second, "SELECT session_user"));
    assert!(own.starts_with("weir_s_"), "{own}");
    assert_eq!(one(&mut first, "SELECT current_user"), "clinic_reader");
    assert_eq!(one(&mut first, "SELECT count(*) FROM patients"), "10000");
    assert_eq!(roles(&appliance).len(), 2);
    // The name is the session's.
    let live = appliance.admin(&["sessions", "list", "--connection", "own", "--json"]);
    let id = own.rsplit('_').next().unwrap().to_uppercase();
    assert!(text(&live.stdout).contains(&id), "{id}: {}", text(&live.stdout));
    let log = fs::read_to_string(Path::new(appliance.var("WEIR_LOGS")).join("postgres.log")).unwrap();
    assert!(log.contains(&format!("user={own}")), "the server's log names {own}");
    // No rights but its parent's.
    let refused = first.query("CREATE ROLE mine").unwrap_err();
    assert_eq!(refused.sqlstate, "42501");
    // It may give itself a password, as any role may: that is of no use past the gateway.
    first.query(&format!("SET ROLE NONE; ALTER ROLE {own} PASSWORD 'known'")).unwrap();
    first.query("RESET ROLE").unwrap();
    let url = appliance.var("WEIR_PG_UPSTREAM").replace("weir_clinic", &own);
    let (before, after) = url.split_once(&format!("{own}:")).unwrap();
    let direct = format!("{before}{own}:known@{}", after.split_once('@').unwrap().1);
    let refused = Command::new("psql").args([&direct, "-XAtqc", "SELECT 1"]).output().unwrap();
    assert!(text(&refused.stderr).contains("too many connections for role"), "{}", text(&refused.stderr));
    // What it makes, as its parent or in its own name, does not keep the role.
    first.query("CREATE TABLE made_as_parent (a int)").unwrap();
    first.query("SET ROLE NONE; CREATE TEMP TABLE made_as_itself (a int)").unwrap();
    first.query("CREATE TABLE made_as_itself_for_good (a int)").unwrap();
    drop(first);
    Appliance::until("the first one's role to be gone", || (!roles(&appliance).contains(&own)).then_some(()));
    assert_eq!(roles(&appliance).len(), 1, "the other's is there");
    let owners = "SELECT DISTINCT tableowner FROM pg_tables WHERE tablename LIKE 'made_as%'";
    assert_eq!(superuser(&appliance, owners), "clinic_reader");
    assert_eq!(one(&mut second, "SELECT 1"), "1");
    drop(second);
    until_none_is_left(&appliance);
}

#[test]
fn a_role_that_the_server_does_not_make_is_no_session_and_says_so() {
    let appliance = start();
    let token = appliance.token(Who::Privileged);
    let said =
        Raw::log_in(&appliance, "not-ours", "privileged", &token).err().expect("no superuser's member");
    said.assert_fatal("57P03", &["did not make a role"]);
    assert_eq!(roles(&appliance), Vec::<String>::new());
}

#[test]
fn killed_programs_leave_no_role_behind() {
    let appliance = start();
    let sessions: Vec<_> = (0..3).map(|_| log_in(&appliance).unwrap()).collect();
    assert_eq!(roles(&appliance).len(), 3);
    // Both at once: nobody is left who knows of the sessions.
    appliance.signal("weir-admin serve", "-KILL");
    appliance.signal("weir-dataplane", "-KILL");
    drop(sessions);
    until_none_is_left(&appliance);
    until_it_listens(appliance.var("WEIR_PG_PORT"));
    let mut after = Appliance::until("the gateway to serve again", || log_in(&appliance).ok());
    assert_eq!(roles(&appliance).len(), 1);
    // Admin alone: the session goes on, and its role with it.
    appliance.signal("weir-admin serve", "-KILL");
    Appliance::until("admin to be back", || log_in(&appliance).ok());
    assert_eq!(one(&mut after, "SELECT 1"), "1");
    let own = one(&mut after, "SELECT session_user");
    assert!(roles(&appliance).contains(&own), "a live session's role was swept");
    drop(after);
    until_none_is_left(&appliance);
}

#[test]
fn no_secret_of_a_role_is_written_anywhere() {
    let appliance = start();
    let mut raw = log_in(&appliance).unwrap();
    assert_eq!(one(&mut raw, "SELECT 1"), "1");
    drop(raw);
    until_none_is_left(&appliance);
    for folder in [appliance.var("WEIR_LOGS"), appliance.var("WEIR_SEGMENTS")] {
        for file in fs::read_dir(folder).unwrap().flatten().map(|entry| entry.path()) {
            // The server's own log shows what its owner made for this test.
            if file.file_stem().is_some_and(|stem| stem != "postgres") {
                let held = text(&fs::read(&file).unwrap());
                assert!(!held.contains(PASSWORD) && !held.contains("SCRAM-SHA-256$"), "{}", file.display());
            }
        }
    }
}
