//! Small segments with known content, and the tools to bend them.
#![allow(dead_code, unreachable_pub, reason = "each test file uses its own part")]

use std::ops::Range;

use ring::rand::SystemRandom;
use weir_segment::{
    AuditorKey, Batch, Body, Builder, Carry, Close, Compression, Direction, Effect, Event, Header, Identity,
    NotedRule, Open, Outcome, Recipients, Request, Response, RingId, Sequence, SessionId, SigningKey,
    Verdict,
};

pub const RING: RingId = RingId::new(1_700_000_000_000, 3);

fn key_from(seed: u8) -> SigningKey {
    // RFC 8410's PKCS#8 v1 wrapping of a 32-byte Ed25519 seed.
    let mut der =
        vec![0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20];
    der.extend_from_slice(&[seed; 32]);
    SigningKey::from_pkcs8(&der).unwrap()
}

pub fn key() -> SigningKey {
    key_from(1)
}

pub fn other_key() -> SigningKey {
    key_from(2)
}

/// Who encrypted samples can be read by.
pub fn auditor() -> AuditorKey {
    AuditorKey::from_pem(AUDITOR_PEM).unwrap()
}

/// Of 32 bytes 7.
pub const AUDITOR_PEM: &str = "-----BEGIN PRIVATE KEY-----
MC4CAQAwBQYDK2VuBCIEIAcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcH
-----END PRIVATE KEY-----
";

/// How a sample is stored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Form {
    #[default]
    Clear,
    Compressed,
    Encrypted,
    Both,
}

impl Form {
    pub const ALL: [Self; 4] = [Self::Clear, Self::Compressed, Self::Encrypted, Self::Both];

    pub fn compression(self) -> Compression {
        match self {
            Self::Clear | Self::Encrypted => Compression::None,
            Self::Compressed | Self::Both => Compression::Zstd,
        }
    }

    pub fn is_encrypted(self) -> bool {
        matches!(self, Self::Encrypted | Self::Both)
    }
}

/// Compares without tying the two lifetimes together.
pub fn is_body<'a>(found: &Body<'a>, sequence: u64) -> bool {
    let expected: Body<'a> = body(sequence);
    *found == expected
}

/// The body of event `sequence`: all kinds a session usually has.
pub fn body<'a>(sequence: u64) -> Body<'a> {
    match sequence % 4 {
        1 => Body::Request(Request {
            words: "select".into(),
            text: b"select name from patients where id = 7".as_slice().into(),
            facts: br#"{"relations":["patients"]}"#.as_slice().into(),
            verdict: Verdict::Allow,
            generation: sequence,
            ..Request::default()
        }),
        2 => Body::Response(Response { bytes: vec![sequence as u8; 520 + sequence as usize * 3].into() }),
        3 => Body::Outcome(Outcome {
            json: br#"{"tag":"SELECT 1"}"#.as_slice().into(),
            answer: b"Z".as_slice().into(),
        }),
        _ if sequence.is_multiple_of(8) => {
            Body::SessionClose(Close { reason: "client".into(), ..Close::default() })
        }
        _ => Body::SessionOpen(Open { protocol: "postgres".into(), ..Open::default() }),
    }
}

pub fn event(sequence: u64) -> Event<'static> {
    Event {
        session: SessionId::new(1_700_000_000_000, u128::from(sequence % 3)),
        wall_unix_us: 1_700_000_000_000_000 + sequence as i64,
        monotonic_ns: sequence,
        to_upstream_bytes: 1,
        to_client_bytes: sequence as u32 * 3,
        ordinal: sequence / 4,
        lane: 0,
        direction: Direction::ToClient,
        body: body(sequence),
    }
}

/// Twenty sessions of six people, opened by the first twenty events, whose requests touch a handful of tables; answers fill
/// the blocks.
pub fn job_event(number: u64) -> Event<'static> {
    let session = number % 20;
    let table = job_table(number);
    let facts = format!("{{\"statements\":[{{\"nested\":[\"update\"],\"relations\":[\"{table}\"]}}]}}");
    let noted = vec![NotedRule { rule: "watched".into(), effect: Effect::Alert }];
    let body = match number / 20 % 5 {
        _ if number <= 20 => Body::SessionOpen(Open {
            identity: Identity {
                issuer: "https://ci.example".into(),
                subject: format!("job-{}", session % 6).into(),
                run: session.is_multiple_of(2).then(|| format!("run-{session}").into()),
                ..Identity::default()
            },
            connection: "clinic".into(),
            role: ["reader", "writer"][(session % 2) as usize].into(),
            ..Open::default()
        }),
        1 | 2 => Body::Request(Request {
            words: ["select", "delete select"][(number % 2) as usize].into(),
            text: format!("select {number} from {table}").into_bytes().into(),
            facts: if number.is_multiple_of(11) {
                b"not json".as_slice().into()
            } else {
                facts.into_bytes().into()
            },
            verdict: if number.is_multiple_of(13) { Verdict::Deny } else { Verdict::Allow },
            rule: if number.is_multiple_of(13) { "no-delete".into() } else { "".into() },
            noted: if number.is_multiple_of(17) { noted.into() } else { Default::default() },
            ..Request::default()
        }),
        _ => Body::Response(Response { bytes: vec![number as u8; 1500].into() }),
    };
    Event {
        session: SessionId::new(1_700_000_000_000, session.into()),
        wall_unix_us: 1_700_000_000_000_000 + number as i64 * 1_000_000,
        monotonic_ns: number,
        to_upstream_bytes: 0,
        to_client_bytes: 0,
        ordinal: number,
        lane: 0,
        direction: Direction::Gateway,
        body,
    }
}

