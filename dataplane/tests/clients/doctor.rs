//! `weir-admin doctor`: what it says of a sound upstream, and each thing that it finds on an unsound one.

use std::process::Output;

use serde_json::Value;

use crate::appliance::{Appliance, text};
use crate::upstream_logins::superuser;

fn doctor(appliance: &Appliance, arguments: &[&str]) -> Output {
    let config = appliance.var("WEIR_CONFIG").to_owned();
    appliance.admin(&[&["doctor", "--config", &config][..], arguments].concat())
}

/// Level, and everything that is said, of a check about the role `clinic/job`.
fn finding(output: &Output, check: &str) -> (String, String) {
    let findings: Vec<Value> = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{error}: {}{}", text(&output.stdout), text(&output.stderr)));
    let about = findings.iter().find(|it| it["about"] == "clinic/job" && it["check"] == check);
    let about = about.unwrap_or_else(|| panic!("no {check} among {findings:#?}"));
    (about["level"].as_str().unwrap().to_owned(), format!("{}: {}", about["found"], about["mend"]))
}

/// The user that `clinic/job` logs in as.
const USER: &str = "weir_clinic";

#[test]
fn the_doctor_finds_each_way_past_the_masks_that_a_backend_role_has() {
    let appliance = Appliance::start();
    let sound = doctor(&appliance, &["--json"]);
    assert!(sound.status.success(), "{}{}", text(&sound.stdout), text(&sound.stderr));
    for check in ["superuser", "attributes", "server-files", "definers", "servers", "dblink", "languages"] {
        let (level, said) = finding(&sound, check);
        assert_eq!(level, "ok", "{check}: {said}");
    }
    let (level, said) = finding(&sound, "protected-columns");
    assert_eq!(level, "warn", "{said}");
    assert!(said.contains("public.patients.ssn") && said.contains("REVOKE SELECT"), "{said}");

    superuser(
        &appliance,
        &format!(
            "ALTER ROLE {USER} BYPASSRLS; GRANT pg_read_server_files, pg_read_all_stats TO {USER};
             CREATE FUNCTION public.as_owner() RETURNS text LANGUAGE sql SECURITY DEFINER AS 'SELECT ssn FROM public.patients LIMIT 1';
             CREATE EXTENSION postgres_fdw; CREATE SERVER elsewhere FOREIGN DATA WRAPPER postgres_fdw;
             GRANT USAGE ON FOREIGN SERVER elsewhere TO {USER};
             CREATE EXTENSION dblink; CREATE SCHEMA workshop; GRANT CREATE, USAGE ON SCHEMA workshop TO {USER};
             UPDATE pg_language SET lanpltrusted = false WHERE lanname = 'plpgsql';
             CREATE FUNCTION public.untrusted() RETURNS int LANGUAGE plpgsql AS 'BEGIN RETURN 1; END'"
        ),
    );
    let unsound = doctor(&appliance, &["--json"]);
    assert_eq!(unsound.status.code(), Some(1), "{}", text(&unsound.stdout));
    for (check, level, says) in [
        ("superuser", "ok", USER),
        ("attributes", "fail", "BYPASSRLS"),
        ("server-files", "fail", "pg_read_server_files"),
        ("definers", "warn", "public.as_owner"),
        ("servers", "warn", "elsewhere"),
        ("dblink", "warn", "public.dblink"),
        ("languages", "warn", "public.untrusted (plpgsql)"),
        ("create", "warn", "workshop"),
        ("others-statements", "warn", "pg_read_all_stats"),
    ] {
        let (found, said) = finding(&unsound, check);
        assert_eq!(found, level, "{check}: {said}");
        assert!(said.contains(says), "{check}: {said}");
    }

    // What the advice comes to: columns that nobody reads but by other ways are no finding any more.
    superuser(&appliance, &format!("ALTER ROLE {USER} NOBYPASSRLS SUPERUSER"));
    let over_all = doctor(&appliance, &[]);
    assert_eq!(over_all.status.code(), Some(1));
    let lines = text(&over_all.stdout);
    let line = lines.lines().find(|line| line.starts_with("fail clinic/job superuser: "));
    assert!(line.is_some_and(|line| line.contains("NOSUPERUSER")), "{lines}");
    superuser(
        &appliance,
        &format!(
            "ALTER ROLE {USER} NOSUPERUSER; REVOKE SELECT ON ALL TABLES IN SCHEMA public FROM {USER}, PUBLIC"
        ),
    );
    let fenced = finding(&doctor(&appliance, &["--json"]), "protected-columns");
    assert_eq!(fenced.0, "ok", "{fenced:?}");

    // An upstream that does not let it in is a finding as well, and the only one about the role's inside.
    superuser(&appliance, &format!("ALTER ROLE {USER} NOLOGIN"));
    let locked_out = doctor(&appliance, &["--json"]);
    assert_eq!(locked_out.status.code(), Some(1));
    assert_eq!(finding(&locked_out, "log-in").0, "fail");
}
