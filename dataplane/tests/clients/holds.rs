//! A held command on a live connection: the upstream sees nothing until people say yes, and never what they did not see.

use std::process::{Child, Stdio};

use crate::appliance::{Appliance, Who, text};
use serde_json::Value;

const DELETE: &str = "DELETE FROM visits";

/// psql waiting on a held statement, and the hold's id.
fn held(appliance: &Appliance, sql: &str) -> (Child, String) {
    let known = pending(appliance);
    let mut psql =
        appliance.client("psql", appliance.var("WEIR_PG_DATABASE"), "job", &appliance.token(Who::Job));
    psql.args(["-XAtq", "-v", "VERBOSITY=verbose", "-c", sql]).stdout(Stdio::piped()).stderr(Stdio::piped());
    let child = psql.spawn().unwrap();
    let hold = Appliance::until("the command to be held", || {
        pending(appliance).into_iter().find(|id| !known.contains(id))
    });
    (child, hold)
}

fn pending(appliance: &Appliance) -> Vec<String> {
    let output = appliance.admin(&["approvals", "list", "--json"]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let list = serde_json::from_slice::<Value>(&output.stdout).unwrap();
    list.as_array().unwrap().iter().map(|hold| hold["request"]["hold"].as_str().unwrap().to_owned()).collect()
}

fn visits(appliance: &Appliance) -> String {
    appliance.direct("SELECT count(*) FROM visits")
}

#[test]
fn an_approved_command_runs_once() {
    let appliance = Appliance::start();
    let before = visits(&appliance);
    let (child, hold) = held(&appliance, DELETE);
    assert_eq!(visits(&appliance), before, "nothing reaches the upstream before the release");
    let output = appliance.admin(&["approvals", "approve", &hold, "--reason", "test"]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let done = child.wait_with_output().unwrap();
    assert!(done.status.success(), "{}", text(&done.stderr));
    assert!(
        text(&done.stderr).contains("NOTICE"),
        "the client is told that it waits: {}",
        text(&done.stderr)
    );
    assert_eq!(visits(&appliance).trim(), "0");
    assert!(pending(&appliance).is_empty());
}

#[test]
fn a_denied_command_never_reaches_the_upstream() {
    let appliance = Appliance::start();
    let before = visits(&appliance);
    let (child, hold) = held(&appliance, DELETE);
    let output = appliance.admin(&["approvals", "deny", &hold, "--reason", "not today"]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let done = child.wait_with_output().unwrap();
    assert!(!done.status.success());
    assert!(text(&done.stderr).contains("42501"), "{}", text(&done.stderr));
    assert_eq!(visits(&appliance), before);
}

#[test]
fn a_client_that_leaves_withdraws_its_command() {
    let appliance = Appliance::start();
    let before = visits(&appliance);
    let (mut child, hold) = held(&appliance, DELETE);
    child.kill().unwrap();
    child.wait().unwrap();
    Appliance::until("the hold to be withdrawn", || (!pending(&appliance).contains(&hold)).then_some(()));
    let late = appliance.admin(&["approvals", "approve", &hold]);
    assert!(!late.status.success(), "nobody waits any more");
    assert_eq!(visits(&appliance), before);
}

#[test]
fn a_cancel_withdraws_the_command_and_keeps_the_connection() {
    let appliance = Appliance::start();
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/drivers/cancel_psycopg.py");
    let token = appliance.token(Who::Job);
    let mut python = appliance.client("python3", appliance.var("WEIR_PG_DATABASE"), "job", &token);
    let done = python.arg(script).output().unwrap();
    assert_eq!(text(&done.stdout), "57014\nalive\n", "{}", text(&done.stderr));
    assert!(pending(&appliance).is_empty());
}

#[test]
fn the_requester_never_approves_its_own_command() {
    let appliance = Appliance::start();
    let (mut child, hold) = held(&appliance, DELETE);
    let own = appliance.mint(&[
        "--sub",
        &subject(&appliance.token(Who::Job)),
        "--group",
        "privacy-officers",
        "--ttl",
        "5m",
    ]);
    let file = appliance.dir.join("own.token");
    std::fs::write(&file, own).unwrap();
    let output = appliance.admin(&["approvals", "approve", &hold, "--token-file", file.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(1), "{}", text(&output.stdout));
    assert!(pending(&appliance).contains(&hold), "it still waits");
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn an_approval_that_comes_after_the_token_expired_serves_the_same_command_with_a_fresh_one() {
    let appliance = Appliance::start();
    let before = visits(&appliance);
    let token =
        |ttl| appliance.mint(&["--sub", "slow", "--group", "jobs", "--ttl", ttl, "--claim", "run=first"]);
    let psql = |token: &str| {
        let mut psql = appliance.client("psql", appliance.var("WEIR_PG_DATABASE"), "job", token);
        psql.args(["-XAtq", "-c", DELETE]).stdout(Stdio::piped()).stderr(Stdio::piped());
        psql
    };
    let short = token("4s");
    let child = psql(&short).spawn().unwrap();
    let hold = Appliance::until("the command to be held", || pending(&appliance).pop());
    Appliance::until("the token to expire", || {
        let probe = appliance.psql_with(appliance.var("WEIR_PG_DATABASE"), "job", &short, "SELECT 1");
        (!probe.status.success()).then_some(())
    });
    assert!(appliance.admin(&["approvals", "approve", &hold]).status.success());
    let done = child.wait_with_output().unwrap();
    assert!(text(&done.stderr).contains("fresh one"), "{}", text(&done.stderr));
    assert_eq!(visits(&appliance), before, "nobody vouches for it any more");
    // Another run of the same identity is another matter.
    let other = appliance.mint(&["--sub", "slow", "--group", "jobs", "--ttl", "5m", "--claim", "run=second"]);
    let mut asked = psql(&other).spawn().unwrap();
    Appliance::until("the other run's command to be held", || pending(&appliance).pop());
    asked.kill().unwrap();
    asked.wait().unwrap();
    let done = psql(&token("5m")).output().unwrap();
    assert!(done.status.success(), "{}", text(&done.stderr));
    assert_eq!(visits(&appliance).trim(), "0");
}

/// The `sub` of a token, read without checking: the test made it.
fn subject(token: &str) -> String {
    let claims = token.split('.').nth(1).unwrap();
    let decoded = std::process::Command::new("python3")
        .args(["-c", "import sys,base64,json; c=sys.argv[1]; print(json.loads(base64.urlsafe_b64decode(c+'='*(-len(c)%4)))['sub'])", claims])
        .output()
        .unwrap();
    text(&decoded.stdout).trim().to_owned()
}
