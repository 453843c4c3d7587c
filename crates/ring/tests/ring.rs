//! Both ends in one process: order, back-pressure, hostile words, hand-over, and a consumer that dies.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, clippy::expect_used)]

use std::convert::Infallible;
use std::os::fd::AsFd;

use weir_ring::{
    Answer, Consumer, Description, Error, Flow, Link, Listener, Nap, Pressure, Producer, PushError, Sequence,
};

const CAPACITY: usize = 64 << 10;

fn description() -> Description {
    Description { ring: (1_700_000_000_000 << 16) | 3, node: "node-1".to_owned(), core: 3, generation: 9 }
}

fn producer() -> Producer {
    Producer::create(CAPACITY, description()).unwrap()
}

fn attach(producer: &Producer) -> Consumer {
    Consumer::attach(producer.handle().offer().unwrap()).unwrap()
}

fn push(producer: &mut Producer, bytes: &[u8]) -> Result<Sequence, PushError<Infallible>> {
    producer.try_push(bytes.len(), |slot| {
        slot[..bytes.len()].copy_from_slice(bytes);
        Ok(bytes.len())
    })
}

fn drain(consumer: &mut Consumer) -> Result<Vec<(u64, Vec<u8>)>, Error> {
    let mut taken = Vec::new();
    consumer.drain(|record| {
        let mut bytes = vec![0; record.len()];
        assert_eq!(record.copy_to(&mut bytes), record.len());
        taken.push((record.sequence.0, bytes));
        Flow::Go
    })?;
    Ok(taken)
}

fn is_rung(bell: std::os::fd::BorrowedFd<'_>) -> bool {
    let mut fds = [rustix::event::PollFd::new(&bell, rustix::event::PollFlags::IN)];
    let now = rustix::event::Timespec { tv_sec: 0, tv_nsec: 0 };
    rustix::event::poll(&mut fds, Some(&now)).unwrap() == 1
}

/// Overwrites a shared word, as the other process could.
fn scribble(producer: &Producer, at: u64, value: u64) {
    let memfd = producer.handle().offer().unwrap().memfd;
    rustix::io::pwrite(&memfd, &value.to_le_bytes(), at).unwrap();
}

#[test]
fn records_of_all_lengths_come_out_in_order_through_many_wraps() {
    let (mut producer, mut expected) = (producer(), Vec::new());
    let mut consumer = attach(&producer);
    let mut sequence = 0;
    for round in 0..2_000_usize {
        let len = (round * 7919) % (producer.max_len() / 8);
        let bytes = vec![round as u8; len];
        sequence += 1;
        assert_eq!(push(&mut producer, &bytes).unwrap(), Sequence(sequence));
        expected.push((sequence, bytes));
        if round % 5 == 0 {
            assert_eq!(drain(&mut consumer).unwrap(), std::mem::take(&mut expected));
            consumer.written();
        }
    }
}

#[test]
fn a_full_ring_refuses_and_rings_the_producer_when_there_is_room() {
    let mut producer = producer();
    let mut consumer = attach(&producer);
    let record = vec![1; 1000];
    let mut pushed = 0;
    while push(&mut producer, &record).is_ok() {
        pushed += 1;
    }
    assert!(matches!(push(&mut producer, &record), Err(PushError::Full)));
    assert_eq!(pushed, CAPACITY / 1024);
    assert!(!producer.has_room(1).unwrap());
    assert!(!producer.wait_for_space(1000).unwrap());
    assert_eq!(drain(&mut consumer).unwrap().len(), pushed);
    // Taken is not written: nothing is free yet.
    assert!(matches!(push(&mut producer, &record), Err(PushError::Full)));
    assert!(!is_rung(producer.bell()));
    assert!(!producer.has_room(1).unwrap());
    consumer.written();
    assert!(is_rung(producer.bell()));
    assert!(producer.has_room(CAPACITY).unwrap() && !producer.has_room(CAPACITY + 1).unwrap());
    assert!(push(&mut producer, &record).is_ok());
    let too_long = producer.max_len() + 1;
    assert!(matches!(push(&mut producer, &vec![0; too_long]), Err(PushError::TooLong { .. })));
}

