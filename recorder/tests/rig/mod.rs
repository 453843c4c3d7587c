//! A directory, a key, rings, and the reading of what came out.
#![allow(dead_code, unreachable_pub, reason = "each test file uses its own part")]

pub mod judges;

use std::io::BufReader;
use std::path::PathBuf;

use weir_recorder::disk::{Disk, RealDisk};
use weir_recorder::drain::{Drain, Pace};
use weir_recorder::keys;
use weir_recorder::store::{Settings, Store};
use weir_ring::{Consumer, Description, Producer, PushError};
use weir_segment::{
    AuditorKey, Body, Compression, Direction, Event, FrameType, Head, Kind, Open, Outcome, Reader, Request,
    Response, RingId, SessionId, Verdict, Verifier,
};

pub const CAPACITY: usize = 1 << 20;

pub struct Rig {
    pub folder: tempfile::TempDir,
    pub public_key: [u8; 32],
    /// The first is whom its recorders encrypt to, unless `encrypted` says otherwise: also in `auditor.key`.
    pub auditors: Vec<AuditorKey>,
    pub encrypted: bool,
    pub compression: Compression,
}

impl Rig {
    pub fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let public = keys::generate(&folder.path().join("key")).unwrap();
        let text = std::fs::read_to_string(public).unwrap();
        let auditor = AuditorKey::generate(&ring::rand::SystemRandom::new()).unwrap();
        std::fs::write(folder.path().join("auditor.key"), &*auditor.to_pem()).unwrap();
        Self {
            public_key: weir_segment::parse_public_key(&text).unwrap(),
            folder,
            auditors: vec![auditor],
            encrypted: true,
            compression: Compression::None,
        }
    }

    /// The lines of `[recorder]` that every configuration needs.
    pub fn configuration(&self) -> String {
        let at = |name: &str| self.folder.path().join(name).display().to_string();
        format!(
            "[recorder]\nnode = 'node-1'\nsocket = '{}'\nsegments = '{}'\nsigning_key = '{}'\nrecipients = ['{}']\n",
            at("recorder.sock"),
            self.segments().display(),
            at("key"),
            weir_segment::auditor_key_text(self.auditors[0].public()).trim(),
        )
    }

    pub fn segments(&self) -> PathBuf {
        self.folder.path().join("segments")
    }

    pub fn settings(&self) -> Settings {
        Settings {
            directory: self.segments(),
            node: "node-1".to_owned(),
            recipients: if self.encrypted { vec![*self.auditors[0].public()] } else { Vec::new() },
            compression: self.compression,
            seal_bytes: 1 << 20,
            seal_age_us: i64::MAX,
            ring_bytes: CAPACITY as u64,
            undurable_bytes: 1 << 20,
            low_bytes: 0,
            critical_bytes: 0,
        }
    }

    pub fn store(&self) -> Store {
        // A test beside this one may be starting a program, whose process has this one's lock until it is another's.
        let begun = std::time::Instant::now();
        loop {
            let key = keys::load(&self.folder.path().join("key")).unwrap();
            match Store::open(self.settings(), key, Box::new(RealDisk)) {
                Err(weir_recorder::Error::Locked(_)) if begun.elapsed().as_secs() < 60 => {
                    std::thread::yield_now()
                }
                outcome => return outcome.unwrap(),
            }
        }
    }

    pub fn store_on(&self, disk: Box<dyn Disk>) -> Store {
        Store::open(self.settings(), keys::load(&self.folder.path().join("key")).unwrap(), disk).unwrap()
    }

    pub fn drain(&self) -> Drain {
        Drain::new(self.store(), lazy())
    }

    /// Everything recorded, in order; every segment must verify, the last may be open where `open` says so.
    pub fn read(&self, open: bool) -> Vec<Recorded> {
        read(self, open)
    }
}

pub fn lazy() -> Pace {
    Pace { undurable_bytes: 1 << 20, sync_interval: std::time::Duration::from_secs(3600) }
}

pub struct Recorded {
    pub head: Head,
    pub text: String,
}

