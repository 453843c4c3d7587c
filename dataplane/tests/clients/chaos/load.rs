//! The load under which programs are killed, and what must be true of the record and of the server behind it.
//!
//! The server's own table is the witness of what was executed: each statement leaves its number there.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use serde_json::Value;

use crate::appliance::{Appliance, Who, text};
use crate::raw::{self, Raw, message};

pub(super) const CLIENTS: u64 = 3;
/// What a client saw of one session, by the name it gave itself.
pub(super) struct Seen {
    pub(super) called: String,
    pub(super) bytes: Vec<u8>,
    /// It said goodbye and was let go.
    pub(super) whole: bool,
}

/// Clients that work on one connection until they are told to stop, and begin anew when they are cut off.
pub(super) struct Load<'a> {
    appliance: &'a Appliance,
    connection: &'static str,
    pub(super) token: String,
    stop: AtomicBool,
    /// Numbers of statements, and those that were acknowledged to a client.
    next: AtomicU64,
    acknowledged: Mutex<BTreeSet<u64>>,
    pub(super) seen: Mutex<Vec<Seen>>,
}

/// However it ends, or a test that fails would wait for its clients for ever.
struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl<'a> Load<'a> {
    /// Two connections to the scratch database: each of a recording level.
    pub(super) fn new(appliance: &'a Appliance, connection: &'static str) -> Self {
        let upstream = appliance.upstream_line("scratch");
        let add = |name: &str, level: &str| {
            format!(
                "[[connection]]\nname = \"{name}\"\nprotocol = \"postgres\"\n{upstream}\ntls = \"off\"\ndatabase = \"scratch\"\n\
                 record = \"{level}\"\n[[role]]\nconnection = \"{name}\"\nname = \"privileged\"\nuser = \"weir_scratch\"\n\
                 password_file = \"../secrets/scratch\"\n[[grant]]\nconnection = \"{name}\"\nrole = \"privileged\"\n\
                 groups = [\"privileged\"]\n"
            )
        };
        let text_of = [add("chaos-fast", "fast"), add("chaos-durable", "durable")].concat();
        fs::write(appliance.dir.join("access/chaos.toml"), text_of).unwrap();
        let applied = appliance.admin(&["apply", "--config", appliance.var("WEIR_CONFIG")]);
        assert!(applied.status.success(), "{}", text(&applied.stderr));
        direct(appliance, "CREATE TABLE chaos (mark bigint PRIMARY KEY)");
        Self {
            appliance,
            connection,
            token: appliance.token(Who::Privileged),
            stop: AtomicBool::new(false),
            next: AtomicU64::new(1),
            acknowledged: Mutex::default(),
            seen: Mutex::default(),
        }
    }

    fn stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    fn done(&self) -> usize {
        self.acknowledged.lock().unwrap().len()
    }

    /// Waits until the clients are served some more.
    pub(super) fn more(&self) {
        let before = self.done();
        Appliance::until("the load to go on", || (self.done() > before + 5).then_some(()));
    }

    /// Runs the clients while `meanwhile` is called, and until they are served again behind it.
    pub(super) fn run(&self, meanwhile: impl FnOnce(&Self)) {
        std::thread::scope(|scope| {
            for number in 0..CLIENTS {
                scope.spawn(move || self.client(number));
            }
            let _stop = Stop(&self.stop);
            meanwhile(self);
            self.more();
        });
    }

    fn client(&self, number: u64) {
        let mut session = 0;
        while !self.stopped() {
            let called = format!("chaos-{number}-{session}");
            session += 1;
            match Raw::connect_if_served(self.appliance) {
                Some(raw) => self.session(raw, called),
                None => std::thread::park_timeout(Duration::from_millis(5)),
            }
        }
    }

    fn session(&self, mut raw: Raw, called: String) {
        let connection = self.connection;
        let who = format!("user\0privileged\0database\0{connection}\0application_name\0{called}\0\0");
        raw.send(&raw::packet(196_608, who.as_bytes()));
        if raw.next().is_none_or(|(kind, _)| kind != b'R') {
            return;
        }
        raw.send(&message(b'p', &[self.token.as_bytes(), b"\0"].concat()));
        let mut seen = Seen { called, bytes: Vec::new(), whole: false };
        let mut served = answered(&mut raw, &mut seen.bytes);
        if seen.bytes.first() == Some(&b'E') {
            // Refused: there is no session, only words.
            return;
        }
        while served.is_some() && !self.stopped() {
            let mark = self.next.fetch_add(1, Ordering::Relaxed);
            // Of very different lengths, and slow enough that what happens is more than one core's sending.
            let length = mark * mark % 9_973;
            raw.send(&raw::query(&format!(
                "INSERT INTO chaos VALUES ({mark}) RETURNING mark, repeat('x', {length}), pg_sleep(0.003)"
            )));
            served = answered(&mut raw, &mut seen.bytes);
            if served == Some(true) {
                self.acknowledged.lock().unwrap().insert(mark);
            }
        }
        if served.is_some() {
            raw.send(&message(b'X', b""));
            seen.whole = raw.next().is_none();
        }
        self.seen.lock().unwrap().push(seen);
    }
}