#[test]
fn a_failed_fill_leaves_the_ring_as_it_was() {
    let mut producer = producer();
    let mut consumer = attach(&producer);
    assert!(matches!(producer.try_push(10, |_| Err("no")), Err(PushError::Fill("no"))));
    assert!(drain(&mut consumer).unwrap().is_empty());
    assert_eq!(push(&mut producer, b"x").unwrap(), Sequence(1));
}

#[test]
fn the_producer_is_rung_for_durability_only_when_it_waits() {
    let mut producer = producer();
    let mut consumer = attach(&producer);
    for _ in 0..4 {
        push(&mut producer, b"event").unwrap();
    }
    assert!(!consumer.is_awaited());
    drain(&mut consumer).unwrap();
    consumer.written();
    consumer.durable(Sequence(2));
    assert_eq!(producer.durable().unwrap(), Sequence(2));
    assert!(!is_rung(producer.bell()));
    producer.want_durable(Sequence(4));
    assert!(consumer.is_awaited());
    consumer.durable(Sequence(4));
    assert!(is_rung(producer.bell()));
    assert!(!consumer.is_awaited());
}

#[test]
fn a_dozing_consumer_is_rung_for_waiters_and_a_filling_ring_a_sleeping_one_for_any_record() {
    let mut producer = producer();
    let mut consumer = attach(&producer);
    assert!(consumer.nap(Nap::Dozing).unwrap());
    push(&mut producer, b"event").unwrap();
    assert!(!is_rung(consumer.bell()));
    producer.want_durable(Sequence(1));
    assert!(is_rung(consumer.bell()));
    consumer.wake();
    assert!(!is_rung(consumer.bell()));
    assert!(!consumer.nap(Nap::Dozing).unwrap(), "somebody waits already");
    drain(&mut consumer).unwrap();
    consumer.durable(Sequence(1));
    assert!(consumer.nap(Nap::Dozing).unwrap());
    while !is_rung(consumer.bell()) {
        push(&mut producer, &[0; 1000]).unwrap();
    }
    assert!(producer.used_bytes().unwrap() > CAPACITY / 4);
    consumer.wake();
    assert!(!consumer.nap(Nap::Asleep).unwrap(), "records wait");
    drain(&mut consumer).unwrap();
    assert!(consumer.nap(Nap::Asleep).unwrap());
    push(&mut producer, b"event").unwrap();
    assert!(is_rung(consumer.bell()));
}

#[test]
fn a_dozing_consumer_that_keeps_up_is_never_rung() {
    let mut producer = producer();
    let mut consumer = attach(&producer);
    // Several times around the ring, of which never more than a fraction waits.
    for _ in 0..400 {
        assert!(consumer.nap(Nap::Dozing).unwrap());
        push(&mut producer, &[0; 1000]).unwrap();
        assert!(!is_rung(consumer.bell()));
        consumer.wake();
        drain(&mut consumer).unwrap();
        consumer.written();
    }
}

#[test]
fn a_large_rings_consumer_is_roused_by_a_gathering_and_does_not_doze_over_one() {
    const GATHERING: usize = 1 << 20;
    let mut producer = Producer::create(64 << 20, description()).unwrap();
    let mut consumer = attach(&producer);
    assert!(consumer.nap(Nap::Dozing).unwrap());
    while !is_rung(consumer.bell()) {
        push(&mut producer, &[0; 1000]).unwrap();
    }
    let used = producer.used_bytes().unwrap();
    assert!((GATHERING + 1..=GATHERING + 1024).contains(&used), "{used}");
    consumer.wake();
    assert!(!consumer.nap(Nap::Dozing).unwrap(), "a gathering waits");
    drain(&mut consumer).unwrap();
    consumer.written();
    assert!(consumer.nap(Nap::Dozing).unwrap());
}

