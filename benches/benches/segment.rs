//! What recording costs: an event into a slot, an event into a segment, and a segment verified.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "as in weir_benches")]

use std::hint::black_box;

use criterion::{Throughput, criterion_group, criterion_main};
use ring::rand::SystemRandom;
use weir_benches::Criterion;
use weir_benches::rows::{Density, rows};
use weir_benches::statements::POINT_QUERY;
use weir_segment::{
    AuditorKey, Batch, Body, Builder, Carry, Compression, Direction, Event, Header, Recipients, Request,
    Response, RingId, Sequence, SessionId, SigningKey, Verdict, Verifier,
};

const RING: RingId = RingId::new(1_800_000_000_000, 0);
/// A batch is written to the file at about this size.
const BATCH_BYTES: usize = 1 << 20;
/// How segments are stored: name, compressed, encrypted.
const FORMS: [(&str, Compression, bool); 4] = [
    ("clear", Compression::None, false),
    ("encrypted", Compression::None, true),
    ("zstd-1", Compression::Zstd, false),
    ("zstd-1, encrypted", Compression::Zstd, true),
];
/// An event's length in all.
const SIZES: [(&str, usize); 3] = [("200 B", 200), ("1 KiB", 1 << 10), ("64 KiB", 64 << 10)];

fn key() -> SigningKey {
    let document = ring::signature::Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).unwrap();
    SigningKey::from_pkcs8(document.as_ref()).unwrap()
}

fn auditor() -> AuditorKey {
    AuditorKey::generate(&SystemRandom::new()).unwrap()
}

fn begin(key: &SigningKey, auditor: &AuditorKey, form: (Compression, bool), out: &mut Batch) -> Builder {
    let header = Header {
        id: [1; 16],
        begun_unix_us: 1_800_000_000_000_000,
        boot: [2; 16],
        public_key: key.public_key(),
        salt_secret: [3; 32],
        compression: form.0,
        node: "bench".to_owned(),
        ..Header::default()
    };
    let recipients = Recipients { keys: &[*auditor.public()], random: &SystemRandom::new() };
    Builder::begin(header, form.1.then_some(recipients), &Carry::default(), out).unwrap()
}

/// What a client is sent: rows as text, a sixteenth of a MiB of them, different each time it is called with another `turn`.
fn answer(turn: usize) -> Vec<u8> {
    let rows = rows((64 << 10) + 200 * (turn + 1), Density::Sparse);
    let lines = rows.iter().skip(turn).map(|row| row.join(&b'|')).collect::<Vec<_>>().join(&b'\n');
    lines[..64 << 10].to_vec()
}

/// One event of each session, of `total` bytes at most.
fn events(total: usize) -> Vec<Vec<u8>> {
    let mut slot = vec![0; 80 << 10];
    let events = (0..16_usize).map(|number| {
        let bytes = answer(number);
        let fits = |len: &usize| {
            let event = event(number as u64, response(&bytes[..*len]));
            event.write(&mut slot).is_ok_and(|written| written <= total)
        };
        let len = (1..=total.min(bytes.len())).rev().find(fits).unwrap();
        let len = event(number as u64, response(&bytes[..len])).write(&mut slot).unwrap();
        slot[..len].to_vec()
    });
    events.collect()
}

/// Sixteen sessions take turns.
fn event(number: u64, body: Body<'_>) -> Event<'_> {
    Event {
        session: SessionId::new(1_800_000_000_000, u128::from(number % 16) + 1),
        wall_unix_us: 1_800_000_000_000_000 + number.cast_signed(),
        monotonic_ns: number * 1_000,
        to_upstream_bytes: 0,
        to_client_bytes: 0,
        ordinal: number / 16,
        lane: 0,
        direction: Direction::ToClient,
        body,
    }
}

fn request<'a>() -> Body<'a> {
    Body::Request(Request {
        words: "select".into(),
        text: POINT_QUERY.as_bytes().into(),
        facts: br#"{"relations":["pgbench_accounts"]}"#.as_slice().into(),
        verdict: Verdict::Allow,
        generation: 1,
        ..Request::default()
    })
}

fn response(bytes: &[u8]) -> Body<'_> {
    Body::Response(Response { bytes: bytes.into() })
}

