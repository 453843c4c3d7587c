//! What handing a record over costs: the producer's part, both ends on one thread, and two threads at work.
#![allow(clippy::unwrap_used, clippy::panic, reason = "as in weir_benches")]

use std::convert::Infallible;
use std::hint::black_box;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use weir_ring::{Consumer, DEFAULT_CAPACITY_BYTES, Description, Flow, Producer, PushError};

const SIZES: [(&str, usize); 4] =
    [("256 B", 256), ("1 KiB", 1 << 10), ("16 KiB", 16 << 10), ("64 KiB", 64 << 10)];

fn ring() -> (Producer, Consumer) {
    let description = Description { ring: 1 << 16, node: "bench".into(), core: 0, generation: 1 };
    let producer = Producer::create(DEFAULT_CAPACITY_BYTES, description).unwrap();
    let consumer = Consumer::attach(producer.handle().offer().unwrap()).unwrap();
    (producer, consumer)
}

/// False: the ring is full.
fn push(producer: &mut Producer, payload: &[u8]) -> bool {
    let pushed = producer.try_push(payload.len(), |slot| {
        slot[..payload.len()].copy_from_slice(black_box(payload));
        Ok::<_, Infallible>(payload.len())
    });
    match pushed {
        Ok(_) => true,
        Err(PushError::Full) => false,
        Err(error) => panic!("{error}"),
    }
}

fn drain(consumer: &mut Consumer, room: &mut [u8]) -> usize {
    let taken = consumer
        .drain(|record| {
            black_box(record.copy_to(room));
            Flow::Go
        })
        .unwrap();
    consumer.written();
    taken
}

fn hand_off(criterion: &mut Criterion) {
    let mut room = vec![0; 64 << 10];
    for (name, bytes) in SIZES {
        let payload = vec![7; bytes];
        let mut group = criterion.benchmark_group(format!("ring/{name}"));
        group.throughput(Throughput::BytesDecimal(bytes as u64));
        let (mut producer, mut consumer) = ring();
        // The ring is as large as a core's, so that a push meets memory that no cache holds, as it does there.
        group.bench_function("push", |bench| {
            bench.iter_custom(|records| {
                let (mut left, mut spent) = (records, Duration::ZERO);
                while left > 0 {
                    let begun = Instant::now();
                    while left > 0 && push(&mut producer, &payload) {
                        left -= 1;
                    }
                    spent += begun.elapsed();
                    drain(&mut consumer, &mut room);
                }
                spent
            });
        });
        group.bench_function("push and drain", |bench| {
            bench.iter_custom(|records| {
                let begun = Instant::now();
                let batch = (256 << 10) / bytes as u64;
                let mut left = records;
                while left > 0 {
                    let now = left.min(batch);
                    (0..now).for_each(|_| assert!(push(&mut producer, &payload)));
                    drain(&mut consumer, &mut room);
                    left -= now;
                }
                begun.elapsed()
            });
        });
        group.bench_function("push beside a draining thread", |bench| {
            bench.iter_custom(|records| beside(&payload, records));
        });
        group.finish();
    }
}

/// Time until the last of `records` is pushed, waits for a full ring included.
fn beside(payload: &[u8], records: u64) -> Duration {
    let (mut producer, mut consumer) = ring();
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut room = vec![0; payload.len()];
            // Looked at before the last drain, so that nothing is left behind.
            while !done.load(Ordering::Acquire) || consumer.has_records().unwrap() {
                if drain(&mut consumer, &mut room) == 0 {
                    thread::yield_now();
                }
            }
        });
        let begun = Instant::now();
        for _ in 0..records {
            while !push(&mut producer, payload) {
                thread::yield_now();
            }
        }
        let spent = begun.elapsed();
        done.store(true, Ordering::Release);
        spent
    })
}

criterion_group! { name = benches; config = weir_benches::pace(); targets = hand_off }
criterion_main!(benches);
