//! Programs killed and system calls that fail at random moments under load, again and again: whatever the server executed is
//! in the record, whatever a client was sent is there byte for byte, and the gateway serves again by itself.

mod load;

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use serde_json::Value;

use crate::appliance::{Appliance, scale, text};
use load::{CLIENTS, Load, closed, executed, under_load};

const RECORDER: &str = "weir-recorder";
const DATA_PLANE: &str = "weir-dataplane";
const ADMIN: &str = "weir-admin serve";

/// Deterministic from its seed, which is printed.
struct Random(u64);

impl Random {
    fn new() -> Self {
        let seed = std::env::var("WEIR_SEED").ok().and_then(|seed| seed.parse().ok());
        let seed = seed.unwrap_or_else(|| u64::from(std::process::id()) | 1);
        println!("WEIR_SEED={seed}");
        Self(seed)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }

    /// The moment is what is random here; nothing waits for it to be right.
    fn pause(&mut self) {
        std::thread::sleep(Duration::from_micros(self.below(60_000)));
    }
}

/// Kills what runs under a name; nobody runs while it is on its way back.
fn kill(appliance: &Appliance, name: &str) {
    let pid = Appliance::until("it to run", || appliance.find(name));
    let _gone = Command::new("kill").args(["-KILL", &pid.to_string()]).status();
    Appliance::until("it to be gone", || (!Path::new(&format!("/proc/{pid}")).exists()).then_some(()));
}

/// Data plane and recorder, and with them the rings. Stopped first, so that neither sees the other's end: as when the power
/// fails.
fn both_at_once(appliance: &Appliance) {
    let programs = [RECORDER, DATA_PLANE].map(|name| Appliance::until("it to run", || appliance.find(name)));
    for signal in ["-STOP", "-KILL"] {
        for pid in programs {
            let _gone = Command::new("kill").args([signal, &pid.to_string()]).status();
        }
    }
}

/// A session that waits for the disk is served.
fn recorder_is_back(appliance: &Appliance, token: &str) {
    Appliance::until("the recorder to acknowledge again", || {
        let served = appliance.psql_with("chaos-durable", "privileged", token, "SELECT 1");
        served.status.success().then_some(())
    });
}

#[test]
fn one_program_killed_at_random_moments_loses_no_command_and_no_byte() {
    let appliance = Appliance::start();
    let load = Load::new(&appliance, "chaos-fast");
    let mut random = Random::new();
    let sessions = under_load(&load, |load| {
        // Each of them a thousand times in full.
        for round in 0..if scale() > 1 { 30 * scale() } else { 6 } {
            load.more();
            // Without a service manager the rings have two owners: one must be back before the other may go.
            recorder_is_back(&appliance, &load.token);
            random.pause();
            kill(&appliance, [RECORDER, DATA_PLANE, ADMIN][round % 3]);
        }
    });
    for seen in load.seen.lock().unwrap().iter() {
        let Some(session) = sessions.get(&seen.called) else {
            assert!(seen.bytes.is_empty(), "{} is not in the record, and was served", seen.called);
            continue;
        };
        let replayed = appliance.admin(&["sessions", "replay", session, "--bytes"]).stdout;
        // What a killed data plane recorded last may not have left it.
        let agrees = if seen.whole { replayed == seen.bytes } else { replayed.starts_with(&seen.bytes) };
        assert!(agrees, "{}: {} bytes were sent, {} recorded", seen.called, seen.bytes.len(), replayed.len());
    }
}

#[test]
fn what_is_durable_survives_the_loss_of_data_plane_recorder_and_rings_at_once() {
    let appliance = Appliance::start();
    let load = Load::new(&appliance, "chaos-durable");
    let mut random = Random::new();
    under_load(&load, |load| {
        for _ in 0..2 * scale() {
            load.more();
            random.pause();
            both_at_once(&appliance);
        }
    });
}

