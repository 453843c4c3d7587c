//! How the gateway logs in to a PostgreSQL that is not set to SCRAM: md5 and the password itself, over TLS and over a
//! Unix socket. Where the password would cross an unprotected way it is not sent, and the client is told.

use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::process::Command;

use crate::appliance::{Appliance, Who, text};
use crate::raw::{Bystander, Raw, Said};

const MD5_PASSWORD: &str = "md5-canary-4711";
const CLEAR_PASSWORD: &str = "clear-canary-4712";

/// Past Weir, as the server's owner, whatever certificate the server has.
pub(crate) fn superuser(appliance: &Appliance, sql: &str) -> String {
    let url = appliance.var("WEIR_PG_SUPERUSER").replace("sslmode=verify-full", "sslmode=disable");
    let output =
        Command::new("psql").arg(url).args(["-XAtq", "-v", "ON_ERROR_STOP=1", "-c", sql]).output().unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
    text(&output.stdout).trim().to_owned()
}

/// Roles with old-fashioned passwords, and a server that asks for them so.
fn set_up_server(appliance: &Appliance) {
    superuser(
        appliance,
        &format!(
            "SET password_encryption = 'md5'; CREATE ROLE weir_md5 LOGIN PASSWORD '{MD5_PASSWORD}';
             CREATE ROLE weir_clear LOGIN PASSWORD '{CLEAR_PASSWORD}'"
        ),
    );
    let hba = superuser(appliance, "SHOW hba_file");
    let kept = std::fs::read_to_string(&hba).unwrap();
    let ours = "local all weir_md5 md5\nhostssl all weir_md5 127.0.0.1/32 md5\n\
                local all weir_clear password\nhost all weir_clear 127.0.0.1/32 password\n";
    std::fs::write(&hba, format!("{ours}{kept}")).unwrap();
    superuser(appliance, "SELECT pg_reload_conf()");
    let in_force = "SELECT count(*) FROM pg_hba_file_rules WHERE auth_method IN ('md5', 'password')";
    assert_eq!(superuser(appliance, in_force), "4");
}

fn set_up_access(appliance: &Appliance) {
    let server = superuser(appliance, "SHOW port");
    let folder = superuser(appliance, "SHOW unix_socket_directories");
    let socket = format!("upstream = \"unix:{folder}/.s.PGSQL.{server}\"\ntls = \"off\"");
    let tcp = format!("upstream = \"127.0.0.1:{server}\"\ntls = \"off\"");
    let tls = format!(
        "upstream = \"127.0.0.1:{server}\"\ntls = \"verify-full\"\nroots = \"../tls/ca.pem\"\nserver_name = \"localhost\""
    );
    let mut access = String::new();
    for (name, way, user, secret) in [
        ("md5-tls", &tls, "weir_md5", "md5"),
        ("md5-unix", &socket, "weir_md5", "md5"),
        ("md5-wrong", &tls, "weir_md5", "clear"),
        ("clear-tls", &tls, "weir_clear", "clear"),
        ("clear-unix", &socket, "weir_clear", "clear"),
        ("clear-tcp", &tcp, "weir_clear", "clear"),
    ] {
        access += &format!(
            "[[connection]]\nname = \"{name}\"\nprotocol = \"postgres\"\n{way}\ndatabase = \"clinic\"\n\
             [[role]]\nconnection = \"{name}\"\nname = \"job\"\nuser = \"{user}\"\npassword_file = \"../secrets/{secret}\"\n\
             [[grant]]\nconnection = \"{name}\"\nrole = \"job\"\ngroups = [\"jobs\"]\n"
        );
    }
    for (name, password) in [("md5", MD5_PASSWORD), ("clear", CLEAR_PASSWORD)] {
        let file = std::fs::File::options()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(appliance.dir.join("secrets").join(name));
        file.unwrap().write_all(password.as_bytes()).unwrap();
    }
    std::fs::write(appliance.dir.join("access/old-fashioned.toml"), access).unwrap();
    let applied = appliance.admin(&["apply", "--config", appliance.var("WEIR_CONFIG")]);
    assert!(applied.status.success(), "{}", text(&applied.stderr));
}

fn log_in(appliance: &Appliance, connection: &str) -> Result<Raw, Said> {
    Raw::log_in(appliance, connection, "job", &appliance.token(Who::Job))
}

#[test]
fn md5_and_cleartext_passwords_reach_their_upstreams_and_only_by_protected_ways() {
    let appliance = Appliance::start();
    set_up_server(&appliance);
    set_up_access(&appliance);
    let mut bystander = Bystander::on(&appliance);
    Appliance::until("the connections to be in force", || {
        log_in(&appliance, "md5-tls").err().is_none_or(|said| said.sqlstate != "3D000").then_some(())
    });
    for (connection, user) in [("md5-tls", "weir_md5"), ("md5-unix", "weir_md5"), ("clear-tls", "weir_clear")]
    {
        let mut raw = log_in(&appliance, connection).unwrap_or_else(|said| panic!("{connection}: {said:?}"));
        assert_eq!(raw.query("SELECT current_user"), Ok(vec![user.to_owned()]), "{connection}");
    }
    for connection in ["clear-unix", "clear-tcp"] {
        let Err(said) = log_in(&appliance, connection) else {
            panic!("{connection}: a password went in clear")
        };
        said.assert_fatal("57P03", &[connection, "password in clear", "scram-sha-256"]);
    }
    let Err(said) = log_in(&appliance, "md5-wrong") else { panic!("a wrong password was let in") };
    said.assert_fatal("08001", &["gateway's credential for the upstream"]);
    bystander.assert_undisturbed();
    assert_nowhere_in(Path::new(appliance.var("WEIR_LOGS")), &appliance);
    assert_nowhere_in(Path::new(appliance.var("WEIR_SEGMENTS")), &appliance);
    assert_no_secret(&appliance.recorded(), "what was recorded", &appliance);
}

/// The server's own log aside: `CREATE ROLE` is not what is looked at here.
fn assert_nowhere_in(folder: &Path, appliance: &Appliance) {
    let files = std::fs::read_dir(folder).unwrap().flatten().map(|entry| entry.path());
    for file in files.filter(|path| path.file_stem().is_none_or(|stem| stem != "postgres")) {
        assert_no_secret(&std::fs::read(&file).unwrap(), &file.display().to_string(), appliance);
    }
}

fn assert_no_secret(held: &[u8], what: &str, appliance: &Appliance) {
    let held = text(held);
    for secret in [MD5_PASSWORD, CLEAR_PASSWORD, appliance.token(Who::Job).as_str()] {
        assert!(!held.contains(secret), "a secret is in {what}");
    }
}
