//! Processes killed under load: what goes on, what ends, and that nothing executed is missing from the record.

use std::path::Path;
use std::process::{Child, Command, Stdio};

use crate::appliance::{Appliance, PATIENCE, Who, scale, text};
use crate::raw::{Raw, query, until_it_listens};

/// pgbench inserting numbered rows on the scratch connection, each in one statement.
fn load(appliance: &Appliance, seconds: u32) -> Child {
    let token = appliance.token(Who::Privileged);
    let scratch = appliance.var("WEIR_PG_SCRATCH");
    let made = appliance
        .client("psql", scratch, "privileged", &token)
        .args(["-Xq", "-c", "CREATE TABLE IF NOT EXISTS marks (mark bigserial PRIMARY KEY, client int)"])
        .status();
    assert!(made.unwrap().success());
    let script = appliance.dir.join("marks.sql");
    std::fs::write(&script, "INSERT INTO marks (client) VALUES (:client_id);\n").unwrap();
    let mut pgbench = appliance.client("pgbench", scratch, "privileged", &token);
    pgbench.args(["-n", "-c", "4", "-j", "1", "-T", &seconds.to_string(), "-f"]).arg(script);
    pgbench.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

fn marks(appliance: &Appliance) -> u64 {
    let output = Command::new("psql")
        .arg(appliance.var("WEIR_PG_SCRATCH_UPSTREAM"))
        .args(["-XAtq", "-c", "SELECT count(*) FROM marks"])
        .output()
        .unwrap();
    text(&output.stdout).trim().parse().unwrap_or_else(|_| panic!("{}", text(&output.stderr)))
}

fn more_marks(appliance: &Appliance) {
    let before = marks(appliance);
    Appliance::until("the load to go on", || (marks(appliance) > before + 20).then_some(()));
}

fn kill(pid: u32, signal: &str) {
    assert!(Command::new("kill").args([signal, &pid.to_string()]).status().unwrap().success());
}

/// Inserts in the record, allowed ones only.
fn recorded_inserts(appliance: &Appliance) -> u64 {
    let output = appliance.admin(&["sessions", "search", "insert into marks", "--json"]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let found = serde_json::from_slice::<serde_json::Value>(&output.stdout).unwrap();
    found.as_array().unwrap().len() as u64
}

fn verify(appliance: &Appliance) {
    let output = appliance.admin(&["sessions", "verify"]);
    assert!(output.status.success(), "{}{}", text(&output.stdout), text(&output.stderr));
}

#[test]
fn a_backend_that_is_terminated_ends_its_session_at_once_and_costs_nothing_afterwards() {
    let appliance = &Appliance::start();
    let left = |core: u32| {
        let stat = std::fs::read_to_string(format!("/proc/{core}/stat")).unwrap();
        let ticks = stat.rsplit_once(')').unwrap().1.split_whitespace().skip(11).take(2);
        ticks.map(|ticks| ticks.parse::<u64>().unwrap()).sum::<u64>()
    };
    for _ in 0..30 * scale().min(10) {
        let mut raw = Raw::session(appliance, Who::Privileged);
        raw.send(&query("SELECT pg_terminate_backend(pg_backend_pid())"));
        // Last words are due, and then the end: a session that hangs is found by the patience of its client.
        while raw.next().is_some() {}
    }
    let core = appliance.process("weir-dataplane");
    let before = left(core);
    let mut raw = Raw::session(appliance, Who::Privileged);
    assert_eq!(raw.query("SELECT pg_sleep(2)").map(|rows| rows.len()), Ok(1));
    let spent = left(core) - before;
    assert!(spent < 100, "{spent} ticks of a core while nothing happened");
}

#[test]
fn who_comes_before_the_first_state_is_told_to_come_again() {
    let appliance = Appliance::start();
    let former = appliance.process("weir-dataplane");
    appliance.signal("weir-admin serve", "-STOP");
    appliance.signal("weir-dataplane", "-KILL");
    Appliance::until("the data plane to end", || {
        (!Path::new(&format!("/proc/{former}")).exists()).then_some(())
    });
    let url = appliance.var("WEIR_HTTP_URL");
    until_it_listens(appliance.var("WEIR_PG_PORT"));
    until_it_listens(url.rsplit_once(':').unwrap().1);
    let token = appliance.token(Who::Job);
    let database = appliance.var("WEIR_PG_DATABASE");
    let Err(said) = Raw::log_in(&appliance, database, "job", &token) else { panic!("served without state") };
    said.assert_fatal("57P03", &["starting", "try again"]);
    let mut curl = Command::new("curl");
    curl.args(["-sS", "-w", "%{http_code}", "--cacert", appliance.var("WEIR_CA"), url]);
    let output = curl.output().unwrap();
    let said = text(&output.stdout);
    assert!(said.contains("starting") && said.ends_with("503"), "{said}{}", text(&output.stderr));
    appliance.signal("weir-admin serve", "-CONT");
    Appliance::until("the gateway to serve", || Raw::log_in(&appliance, database, "job", &token).ok());
}

#[test]
fn sessions_go_on_when_the_recorder_is_killed() {
    let appliance = Appliance::start();
    let load = load(&appliance, 20);
    for _ in 0..2 * scale() {
        more_marks(&appliance);
        kill(appliance.process("weir-recorder"), "-KILL");
        more_marks(&appliance);
    }
    finish(&appliance, load);
}

#[test]
fn sessions_go_on_when_admin_is_killed() {
    let appliance = Appliance::start();
    let load = load(&appliance, 12);
    more_marks(&appliance);
    kill(appliance.process("weir-admin serve"), "-KILL");
    more_marks(&appliance);
    finish(&appliance, load);
}

/// The load ends by itself without one failed statement, and every statement is in the record exactly once.
fn finish(appliance: &Appliance, load: Child) {
    let done = load.wait_with_output().unwrap();
    assert!(done.status.success(), "{}", text(&done.stderr));
    let executed = marks(appliance);
    Appliance::until("the record to be complete", || (recorded_inserts(appliance) >= executed).then_some(()));
    assert_eq!(recorded_inserts(appliance), executed);
    verify(appliance);
}

#[test]
fn a_killed_data_plane_leaves_a_complete_record() {
    let appliance = Appliance::start();
    let load = load(&appliance, 60);
    more_marks(&appliance);
    kill(appliance.process("weir-dataplane"), "-KILL");
    let done = load.wait_with_output().unwrap();
    assert!(!done.status.success(), "its sessions end");
    Appliance::until("every session to be closed in the record", || {
        let output = appliance.admin(&["sessions", "list", "--json"]);
        let list = serde_json::from_slice::<serde_json::Value>(&output.stdout).ok()?;
        let sessions = list.as_array()?;
        (!sessions.is_empty() && sessions.iter().all(|session| !session["closed_unix_ms"].is_null()))
            .then_some(())
    });
    assert!(recorded_inserts(&appliance) >= marks(&appliance), "no executed statement lacks its record");
    verify(&appliance);
    Appliance::until("new sessions to be served", || {
        appliance.psql(Who::Job, "SELECT 1").status.success().then_some(())
    });
}

#[test]
fn a_terminated_data_plane_drains_in_time() {
    let appliance = Appliance::start();
    let output = appliance.psql(Who::Job, "SELECT count(*) FROM patients");
    assert!(output.status.success(), "{}", text(&output.stderr));
    let pid = appliance.process("weir-dataplane");
    let start = std::time::Instant::now();
    kill(pid, "-TERM");
    Appliance::until("the data plane to end", || {
        (!std::path::Path::new(&format!("/proc/{pid}")).exists()).then_some(())
    });
    assert!(start.elapsed() < PATIENCE / 2);
    verify(&appliance);
}
