//! psql, pgbench and pg_dump, unchanged, through the real programs to a real server.

use std::fs;
use std::process::Command;

use crate::appliance::{Appliance, Who, run_with_input, text};

#[test]
fn one_query_shows_each_identity_what_it_may_see() {
    let appliance = Appliance::shared();
    let raw = appliance.direct("SELECT ssn, email FROM patients WHERE id = 7");
    let (ssn, email) = raw.trim().split_once('|').unwrap();
    for who in Who::ALL {
        let output = appliance.psql(who, "SELECT ssn, email FROM patients WHERE id = 7");
        let seen = text(&output.stdout);
        assert!(output.status.success(), "{}", text(&output.stderr));
        assert_eq!(seen.contains(ssn), who == Who::Privileged, "{who:?}: {seen}");
        assert_eq!(seen.contains(email), who != Who::Job, "{who:?}: {seen}");
    }
}

#[test]
fn a_blocked_statement_names_its_rule_and_the_connection_goes_on() {
    let appliance = Appliance::shared();
    let mut psql =
        appliance.client("psql", appliance.var("WEIR_PG_DATABASE"), "job", &appliance.token(Who::Job));
    psql.args(["-XAtq", "-v", "VERBOSITY=verbose"]);
    let output = run_with_input(psql, b"DROP TABLE patients;\nSELECT 'still here';\n");
    assert!(text(&output.stderr).contains("42501"), "{}", text(&output.stderr));
    assert_eq!(text(&output.stdout).trim(), "still here");
    assert_eq!(appliance.direct("SELECT count(*) FROM patients").trim(), "10000");
}

#[test]
fn copy_out_is_masked_in_every_format() {
    let appliance = Appliance::shared();
    let canaries = appliance.canaries();
    for format in ["text", "csv", "binary"] {
        let sql = format!(
            "COPY (SELECT id, name, ssn, mrn, card, email FROM patients LIMIT 500) TO STDOUT (FORMAT {format})"
        );
        let output = appliance.psql(Who::Job, &sql);
        assert!(output.status.success(), "{format}: {}", text(&output.stderr));
        let seen = text(&output.stdout);
        assert!(seen.len() > 500 * 4, "{format}: rows do come");
        let leaked = canaries.iter().find(|canary| seen.contains(canary.as_str()));
        assert_eq!(leaked, None, "{format}");
    }
}

#[test]
fn copy_in_arrives_whole() {
    let appliance = Appliance::shared();
    let scratch = appliance.var("WEIR_PG_SCRATCH");
    let psql = |sql: &str| {
        let mut psql = appliance.client("psql", scratch, "privileged", &appliance.token(Who::Privileged));
        psql.args(["-XAtq", "-c", sql]);
        psql
    };
    assert!(psql("CREATE TABLE copied_in (line text)").output().unwrap().status.success());
    let lines = (0..200_000).map(|n| format!("line {n}\n")).collect::<String>();
    let output = run_with_input(psql("COPY copied_in FROM STDIN"), lines.as_bytes());
    assert!(output.status.success(), "{}", text(&output.stderr));
    let count = psql("SELECT count(*), sum(length(line)) FROM copied_in").output().unwrap();
    assert_eq!(text(&count.stdout).trim(), format!("200000|{}", lines.len() - 200_000));
}

#[test]
fn pgbench_runs_in_every_mode() {
    let appliance = Appliance::shared();
    let token = appliance.token(Who::Privileged);
    let pgbench = |arguments: &[&str]| {
        let output = appliance
            .client("pgbench", appliance.var("WEIR_PG_SCRATCH"), "privileged", &token)
            .args(arguments)
            .output();
        let output = output.unwrap();
        assert!(output.status.success(), "pgbench {arguments:?}: {}", text(&output.stderr));
        text(&output.stdout)
    };
    pgbench(&["-i", "-q", "-s", "1"]);
    for mode in ["simple", "extended", "prepared"] {
        let said = pgbench(&["-n", "-M", mode, "-c", "8", "-t", "50"]);
        assert!(
            said.contains("number of failed transactions: 0") || !said.contains("failed"),
            "{mode}: {said}"
        );
        assert!(said.contains("transactions actually processed: 400/400"), "{mode}: {said}");
    }
}

#[test]
fn pg_dump_through_the_gateway_equals_the_direct_one() {
    let appliance = Appliance::start();
    let token = appliance.token(Who::Privileged);
    let scratch = appliance.var("WEIR_PG_SCRATCH");
    let mut make = appliance.client("psql", scratch, "privileged", &token);
    let sql = "CREATE TABLE t (id int PRIMARY KEY, body text, at timestamptz DEFAULT '2026-01-01');
               INSERT INTO t SELECT n, repeat(md5(n::text), 20) FROM generate_series(1, 5000) n;
               CREATE VIEW v AS SELECT id FROM t; CREATE INDEX ON t (body);";
    assert!(make.args(["-Xq", "-c", sql]).status().unwrap().success());
    let through = appliance.client("pg_dump", scratch, "privileged", &token).output().unwrap();
    assert!(through.status.success(), "{}", text(&through.stderr));
    let direct = Command::new("pg_dump").arg(appliance.var("WEIR_PG_SCRATCH_UPSTREAM")).output().unwrap();
    // The dumps differ only in pg_dump's random \restrict key.
    let settled = |dump: &[u8]| {
        text(dump).lines().filter(|line| !line.contains("restrict ")).collect::<Vec<_>>().join("\n")
    };
    assert_eq!(settled(&through.stdout), settled(&direct.stdout));
}

#[test]
fn nothing_protected_is_on_disk_afterwards() {
    let appliance = Appliance::start();
    for who in [Who::Job, Who::Analyst] {
        let output = appliance.psql(who, "SELECT * FROM patients");
        assert!(output.status.success(), "{}", text(&output.stderr));
        let output = appliance.psql(who, "COPY (SELECT * FROM patients LIMIT 2000) TO STDOUT (FORMAT csv)");
        assert!(output.status.success(), "{}", text(&output.stderr));
    }
    let ssn = appliance.direct("SELECT ssn FROM patients WHERE id = 1");
    appliance.psql(Who::Job, &format!("SELECT count(*) FROM patients WHERE ssn = '{}'", ssn.trim()));
    let verified = appliance.admin(&["sessions", "verify"]);
    assert!(verified.status.success(), "{}{}", text(&verified.stdout), text(&verified.stderr));
    // Neither to whoever has the auditor's key, nor to whoever has the disk.
    let recorded = appliance.recorded();
    assert!(recorded.len() > 100_000, "the answers are recorded");
    let stored: Vec<u8> = appliance.segments().iter().flat_map(|path| fs::read(path).unwrap()).collect();
    for bytes in [recorded, stored] {
        let bytes = text(&bytes);
        let leaked = appliance.canaries().into_iter().find(|canary| bytes.contains(canary.as_str()));
        assert_eq!(leaked, None);
    }
}