pub fn job_table(number: u64) -> &'static str {
    ["public.patients", "visits", "s.x.odd", "patients"][(number / 7 % 4) as usize]
}

pub struct Sample {
    pub key: SigningKey,
    pub salt: u8,
    pub carry: Carry,
    pub first: u64,
    pub form: Form,
}

impl Default for Sample {
    fn default() -> Self {
        Self { key: key(), salt: 5, carry: Carry::default(), first: 1, form: Form::Clear }
    }
}

impl Sample {
    fn begin(&self, out: &mut Batch, count: u64) -> Builder {
        self.begin_with(out, count, event)
    }

    fn begin_with(&self, out: &mut Batch, count: u64, event: fn(u64) -> Event<'static>) -> Builder {
        let header = Header {
            id: [self.salt; 16],
            begun_unix_us: 1_700_000_000_000_000,
            boot: [1; 16],
            public_key: self.key.public_key(),
            salt_secret: [self.salt; 32],
            compression: self.form.compression(),
            node: "node-1".to_owned(),
            ..Header::default()
        };
        let recipients = Recipients { keys: &[*auditor().public()], random: &SystemRandom::new() };
        let recipients = self.form.is_encrypted().then_some(recipients);
        let mut builder = Builder::begin(header, recipients, &self.carry, out).unwrap();
        for sequence in self.first..self.first + count {
            let event = event(sequence);
            let mut bytes = vec![0xaa; event.max_len()];
            let len = event.write(&mut bytes).unwrap();
            builder
                .append(out, RING, Sequence(sequence), len, |room| room.copy_from_slice(&bytes[..len]))
                .unwrap();
        }
        builder
    }

    pub fn open(&self, count: u64) -> Vec<u8> {
        let mut out = used_batch();
        self.begin(&mut out, count).settle(&mut out).unwrap();
        out.to_vec()
    }

    /// Events of [`job_event`], in several segments.
    pub fn jobs(form: Form, segments: u64, events: u64) -> Vec<Vec<u8>> {
        let mut sample = Self { form, ..Self::default() };
        (0..segments)
            .map(|_| {
                let mut out = used_batch();
                let builder = sample.begin_with(&mut out, events, job_event);
                let sealed = builder.seal(&mut out, &sample.key, 1_800_000_000_000_000, |_| false).unwrap();
                sample = Self { carry: sealed.carry, first: sample.first + events, form, ..Self::default() };
                out.to_vec()
            })
            .collect()
    }

    pub fn build(&self, count: u64) -> (Vec<u8>, Carry) {
        let mut out = used_batch();
        let mut builder = self.begin(&mut out, count);
        builder.pad(&mut out, 512).unwrap();
        let sealed = builder.seal(&mut out, &self.key, 1_700_000_001_000_000, |_| false).unwrap();
        (out.to_vec(), sealed.carry)
    }

    pub fn list(segments: u64, events: u64) -> Vec<Vec<u8>> {
        Self::list_as(Form::Clear, segments, events)
    }

    pub fn list_as(form: Form, segments: u64, events: u64) -> Vec<Vec<u8>> {
        let mut sample = Self { form, ..Self::default() };
        (0..segments)
            .map(|_| {
                let (bytes, carry) = sample.build(events);
                sample = Self { carry, first: sample.first + events, form, ..Self::default() };
                bytes
            })
            .collect()
    }
}

/// What an earlier commit left behind must not show in the next.
fn used_batch() -> Batch {
    let mut batch = Batch::new();
    batch.extend_from_slice(&[0xaa; 64 << 10]);
    batch.clear();
    batch
}

/// Where the event frames are.
pub fn frames(segment: &[u8]) -> Vec<Range<usize>> {
    let (mut ranges, mut at) = (Vec::new(), 4096);
    while at < segment.len() {
        let len = u32::from_le_bytes(segment[at + 8..at + 12].try_into().unwrap()) as usize;
        let end = at + (128 + len).next_multiple_of(16);
        if segment[at + 2] == 1 {
            ranges.push(at..end);
        }
        at = end;
    }
    ranges
}

/// Makes a frame's checksum right again.
pub fn mend(frame: &mut [u8]) {
    let crc = crc32c::crc32c_append(crc32c::crc32c(&frame[..4]), &frame[8..]);
    frame[4..8].copy_from_slice(&crc.to_le_bytes());
}
