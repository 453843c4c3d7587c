//! The recorder's disk filling up: who may begin, who may go on, and that all is well again once there is room.

use std::fs;

use crate::appliance::{Appliance, Who, text};
use crate::raw::{Raw, query};

/// More than any disk has.
const EVERYTHING: u64 = 1 << 62;

/// Starts the recorder anew with these lines in its table.
fn with_recorder(appliance: &Appliance, lines: &str) {
    let path = appliance.var("WEIR_CONFIG").to_owned();
    let config = fs::read_to_string(&path).unwrap();
    let kept =
        config.lines().filter(|line| !line.starts_with("low_bytes") && !line.starts_with("critical_bytes"));
    let config: String = kept.map(|line| format!("{line}\n")).collect();
    fs::write(&path, config.replacen("[recorder]\n", &format!("[recorder]\n{lines}"), 1)).unwrap();
    appliance.signal("weir-recorder", "-TERM");
}

fn refused(appliance: &Appliance) -> Option<String> {
    let output = appliance.psql(Who::Job, "SELECT 1");
    (!output.status.success()).then(|| text(&output.stderr))
}

#[test]
fn a_disk_that_fills_up_ends_recording_in_order_and_room_begins_it_again() {
    let appliance = Appliance::start();
    let mut session = Raw::session(&appliance, Who::Job);
    let mut busy = Raw::session(&appliance, Who::Job);
    assert_eq!(session.query("SELECT 1").unwrap(), ["1"]);

    with_recorder(&appliance, &format!("low_bytes = {EVERYTHING}\n"));
    let said = Appliance::until("new sessions to be refused", || {
        refused(&appliance).filter(|said| said.contains("nearly full"))
    });
    assert!(said.contains("no new sessions until there is room"), "{said}");
    assert_eq!(session.query("SELECT 2").unwrap(), ["2"], "who is there goes on");

    // One in the middle of a command, one between two.
    busy.send(&query("SELECT pg_sleep(60)"));
    Appliance::until("the long command to run", || {
        let running =
            "SELECT count(*) FROM pg_stat_activity WHERE query = 'SELECT pg_sleep(60)' AND state = 'active'";
        (appliance.direct(running).trim() == "1").then_some(())
    });
    with_recorder(&appliance, &format!("low_bytes = {EVERYTHING}\ncritical_bytes = {EVERYTHING}\n"));
    session.end().assert_fatal("58000", &["disk is full", "connect again"]);
    busy.end().assert_fatal("58000", &["disk is full"]);

    with_recorder(&appliance, "");
    Appliance::until("new sessions to be served again", || refused(&appliance).is_none().then_some(()));
    let verified = appliance.admin(&["sessions", "verify"]);
    assert!(verified.status.success(), "{}{}", text(&verified.stdout), text(&verified.stderr));
}