#[test]
fn a_new_consumer_goes_on_where_the_dead_one_had_written() {
    let mut producer = producer();
    let mut consumer = attach(&producer);
    for byte in 0..10 {
        push(&mut producer, &[byte]).unwrap();
    }
    let mut left = 4;
    consumer
        .drain(|_| {
            left -= 1;
            if left >= 0 { Flow::Go } else { Flow::Stop }
        })
        .unwrap();
    consumer.written();
    drain(&mut consumer).unwrap();
    // Killed between taking and writing.
    drop(consumer);
    let mut successor = attach(&producer);
    assert_eq!(drain(&mut successor).unwrap().first().map(|(sequence, _)| *sequence), Some(5));
    push(&mut producer, b"more").unwrap();
    assert_eq!(drain(&mut successor).unwrap(), [(11, b"more".to_vec())]);
}

#[test]
fn a_dead_producers_ring_is_drained_to_its_end() {
    let mut consumer = {
        let mut producer = producer();
        push(&mut producer, b"last words").unwrap();
        attach(&producer)
    };
    assert_eq!(drain(&mut consumer).unwrap(), [(1, b"last words".to_vec())]);
    consumer.retire();
}

#[test]
fn a_retired_ring_takes_nothing_more() {
    let mut producer = producer();
    attach(&producer).retire();
    assert!(matches!(push(&mut producer, b"x"), Err(PushError::Ring(Error::Retired))));
    assert!(matches!(Consumer::attach(producer.handle().offer().unwrap()), Err(Error::Retired)));
}

#[test]
fn the_producer_sees_how_the_disk_is() {
    let producer = producer();
    let consumer = attach(&producer);
    for pressure in [Pressure::Low, Pressure::Critical, Pressure::Failed, Pressure::Ok] {
        consumer.set_pressure(pressure);
        assert_eq!(producer.pressure(), pressure);
    }
}

#[test]
fn hostile_words_are_errors_that_name_the_word() {
    const HEAD: u64 = 128;
    const WRITTEN: u64 = 256;
    const DURABLE: u64 = 384;
    let named = |error: &Error| {
        let Error::Inconsistent { word, .. } = error else { panic!("{error}") };
        *word
    };
    for value in [u64::MAX, CAPACITY as u64 + 16, 8, 0] {
        let mut producer = producer();
        let mut consumer = attach(&producer);
        push(&mut producer, &[1; 40]).unwrap();
        drain(&mut consumer).unwrap();
        scribble(&producer, HEAD, value);
        assert_eq!(named(&consumer.drain(|_| Flow::Go).unwrap_err()), "head", "{value}");
    }
    for value in [u64::MAX, 1024, 8] {
        let mut producer = producer();
        push(&mut producer, &[1; 40]).unwrap();
        scribble(&producer, WRITTEN, value);
        assert_eq!(named(&producer.used_bytes().unwrap_err()), "written", "{value}");
        assert_eq!(named(&producer.has_room(CAPACITY).unwrap_err()), "written", "{value}");
        scribble(&producer, DURABLE, value);
        assert_eq!(named(&producer.durable().unwrap_err()), "durable", "{value}");
    }
    for (at, value, word) in [
        (4096, u64::MAX, "record mark"),
        (4096, (u64::from(u32::from_le_bytes(*b"wrec")) << 32) | 0xffff_ffff, "record length"),
        (4096, (u64::from(u32::from_le_bytes(*b"wrec")) << 32) | 49, "record length"),
        (4104, 7, "record sequence"),
        (4104, 0, "record sequence"),
    ] {
        let mut producer = producer();
        let mut consumer = attach(&producer);
        push(&mut producer, &[1; 40]).unwrap();
        scribble(&producer, at, value);
        assert_eq!(named(&consumer.drain(|_| Flow::Go).unwrap_err()), word);
    }
}

