//! The same visit with every stock driver (see `drivers/README.md`): one expectation serves them all.

use std::collections::BTreeMap;
use std::process::Command;

use crate::appliance::{Appliance, Who, text};
use serde_json::Value;

const SCRIPTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/drivers");

#[test]
fn psycopg_sees_what_its_identity_may_see() {
    visit("psycopg", &["python3", &script("visit_psycopg.py")], &[]);
}

#[test]
fn asyncpg_sees_what_its_identity_may_see() {
    visit("asyncpg", &["python3", &script("visit_asyncpg.py")], &[]);
}

#[test]
fn node_postgres_sees_what_its_identity_may_see() {
    let modules = std::env::var("WEIR_NODE_MODULES").expect("make test sets WEIR_NODE_MODULES");
    visit("node-postgres", &["node", &script("visit_node.js")], &[("NODE_PATH", &modules)]);
}

#[test]
fn pgjdbc_sees_what_its_identity_may_see() {
    let classes = tempfile::tempdir().unwrap();
    let jar = "/usr/share/java/postgresql.jar";
    let compiled =
        Command::new("javac").args(["-cp", jar, "-d"]).arg(classes.path()).arg(script("Visit.java")).status();
    assert!(compiled.unwrap().success());
    let path = format!("{jar}:{}", classes.path().display());
    visit("pgjdbc", &["java", "-cp", &path, "Visit"], &[]);
}

/// Runs one driver's script as each identity and holds what it printed against the sample's own rows.
fn visit(driver: &str, command: &[&str], env: &[(&str, &str)]) {
    let appliance = Appliance::shared();
    for who in Who::ALL {
        let mut client = appliance.client(
            command[0],
            appliance.var("WEIR_PG_DATABASE"),
            who.role(),
            &appliance.token(who),
        );
        let output = client.args(&command[1..]).envs(env.iter().copied()).output().unwrap();
        assert!(output.status.success(), "{driver} as {who:?}: {}", text(&output.stderr));
        let cases = cases(&text(&output.stdout));
        check_rows(driver, who, &cases);
        check_refusals(driver, who, &cases);
    }
}

fn script(name: &str) -> String {
    format!("{SCRIPTS}/{name}")
}

fn cases(printed: &str) -> BTreeMap<String, Value> {
    let objects =
        printed.lines().map(|line| serde_json::from_str::<Value>(line).unwrap_or_else(|_| panic!("{line}")));
    objects.map(|object| (object["case"].as_str().unwrap().to_owned(), object)).collect()
}

/// Every form of the query shows three patients: names as they are, the rest as the identity may see it.
fn check_rows(driver: &str, who: Who, cases: &BTreeMap<String, Value>) {
    let appliance = Appliance::shared();
    let raw = appliance.direct("SELECT id, name, ssn, email FROM patients ORDER BY id LIMIT 3");
    let raw = raw.lines().map(|line| line.split('|').collect::<Vec<_>>()).collect::<Vec<_>>();
    for case in ["simple", "parameter", "prepared", "binary", "cursor"] {
        let Some(rows) = cases.get(case).map(|found| found["rows"].as_array().unwrap()) else {
            assert_eq!(case, "cursor", "{driver}: no case {case}");
            continue;
        };
        assert_eq!(rows.len(), 3, "{driver} as {who:?}, {case}");
        for (row, raw) in rows.iter().zip(&raw) {
            let place = format!("{driver} as {who:?}, {case}: {row}");
            assert_eq!(cell(&row[1]), raw[1], "{place}: a name is not protected");
            assert_eq!(cell(&row[2]) == raw[2], who == Who::Privileged, "{place}: ssn");
            assert_eq!(cell(&row[3]) == raw[3], who != Who::Job, "{place}: email");
        }
    }
    let copied = cases["copy"]["rows"].as_array().unwrap();
    assert_eq!(copied.len(), 3, "{driver} as {who:?}, copy");
    for (row, raw) in copied.iter().zip(&raw) {
        assert_eq!(cell(&row[1]) == raw[2], who == Who::Privileged, "{driver} as {who:?}, copy: {row}");
        assert_eq!(cell(&row[2]) == raw[3], who != Who::Job, "{driver} as {who:?}, copy: {row}");
    }
    let star = cases["star"]["rows"].to_string();
    let hidden = appliance.direct("SELECT ssn, mrn, card FROM patients WHERE id = 1");
    for canary in hidden.trim().split('|') {
        assert_eq!(
            star.contains(canary),
            who == Who::Privileged,
            "{driver} as {who:?}, star: {canary} in {star}"
        );
    }
}

/// A refusal is an error of the protocol with its own SQLSTATE, in its place; the connection goes on.
fn check_refusals(driver: &str, who: Who, cases: &BTreeMap<String, Value>) {
    assert_eq!(cell(&cases["after"]["rows"][0][0]), "1", "{driver} as {who:?}");
    assert_eq!(cell(&cases["after_transaction"]["rows"][0][0]), "1", "{driver} as {who:?}");
    // The sample's upstream user owns no table, so the privileged identity is refused by the server itself.
    assert_eq!(cases["blocked"]["error"], "42501", "{driver} as {who:?}");
    assert_eq!(cases["transaction"]["errors"], serde_json::json!(["42501", "25P02"]), "{driver} as {who:?}");
}

/// A cell as text, whatever the driver made of it.
fn cell(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}
