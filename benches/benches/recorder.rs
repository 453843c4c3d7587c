//! What the running recorder costs: the real service on a thread of its own, rings filled at a steady rate, CPU time of
//! both ends an event. Sealing, syncs, naps and wake-ups are in it. It makes its own table: criterion measures no pace.
//!
//! `cargo bench -p weir-benches --bench recorder -- WORD` measures the loads whose names hold the word; `RING_BYTES`
//! sets the ring's size, `ENCRYPTION=none` leaves encryption out.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "as in weir_benches")]

use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use weir_benches::cpu_time;
use weir_recorder::config::Config;
use weir_recorder::disk::RealDisk;
use weir_recorder::keys;
use weir_recorder::service::Service;
use weir_ring::{DEFAULT_CAPACITY_BYTES, Description, Link, Producer, PushError};
use weir_segment::{Body, Direction, Event, Outcome, Request, Response, RingId, SessionId, Verdict};

/// Sessions take turns, each with a command of three events: as many clients as a pool of a service has.
const SESSIONS: u64 = 16;
/// The producer comes back this often and pushes what is due.
const TICK: Duration = Duration::from_millis(1);
const LONG: Duration = Duration::from_secs(3);

/// One line of the table.
struct Load {
    name: &'static str,
    /// Bytes of an event's text, its answer.
    bytes: usize,
    /// Events a second; 0: as fast as the ring takes them.
    rate: u64,
    /// Each command waits for the disk, as at level `durable`.
    durable: bool,
}

const LOADS: [Load; 7] = [
    Load { name: "200 B, 1000/s", bytes: 100, rate: 1_000, durable: false },
    Load { name: "200 B, 10000/s", bytes: 100, rate: 10_000, durable: false },
    Load { name: "200 B, 50000/s", bytes: 100, rate: 50_000, durable: false },
    Load { name: "200 B, flat out", bytes: 100, rate: 0, durable: false },
    Load { name: "200 B, 10000/s, awaited", bytes: 100, rate: 10_000, durable: true },
    Load { name: "1 KiB, 50000/s", bytes: 928, rate: 50_000, durable: false },
    Load { name: "64 KiB, 3000/s", bytes: 64 << 10, rate: 3_000, durable: false },
];

fn main() {
    let chosen: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with('-')).collect();
    println!("{:<26} {:>10} {:>14} {:>14}", "load", "events", "recorder ns", "producer ns");
    for load in LOADS.iter().filter(|load| chosen.iter().all(|word| load.name.contains(word.as_str()))) {
        let folder =
            PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("recorder-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let (events, recorder, producer) = measure(load, &folder);
        std::fs::remove_dir_all(&folder).unwrap();
        let each = |spent: Duration| spent.as_nanos() / u128::from(events);
        println!("{:<26} {events:>10} {:>14} {:>14}", load.name, each(recorder), each(producer));
    }
}

fn measure(load: &Load, folder: &Path) -> (u64, Duration, Duration) {
    let config = config(folder);
    let socket = config.socket.clone();
    let service = Service::start(config, Box::new(RealDisk)).unwrap();
    let (stop, stopper) = UnixStream::pair().unwrap();
    // Named, so that a profile can tell the two ends apart.
    let recorder = thread::Builder::new().name("recorder".to_owned()).spawn(move || {
        let begun = cpu_time::used();
        service.run(&stop).unwrap();
        cpu_time::used() - begun
    });
    let description = Description { ring: RingId::new(1, 0).0, node: "bench".into(), core: 0, generation: 1 };
    let capacity = std::env::var("RING_BYTES").map_or(DEFAULT_CAPACITY_BYTES, |bytes| bytes.parse().unwrap());
    let mut producer = Producer::create(capacity, description).unwrap();
    let link = Link::connect(&socket).unwrap();
    link.hand_over(&producer.handle()).unwrap();
    let (events, spent) = produce(&mut producer, load);
    drop(stopper);
    (events, recorder.unwrap().join().unwrap(), spent)
}

fn config(folder: &Path) -> Config {
    let key = folder.join("key");
    keys::generate(&key).unwrap();
    let auditor = weir_segment::AuditorKey::generate(&ring::rand::SystemRandom::new()).unwrap();
    let recipients = format!("recipients = ['{}']", weir_segment::auditor_key_text(auditor.public()).trim());
    let encryption =
        std::env::var("ENCRYPTION").map_or(recipients, |encryption| format!("encryption = '{encryption}'"));
    let text = format!(
        "[recorder]\nnode = 'bench'\nsocket = '{}'\nsegments = '{}'\nsigning_key = '{}'\n{encryption}\nlow_bytes = 0\n\
         critical_bytes = 0\n",
        folder.join("socket").display(),
        folder.join("segments").display(),
        key.display(),
    );
    let file = folder.join("weir.toml");
    std::fs::write(&file, text).unwrap();
    Config::load(&file).unwrap()
}

fn produce(producer: &mut Producer, load: &Load) -> (u64, Duration) {
    let payload = vec![b'x'; load.bytes];
    let begun = Instant::now();
    let (mut number, mut spent) = (0, Duration::ZERO);
    while begun.elapsed() < LONG {
        let due = if load.rate == 0 {
            number + 300
        } else {
            (begun.elapsed().as_secs_f64() * load.rate as f64) as u64
        };
        let started = cpu_time::used();
        let mut full = false;
        while number < due && !full {
            full = !push(producer, &event(number, &payload));
            number += u64::from(!full);
        }
        if load.durable {
            producer.want_durable(producer.last());
        }
        spent += cpu_time::used() - started;
        if load.rate > 0 || full {
            thread::sleep(TICK);
        }
    }
    (number, spent)
}

fn event(number: u64, payload: &[u8]) -> Event<'_> {
    let body = match number % 3 {
        0 => Body::Request(Request { text: payload.into(), verdict: Verdict::Allow, ..Request::default() }),
        1 => Body::Response(Response { bytes: payload.into() }),
        _ => Body::Outcome(Outcome { json: payload.into(), ..Outcome::default() }),
    };
    Event {
        session: SessionId::new(1_800_000_000_000, u128::from(number / 3 % SESSIONS) + 1),
        wall_unix_us: 1_800_000_000_000_000 + number.cast_signed(),
        monotonic_ns: number * 1_000,
        to_upstream_bytes: 0,
        to_client_bytes: 0,
        ordinal: number / 3 / SESSIONS + 1,
        lane: 0,
        direction: Direction::ToClient,
        body,
    }
}

/// False: the ring is full.
fn push(producer: &mut Producer, event: &Event<'_>) -> bool {
    match producer.try_push(event.max_len(), |slot| event.write(slot)) {
        Ok(_) => true,
        Err(PushError::Full) => false,
        Err(error) => panic!("{error}"),
    }
}