#[test]
fn random_words_never_crash_either_end() {
    let mut random = 88_172_645_463_325_252_u64;
    let mut next = move || {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        random
    };
    for _ in 0..2_000 {
        let mut producer = producer();
        let mut consumer = attach(&producer);
        for _ in 0..8 {
            let _ = push(&mut producer, &vec![3; next() as usize % 5_000]);
            let at = [128, 256, 384, 512, 640, 768, 4096 + next() % 60_000][next() as usize % 7] & !7;
            scribble(&producer, at, next() >> (next() % 64));
            let _ = drain(&mut consumer);
            consumer.written();
            consumer.durable(Sequence(next() % 16));
            let _ = (producer.durable(), producer.wait_for_space(100), consumer.nap(Nap::Asleep));
        }
        let _ = Consumer::attach(producer.handle().offer().unwrap());
    }
}

#[test]
fn a_ring_crosses_a_socket_and_works_there() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("recorder.sock");
    let listener = Listener::bind(&path).unwrap();
    let mut producer = producer();
    push(&mut producer, b"across").unwrap();
    let handle = producer.handle();
    let sender = std::thread::spawn(move || {
        let link = Link::connect(&path).unwrap();
        let first = link.hand_over(&handle);
        (first, link.hand_over(&handle))
    });
    let link = listener.accept().unwrap();
    assert_eq!(link.peer().unwrap().uid, rustix::process::getuid());
    let offer = loop {
        match link.receive() {
            Ok(offer) => break offer.unwrap(),
            Err(Error::Os { source: rustix::io::Errno::AGAIN, .. }) => wait(&link),
            Err(error) => panic!("{error}"),
        }
    };
    assert_eq!(offer.description, description());
    let mut consumer = Consumer::attach(offer).unwrap();
    link.answer(Answer::Taken).unwrap();
    wait(&link);
    let again = link.receive().unwrap().unwrap();
    assert!(consumer.is_offered_by(&again));
    link.answer(Answer::Refused("twice")).unwrap();
    assert_eq!(drain(&mut consumer).unwrap(), [(1, b"across".to_vec())]);
    let (first, second) = sender.join().unwrap();
    assert!(first.is_ok());
    assert!(matches!(second, Err(Error::Refused(why)) if why == "twice"));
    wait(&link);
    assert!(link.receive().unwrap().is_none(), "the peer is gone");
}

fn wait(link: &Link) {
    let fd = link.fd();
    rustix::event::poll(&mut [rustix::event::PollFd::new(&fd, rustix::event::PollFlags::IN)], None).unwrap();
}

#[test]
fn what_is_no_ring_is_refused() {
    let genuine = producer();
    let offer = || genuine.handle().offer().unwrap();
    let mut unsealed = offer();
    unsealed.memfd = rustix::fs::memfd_create("x", rustix::fs::MemfdFlags::ALLOW_SEALING).unwrap();
    rustix::fs::ftruncate(&unsealed.memfd, 4096 + CAPACITY as u64).unwrap();
    let mut no_memory = offer();
    no_memory.memfd = rustix::io::fcntl_dupfd_cloexec(no_memory.consumer_bell.as_fd(), 3).unwrap();
    let mut no_bell = offer();
    no_bell.producer_bell = rustix::io::fcntl_dupfd_cloexec(no_bell.memfd.as_fd(), 3).unwrap();
    let mut other_id = offer();
    other_id.description.ring += 1;
    for bad in [unsealed, no_memory, no_bell, other_id] {
        assert!(matches!(Consumer::attach(bad), Err(Error::Foreign(_))));
    }
    let bad_capacity = Producer::create(CAPACITY + 4096, description());
    assert!(matches!(bad_capacity, Err(Error::Capacity(_))));
}
