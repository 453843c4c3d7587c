//! How long an auditor waits for one identity's sessions among many, and for a page of the catalogue of all of them (one in
//! fifty events is a session's first): a recording of `EVENTS` events (10 million unless the
//! variable says otherwise), encrypted, in segments as long as a recorder makes them, and the real `weir-admin` that reads it.
//! It makes its own table, of wall time: what counts is waiting, not work.
//!
//! Needs `cargo build --release --bins`, and 400 bytes of disk an event under the target directory.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "as in weir_benches")]

use std::fs;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use ring::rand::SystemRandom;
use weir_segment::{
    AuditorKey, Batch, Body, Builder, Carry, Close, Direction, Event, Header, Identity, Open, Outcome,
    Recipients, Request, RingId, Sequence, SessionId, SigningKey, Verdict,
};

const RING: RingId = RingId::new(1_800_000_000_000, 0);
const SEAL_BYTES: u64 = 128 << 20;
/// Of a session: its opening, commands of two events each, its close.
const SESSION_EVENTS: u64 = 50;
/// Sessions that take turns.
const ABREAST: u64 = 64;
const SUBJECTS: u64 = 5_000;

fn main() {
    let events = std::env::var("EVENTS").map_or(10_000_000, |events| events.parse().unwrap());
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("search-{}", std::process::id()));
    fs::create_dir_all(folder.join("segments")).unwrap();
    let (segments, bytes) = record(&folder, events);
    println!("{events} events, {segments} segments, {:.1} GB", bytes as f64 / 1e9);
    println!("{:<64} {:>9} {:>9}", "sessions ...", "cold s", "warm s");
    let cases: [&[&str]; 4] = [
        &["list", "--subject", "job-77"],
        &["search", "--subject", "job-77", "--table", "accounts-3"],
        &["search", "--subject", "job-77", "--verdict", "deny"],
        &["search", "--rule", "seldom"],
    ];
    for arguments in cases {
        let (cold, found) = run(&folder, arguments);
        let (warm, _) = run(&folder, arguments);
        println!("{:<64} {cold:>9.2} {warm:>9.2}   {found} lines", arguments.join(" "));
    }
    let catalogue = folder.join("catalogue.db").display().to_string();
    let (seconds, _) = run(&folder, &["reindex", "--catalogue", &catalogue]);
    println!("{:<64} {seconds:>9.2}", "reindex");
    let lists: [&[&str]; 7] = [
        &[],
        &["--subject", "job-77"],
        &["--connection", "bank", "--role", "job"],
        &["--state", "open"],
        &["--state", "closed", "--with", "deny"],
        &["--until", "2027-01-15T08:00:10Z"],
        &["--before", "01MCQPX7MG0000000000000000", "--newest", "100"],
    ];
    for list in lists {
        let arguments = [&["list", "--catalogue", &catalogue], list].concat();
        run(&folder, &arguments);
        let (seconds, found) = run(&folder, &arguments);
        println!(
            "{:<64} {:>9} {seconds:>9.3}   {found} lines",
            format!("list --catalogue {}", list.join(" ")),
            ""
        );
    }
    fs::remove_dir_all(&folder).unwrap();
}

/// Seconds, and lines of the answer.
fn run(folder: &Path, arguments: &[&str]) -> (f64, usize) {
    let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/release/weir-admin");
    let begun = Instant::now();
    let mut command = Command::new(program);
    command.arg("sessions").args(arguments).arg("--segments").arg(folder.join("segments"));
    let output = command.arg("--auditor-key").arg(folder.join("auditor.key")).output().unwrap();
    let seconds = begun.elapsed().as_secs_f64();
    // 1: nothing found, which is no mistake here.
    assert!(matches!(output.status.code(), Some(0 | 1)), "{}", String::from_utf8_lossy(&output.stderr));
    (seconds, output.stdout.split(|byte| *byte == b'\n').count() - 1)
}

