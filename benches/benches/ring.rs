//! What handing a record over costs: the producer's part, both ends on one thread, and two threads at work.
//! In rings of several sizes: a push meets the memory that its ring is made of, and a small one is in a cache.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "as in weir_benches")]

use std::convert::Infallible;
use std::hint::black_box;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use criterion::{Throughput, criterion_group, criterion_main};
use weir_benches::{Criterion, cpu_time};
use weir_ring::{Consumer, DEFAULT_CAPACITY_BYTES, Description, Flow, Producer, PushError};

const SIZES: [(&str, usize); 4] =
    [("256 B", 256), ("1 KiB", 1 << 10), ("16 KiB", 16 << 10), ("64 KiB", 64 << 10)];

fn ring(capacity: usize) -> (Producer, Consumer) {
    let description = Description { ring: 1 << 16, node: "bench".into(), core: 0, generation: 1 };
    let producer = Producer::create(capacity, description).unwrap();
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
        for mebibytes in [64, 32, 16, 8, 2] {
            let memory = format!("{mebibytes} MiB");
            let (mut producer, mut consumer) = ring(mebibytes << 20);
            // Memory is met for the first time once in a ring's life: not in what follows.
            while push(&mut producer, &payload) {}
            drain(&mut consumer, &mut room);
            group.bench_function(format!("push, {memory} ring"), |bench| {
                bench.iter_custom(|records| {
                    let (mut left, mut spent) = (records, Duration::ZERO);
                    while left > 0 {
                        let begun = cpu_time::used();
                        while left > 0 && push(&mut producer, &payload) {
                            left -= 1;
                        }
                        spent += cpu_time::used() - begun;
                        drain(&mut consumer, &mut room);
                    }
                    spent
                });
            });
            group.bench_function(format!("push and drain, {memory} ring"), |bench| {
                bench.iter_custom(|records| {
                    let begun = cpu_time::used();
                    let batch = (256 << 10) / bytes as u64;
                    let mut left = records;
                    while left > 0 {
                        let now = left.min(batch);
                        (0..now).for_each(|_| assert!(push(&mut producer, &payload)));
                        drain(&mut consumer, &mut room);
                        left -= now;
                    }
                    cpu_time::used() - begun
                });
            });
        }
        let (mut producer, mut consumer) = ring(DEFAULT_CAPACITY_BYTES);
        group.bench_function("push beside a draining thread, by the wall clock", |bench| {
            bench.iter_custom(|records| beside(&mut producer, &mut consumer, &payload, records));
        });
        group.finish();
    }
}

/// Time until the last of `records` is pushed, waits for a full ring included.
fn beside(producer: &mut Producer, consumer: &mut Consumer, payload: &[u8], records: u64) -> Duration {
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut room = vec![0; payload.len()];
            // Looked at before the last drain, so that nothing is left behind.
            while !done.load(Ordering::Acquire) || consumer.has_records().unwrap() {
                if drain(consumer, &mut room) == 0 {
                    thread::yield_now();
                }
            }
        });
        let begun = Instant::now();
        for _ in 0..records {
            while !push(producer, payload) {
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