#[test]
fn what_is_lost_with_the_rings_is_within_the_bound_that_its_gap_states() {
    let appliance = Appliance::start();
    let load = Load::new(&appliance, "chaos-fast");
    load.run(|load| {
        load.more();
        both_at_once(&appliance);
    });
    let list = closed(&appliance);
    let gaps = Appliance::until("the lost rings' gaps", || {
        let events = text(&appliance.admin(&["sessions", "export", "--format", "jsonl"]).stdout);
        let events = events.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        let gaps: Vec<Value> = events.filter(|event| event["kind"] == "gap").collect();
        gaps.iter().any(|gap| gap["gap_ring"] != 0).then_some(gaps)
    });
    let bound: u64 = gaps.iter().filter_map(|gap| gap["missing_bytes"].as_u64()).sum();
    let mut missing = 0;
    for seen in load.seen.lock().unwrap().iter() {
        let recorded =
            list.get(&seen.called).map(|id| appliance.admin(&["sessions", "replay", id, "--bytes"]).stdout);
        missing += (seen.bytes.len() as u64).saturating_sub(recorded.map_or(0, |bytes| bytes.len() as u64));
    }
    println!("{missing} bytes are missing, the gaps say at most {bound}");
    assert!(missing <= bound, "{missing} bytes are missing, and the gaps say at most {bound}: {gaps:?}");
    assert!(!gaps.is_empty(), "nothing tells of the loss");
    for gap in &gaps {
        let (since, until) = (gap["since_unix_us"].as_i64().unwrap(), gap["until_unix_us"].as_i64().unwrap());
        assert!(0 < since && since <= until, "a gap without its time: {gap}");
    }
    let verified = appliance.admin(&["sessions", "verify"]);
    assert!(verified.status.success(), "{}", text(&verified.stdout));
}

/// System calls of a process that fail, until this is dropped or the process ends.
struct Failing(std::process::Child);

impl Failing {
    fn calls(pid: u32, call: &str, error: &str) -> Self {
        let inject = format!("inject={call}:error={error}");
        let mut strace = Command::new("strace");
        strace.args(["-f", "-qq", "-o", "/dev/null", "-e", &format!("trace={call}"), "-e", &inject, "-p"]);
        let child = strace.arg(pid.to_string()).spawn().expect("strace is installed");
        Appliance::until("strace to be attached", || {
            // It may have failed and ended already.
            let Ok(status) = fs::read_to_string(format!("/proc/{pid}/status")) else { return Some(()) };
            let tracer = status.lines().find_map(|line| line.strip_prefix("TracerPid:"))?.trim().to_owned();
            (tracer != "0").then_some(())
        });
        Self(child)
    }
}

impl Drop for Failing {
    fn drop(&mut self) {
        // In order, so that it lets the process go.
        let _gone = Command::new("kill").args(["-INT", &self.0.id().to_string()]).status();
        let _status = self.0.wait();
    }
}

#[test]
fn a_sync_that_fails_lets_nothing_through_and_the_next_recorder_serves_again() {
    let appliance = Appliance::start();
    let load = Load::new(&appliance, "chaos-durable");
    under_load(&load, |load| {
        for _ in 0..scale() {
            load.more();
            recorder_is_back(&appliance, &load.token);
            let recorder = appliance.find(RECORDER).unwrap();
            let _failing = Failing::calls(recorder, "fdatasync", "EIO");
            Appliance::until("the recorder to give up", || {
                (!Path::new(&format!("/proc/{recorder}")).exists()).then_some(())
            });
        }
    });
}

#[test]
fn a_disk_without_room_lets_nothing_through_until_there_is_some() {
    let appliance = Appliance::start();
    let load = Load::new(&appliance, "chaos-durable");
    under_load(&load, |load| {
        for _ in 0..scale() {
            load.more();
            recorder_is_back(&appliance, &load.token);
            let failing = Failing::calls(appliance.find(RECORDER).unwrap(), "pwrite64", "ENOSPC");
            Appliance::until("clients to be told", || {
                let refused = appliance.psql_with("chaos-durable", "privileged", &load.token, "SELECT 1");
                text(&refused.stderr).contains("nearly full").then_some(())
            });
            drop(failing);
        }
    });
}

#[test]
fn a_recorder_that_is_stopped_lets_nothing_durable_through_and_ends_nobody() {
    let appliance = Appliance::start();
    let load = Load::new(&appliance, "chaos-durable");
    under_load(&load, |load| {
        load.more();
        appliance.signal(RECORDER, "-STOP");
        let begun = std::time::Instant::now();
        let before = executed(&appliance).len();
        while begun.elapsed() < Duration::from_secs(if scale() > 1 { 10 } else { 2 }) {
            // What was acknowledged before the stop may still arrive, one command a client.
            let now = executed(&appliance).len();
            assert!(now <= before + CLIENTS as usize, "{now} executed, {before} when the recorder stopped");
        }
        appliance.signal(RECORDER, "-CONT");
    });
    let seen = load.seen.lock().unwrap();
    assert!(seen.len() == CLIENTS as usize && seen.iter().all(|seen| seen.whole), "somebody was cut off");
}