/// Number of segments and their bytes.
fn record(folder: &Path, events: u64) -> (u64, u64) {
    let document = ring::signature::Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).unwrap();
    let key = SigningKey::from_pkcs8(document.as_ref()).unwrap();
    let auditor = AuditorKey::generate(&SystemRandom::new()).unwrap();
    let private = folder.join("auditor.key");
    fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&private).unwrap();
    fs::write(&private, auditor.to_pem().as_bytes()).unwrap();
    fs::set_permissions(&private, fs::Permissions::from_mode(0o600)).unwrap();
    let (mut carry, mut out, mut number, mut bytes) = (Carry::default(), Batch::new(), 0, 0);
    let mut slot = vec![0; 4 << 10];
    while number < events {
        let header = Header { public_key: key.public_key(), node: "bench".into(), ..Header::default() };
        let recipients = Recipients { keys: &[*auditor.public()], random: &SystemRandom::new() };
        out.clear();
        let mut builder = Builder::begin(header, Some(recipients), &carry, &mut out).unwrap();
        while number < events && builder.len() < SEAL_BYTES {
            number += 1;
            let len = write(number, &mut slot);
            builder
                .append(&mut out, RING, Sequence(number), len, |room| room.copy_from_slice(&slot[..len]))
                .unwrap();
        }
        carry = builder.seal(&mut out, &key, 1_900_000_000_000_000, |_| false).unwrap().carry;
        fs::write(folder.join(format!("segments/{:012}.seg", carry.number)), &out[..]).unwrap();
        bytes += out.len() as u64;
    }
    (carry.number, bytes)
}

/// Event `number`, into `slot`: sessions of [`SESSION_EVENTS`] events, [`ABREAST`] of them in turn.
fn write(number: u64, slot: &mut [u8]) -> usize {
    let (turn, lane) = ((number - 1) / ABREAST, (number - 1) % ABREAST);
    let (session, step) = (turn / SESSION_EVENTS * ABREAST + lane, turn % SESSION_EVENTS);
    let subject = format!("job-{}", session.wrapping_mul(0x9e37_79b9) % SUBJECTS);
    let facts = format!(
        r#"{{"fingerprint":"00000000000000ff","opaque":null,"statements":[{{"kind":"select","nested":[],"relations":["accounts-{}"],"functions":[],"filtered":true,"limit":null}}]}}"#,
        session / 40 % 40
    );
    let denied = number.is_multiple_of(97);
    let seldom = session % 20_000 == 7 && step == 3;
    let body = match step {
        0 => Body::SessionOpen(Open {
            protocol: "postgres".into(),
            identity: Identity {
                issuer: "https://ci.example".into(),
                subject: subject.as_str().into(),
                ..Identity::default()
            },
            connection: "bank".into(),
            role: "job".into(),
            ..Open::default()
        }),
        step if step + 1 == SESSION_EVENTS => {
            Body::SessionClose(Close { reason: "client".into(), ..Close::default() })
        }
        step if step % 2 == 1 => Body::Request(Request {
            words: "select".into(),
            text: b"SELECT abalance FROM accounts WHERE aid = 123456".as_slice().into(),
            facts: facts.as_bytes().into(),
            verdict: if denied || seldom { Verdict::Deny } else { Verdict::Allow },
            rule: if seldom {
                "seldom"
            } else if denied {
                "often"
            } else {
                ""
            }
            .into(),
            generation: 1,
            ..Request::default()
        }),
        _ => {
            Body::Outcome(Outcome { json: br#"{"tag":"SELECT 1"}"#.as_slice().into(), ..Outcome::default() })
        }
    };
    let event = Event {
        session: SessionId::new(1_800_000_000_000 + session, u128::from(session) + 1),
        wall_unix_us: 1_800_000_000_000_000 + number.cast_signed() * 100,
        monotonic_ns: number * 100_000,
        to_upstream_bytes: 0,
        to_client_bytes: 0,
        ordinal: step.div_ceil(2),
        lane: 0,
        direction: Direction::Gateway,
        body,
    };
    event.write(slot).unwrap()
}
