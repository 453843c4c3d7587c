//! What recording costs: an event into a slot, an event into a segment, and a segment verified.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "as in weir_benches")]

use std::hint::black_box;

use criterion::{Throughput, criterion_group, criterion_main};
use ring::rand::SystemRandom;
use weir_benches::Criterion;
use weir_benches::statements::POINT_QUERY;
use weir_segment::{
    Batch, Body, Builder, Carry, Digest, Direction, Event, Header, Request, Response, RingId, Sequence,
    SessionId, SigningKey, Verdict, Verifier,
};

const RING: RingId = RingId::new(1_800_000_000_000, 0);
/// A batch is written to the file at about this size.
const BATCH_BYTES: usize = 1 << 20;

fn key() -> SigningKey {
    let document = ring::signature::Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).unwrap();
    SigningKey::from_pkcs8(document.as_ref()).unwrap()
}

fn begin(key: &SigningKey, out: &mut Batch) -> Builder {
    let header = Header {
        number: 0,
        id: [1; 16],
        begun_unix_us: 1_800_000_000_000_000,
        boot: [2; 16],
        previous_root: Digest::default(),
        public_key: key.public_key(),
        salt_secret: [3; 32],
        node: "bench".to_owned(),
    };
    Builder::begin(header, &Carry::default(), out)
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
    let key = key();
    let bytes = vec![b'x'; 64 << 10];
    let mut group = criterion.benchmark_group("segment/append");
    for (name, total) in [("200 B", 200), ("1 KiB", 1 << 10), ("64 KiB", 64 << 10)] {
        let mut written = vec![0; 80 << 10];
        let fitting = (1..=total).rev().find(|len| {
            event(1, response(&bytes[..*len])).write(&mut written).is_ok_and(|written| written <= total)
        });
        let body = response(&bytes[..fitting.unwrap()]);
        // One of each session, so that appending is all that is measured.
        let events: Vec<Vec<u8>> = (0..16)
            .map(|number| {
                let len = event(number, body.clone()).write(&mut written).unwrap();
                written[..len].to_vec()
            })
            .collect();
        let mut out = Batch::new();
        let mut builder = begin(&key, &mut out);
        let mut sequence = 0;
        group.throughput(Throughput::BytesDecimal(events[0].len() as u64));
        group.bench_function(name, |bench| {
            bench.iter(|| {
                if out.len() >= BATCH_BYTES {
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
    group.finish();
}

fn verify(criterion: &mut Criterion) {
    const SEGMENT_BYTES: usize = 4 << 20;
    let key = key();
    let trusted = [key.public_key()];
    let bytes = vec![b'x'; 64 << 10];
    let mut group = criterion.benchmark_group("segment/verify");
    for (name, len) in [("events of 200 B", 100), ("events of 1 KiB", 928), ("events of 64 KiB", 65_440)] {
        let mut out = Batch::new();
        let mut builder = begin(&key, &mut out);
        let mut number = 0;
        while out.len() < SEGMENT_BYTES {
            number += 1;
            let event = event(number, response(&bytes[..len]));
            builder.append_own(&mut out, RING, Sequence(number), &event).unwrap();
        }
        builder.seal(&mut out, &key, 1_800_000_001_000_000, |_| false).unwrap();
        let report = Verifier::new(&trusted).segment(&out[..], false).unwrap();
        assert_eq!((report.events, report.finding), (number, None));
        group.throughput(Throughput::BytesDecimal(out.len() as u64));
        group.bench_function(name, |bench| {
            bench.iter(|| Verifier::new(&trusted).segment(black_box(&out[..]), false).unwrap());
        });
    }
    group.finish();
}

criterion_group! { name = benches; config = weir_benches::pace(); targets = write, append, verify }
criterion_main!(benches);