fn write(criterion: &mut Criterion) {
    let bytes = vec![b'x'; 64 << 10];
    let mut slot = vec![0; 80 << 10];
    let mut group = criterion.benchmark_group("segment/write an event");
    let bodies = [
        ("request", request()),
        ("response of 1 KiB", response(&bytes[..1 << 10])),
        ("response of 64 KiB", response(&bytes)),
    ];
    for (name, body) in bodies {
        let event = event(1, body);
        let len = event.write(&mut slot).unwrap();
        group.throughput(Throughput::BytesDecimal(len as u64));
        group.bench_function(name, |bench| bench.iter(|| black_box(&event).write(&mut slot).unwrap()));
    }
    group.finish();
}

fn append(criterion: &mut Criterion) {
    let (key, auditor) = (key(), auditor());
    let mut group = criterion.benchmark_group("segment/append");
    for (form, compression, encrypted) in FORMS {
        for (size, total) in SIZES {
            let events = events(total);
            let mut out = Batch::new();
            let mut builder = begin(&key, &auditor, (compression, encrypted), &mut out);
            let mut sequence = 0;
            group.throughput(Throughput::BytesDecimal(events[0].len() as u64));
            group.bench_function(format!("{form}/{size}"), |bench| {
                bench.iter(|| {
                    if out.len() >= BATCH_BYTES {
                        builder.settle(&mut out).unwrap();
                        out.clear();
                    }
                    let event = &events[usize::try_from(sequence % 16).unwrap()];
                    sequence += 1;
                    builder
                        .append(&mut out, RING, Sequence(sequence), event.len(), |place| {
                            place.copy_from_slice(event)
                        })
                        .unwrap();
                });
            });
        }
    }
    group.finish();
}

/// What zstd alone costs: what compressed recording is held against.
fn compress(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("segment/zstd-1 alone");
    for (size, total) in SIZES {
        let events = events(total);
        let mut compressor = zstd::bulk::Compressor::new(1).unwrap();
        let (mut packed, mut turn) = (vec![0; 80 << 10], 0);
        group.throughput(Throughput::BytesDecimal(events[0].len() as u64));
        group.bench_function(size, |bench| {
            bench.iter(|| {
                turn = (turn + 1) % events.len();
                compressor.compress_to_buffer(&events[turn][80..], packed.as_mut_slice()).unwrap()
            });
        });
    }
    group.finish();
}

fn verify(criterion: &mut Criterion) {
    const SEGMENT_BYTES: usize = 4 << 20;
    let (key, auditors) = (key(), [auditor()]);
    let trusted = [key.public_key()];
    let mut group = criterion.benchmark_group("segment/verify");
    for (form, compression, encrypted) in FORMS {
        for (size, total) in SIZES {
            let events = events(total);
            let mut out = Batch::new();
            let mut builder = begin(&key, &auditors[0], (compression, encrypted), &mut out);
            let (mut number, mut bytes) = (0, 0);
            while bytes < SEGMENT_BYTES {
                let event = &events[number % events.len()];
                (number, bytes) = (number + 1, bytes + event.len());
                builder
                    .append(&mut out, RING, Sequence(number as u64), event.len(), |place| {
                        place.copy_from_slice(event)
                    })
                    .unwrap();
            }
            builder.seal(&mut out, &key, 1_800_000_001_000_000, |_| false).unwrap();
            // What was recorded is what counts, however short it is stored.
            group.throughput(Throughput::BytesDecimal(bytes as u64));
            for (how, keys) in [("", &[][..]), (", with the auditor's key", &auditors[..])] {
                if !encrypted && !keys.is_empty() {
                    continue;
                }
                let verifier = || Verifier::new(&trusted).opening_with(keys);
                let report = verifier().segment(&out[..], false).unwrap();
                assert_eq!((report.events, report.finding), (number as u64, None));
                group.bench_function(format!("{form}{how}/{size}"), |bench| {
                    bench.iter(|| verifier().segment(black_box(&out[..]), false).unwrap());
                });
            }
        }
    }
    group.finish();
}

criterion_group! { name = benches; config = weir_benches::pace(); targets = write, append, compress, verify }
criterion_main!(benches);