fn read(rig: &Rig, open: bool) -> Vec<Recorded> {
    let mut files: Vec<_> = std::fs::read_dir(rig.segments())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|kind| kind == "seg"))
        .collect();
    files.sort();
    let trusted = [rig.public_key];
    let mut verifier = Verifier::new(&trusted).opening_with(&rig.auditors);
    let mut events = Vec::new();
    for path in &files {
        let input = || BufReader::new(std::fs::File::open(path).unwrap());
        let may_be_open = open && Some(path) == files.last();
        let report = verifier.segment(input(), may_be_open).unwrap();
        assert_eq!((report.finding, report.opened), (None, true), "{}", path.display());
        let mut reader = Reader::new(input()).unwrap();
        assert!(reader.unlock(&rig.auditors).unwrap());
        while let Ok(Some(mut frame)) = reader.next() {
            if frame.frame == FrameType::Event {
                let text = format!("{:?}", frame.body().unwrap());
                events.push(Recorded { head: frame.head, text });
            }
        }
    }
    events
}

/// Data plane's events only.
pub fn produced(events: &[Recorded]) -> Vec<&Recorded> {
    events.iter().filter(|event| event.head.ring.core() != RingId::RECORDER_CORE).collect()
}

pub fn own(events: &[Recorded]) -> Vec<&Recorded> {
    events.iter().filter(|event| event.head.ring.core() == RingId::RECORDER_CORE).collect()
}

pub fn of_kind<'a>(events: &[&'a Recorded], kind: Kind) -> Vec<&'a Recorded> {
    events.iter().copied().filter(|event| event.head.kind() == Some(kind)).collect()
}

pub fn producer(core: u16) -> Producer {
    let ring = RingId::new(1_700_000_000_000, core).0;
    let description = Description { ring, node: "node-1".to_owned(), core: core.into(), generation: 1 };
    Producer::create(CAPACITY, description).unwrap()
}

pub fn attach(producer: &Producer) -> Consumer {
    Consumer::attach(producer.handle().offer().unwrap()).unwrap()
}

/// The content of event `number` of a ring: sessions of 50 events, each opened, asking, answering.
pub fn body(number: u64) -> Body<'static> {
    match number % 50 {
        1 => Body::SessionOpen(Open { protocol: "postgres".into(), ..Open::default() }),
        n if n % 3 == 0 => Body::Request(Request {
            text: format!("select {number}").into_bytes().into(),
            verdict: Verdict::Allow,
            ..Request::default()
        }),
        n if n % 3 == 1 => {
            Body::Response(Response { bytes: vec![number as u8; (number % 900) as usize].into() })
        }
        _ => Body::Outcome(Outcome {
            json: format!("{{\"n\":{number}}}").into_bytes().into(),
            ..Outcome::default()
        }),
    }
}

pub fn event(core: u16, number: u64) -> Event<'static> {
    Event {
        session: SessionId::new(1_700_000_000_000 + number / 50, core.into()),
        wall_unix_us: 1_700_000_000_000_000 + number as i64,
        monotonic_ns: number,
        to_upstream_bytes: 1,
        to_client_bytes: 2,
        ordinal: number / 3,
        lane: 0,
        direction: Direction::Gateway,
        body: body(number),
    }
}

/// Pushes event `number`; false: the ring is full.
pub fn push(producer: &mut Producer, core: u16, number: u64) -> bool {
    let event = event(core, number);
    match producer.try_push(event.max_len(), |slot| event.write(slot)) {
        Ok(sequence) => {
            assert_eq!(sequence.0, number);
            true
        }
        Err(PushError::Full) => false,
        Err(error) => panic!("{error}"),
    }
}

/// Each ring's events must be exactly 1..=last, once, in order, as they were produced.
pub fn assert_exact(events: &[Recorded], core: u16, last: u64) {
    let ring = RingId::new(1_700_000_000_000, core);
    let found: Vec<_> = events.iter().filter(|event| event.head.ring == ring).collect();
    for (found, number) in found.iter().zip(1..) {
        assert_eq!(found.head.sequence.0, number);
        assert_eq!(found.head.monotonic_ns, number);
        assert_eq!(found.text, format!("{:?}", body(number)));
    }
    assert_eq!(found.len() as u64, last);
}