/// Takes messages up to ReadyForQuery. Whether a command completed; `None`: the connection ended before.
pub(super) fn answered(raw: &mut Raw, bytes: &mut Vec<u8>) -> Option<bool> {
    let mut completed = false;
    loop {
        let (kind, body) = raw.next()?;
        bytes.extend(message(kind, &body));
        match kind {
            b'Z' => return Some(completed),
            b'C' => completed = true,
            _ => {}
        }
    }
}

pub(super) fn direct(appliance: &Appliance, sql: &str) -> String {
    let output = Command::new("psql")
        .arg(appliance.var("WEIR_PG_SCRATCH_UPSTREAM"))
        .args(["-XAtq", "-c", sql])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
    text(&output.stdout)
}

pub(super) fn list(appliance: &Appliance) -> Vec<Value> {
    let output = appliance.admin(&["sessions", "list", "--json"]);
    serde_json::from_slice::<Value>(&output.stdout)
        .ok()
        .and_then(|list| list.as_array().cloned())
        .unwrap_or_default()
}

/// Waits until the record has the end of every session.
pub(super) fn closed(appliance: &Appliance) -> BTreeMap<String, String> {
    Appliance::until("every session's end in the record", || {
        let sessions = list(appliance);
        let over = |one: &Value| one["close_reason"].is_string();
        let called = |one: &Value| {
            Some((one["application"].as_str()?.to_owned(), one["session"].as_str()?.to_owned()))
        };
        sessions.iter().all(over).then(|| sessions.iter().filter_map(called).collect())
    })
}

/// Numbers of the statements that the record says were let through.
pub(super) fn recorded(appliance: &Appliance) -> BTreeSet<u64> {
    let output =
        appliance.admin(&["sessions", "search", "insert into chaos", "--verdict", "allow", "--json"]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let found: Value = serde_json::from_slice(&output.stdout).unwrap();
    let number = |one: &Value| {
        let text = one.to_string();
        let (_, rest) = text.split_once("INTO chaos VALUES (")?;
        rest.split_once(')')?.0.parse().ok()
    };
    found.as_array().unwrap().iter().filter_map(number).collect()
}

pub(super) fn executed(appliance: &Appliance) -> BTreeSet<u64> {
    direct(appliance, "SELECT mark FROM chaos").lines().map(|line| line.parse().unwrap()).collect()
}

/// Runs the load while `kill` is called, and looks at what all of them left.
pub(super) fn under_load(load: &Load<'_>, kill: impl FnOnce(&Load<'_>)) -> BTreeMap<String, String> {
    load.run(kill);
    let sessions = closed(load.appliance);
    let (executed, recorded) = (executed(load.appliance), recorded(load.appliance));
    let unrecorded: Vec<_> = executed.difference(&recorded).collect();
    assert!(unrecorded.is_empty(), "executed and not recorded: {unrecorded:?}");
    let acknowledged = load.acknowledged.lock().unwrap();
    let lost: Vec<_> = acknowledged.difference(&executed).collect();
    assert!(lost.is_empty(), "acknowledged and not executed: {lost:?}");
    let output = load.appliance.admin(&["sessions", "verify"]);
    assert!(output.status.success(), "{}{}", text(&output.stdout), text(&output.stderr));
    sessions
}
