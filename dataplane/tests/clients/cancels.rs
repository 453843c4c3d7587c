//! Statements cancelled from stock drivers, each in its own way: while they run upstream, and while they are held. The
//! connection goes on, and nothing of the statement does.

use std::process::Command;
use std::sync::OnceLock;

use crate::appliance::{Appliance, Who, text};

const SCRIPTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/drivers");

/// Runs one driver's script; what it printed must be the SQLSTATE of a cancelled statement and a sign of life.
fn cancels(command: &[&str], env: &[(&str, &str)]) {
    let appliance = Appliance::shared();
    let token = appliance.token(Who::Job);
    let mut client = appliance.client(command[0], appliance.var("WEIR_PG_DATABASE"), "job", &token);
    let done = client.args(&command[1..]).envs(env.iter().copied()).output().unwrap();
    assert_eq!(text(&done.stdout), "57014\nalive\n", "{command:?}: {}", text(&done.stderr));
}

/// Nothing of the tests' statements is left on the server.
fn assert_nothing_runs() {
    let sql = "SELECT count(*) FROM pg_stat_activity WHERE state = 'active' AND query LIKE '%pg_sleep(600)%' AND pid <> pg_backend_pid()";
    Appliance::until("the server to have given up", || {
        (Appliance::shared().direct(sql).trim() == "0").then_some(())
    });
}

fn script(name: &str) -> String {
    format!("{SCRIPTS}/{name}")
}

fn modules() -> String {
    std::env::var("WEIR_NODE_MODULES").expect("make test sets WEIR_NODE_MODULES")
}

/// Class path of the compiled script and the driver.
fn classes() -> &'static str {
    static PATH: OnceLock<(tempfile::TempDir, String)> = OnceLock::new();
    let (_, path) = PATH.get_or_init(|| {
        let classes = tempfile::tempdir().unwrap();
        let jar = "/usr/share/java/postgresql.jar";
        let compiled = Command::new("javac")
            .args(["-cp", jar, "-d"])
            .arg(classes.path())
            .arg(script("Cancel.java"))
            .status();
        assert!(compiled.unwrap().success());
        let path = format!("{jar}:{}", classes.path().display());
        (classes, path)
    });
    path
}

#[test]
fn every_driver_cancels_what_runs_and_goes_on() {
    let python = script("cancel_running.py");
    for way in ["plain", "secure", "asyncpg"] {
        cancels(&["python3", &python, way], &[]);
    }
    cancels(&["node", &script("cancel_node.js"), "running"], &[("NODE_PATH", &modules())]);
    cancels(&["java", "-cp", classes(), "Cancel", "running"], &[]);
    assert_nothing_runs();
}

#[test]
fn every_driver_cancels_what_is_held_and_goes_on() {
    let appliance = Appliance::shared();
    let before = appliance.direct("SELECT count(*) FROM visits");
    for way in [&["plain"][..], &["secure"]] {
        cancels(&[&["python3", &script("cancel_psycopg.py")][..], way].concat(), &[]);
    }
    for way in ["simple", "prepared"] {
        cancels(&["python3", &script("cancel_asyncpg.py"), way], &[]);
    }
    cancels(&["node", &script("cancel_node.js"), "held"], &[("NODE_PATH", &modules())]);
    cancels(&["java", "-cp", classes(), "Cancel", "held"], &[]);
    assert_eq!(appliance.direct("SELECT count(*) FROM visits"), before);
}
