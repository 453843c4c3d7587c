//! Rings, drain and store in one process: what is acknowledged, closed, refused, and what a failing disk does.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, clippy::expect_used)]

mod rig;

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Instant;

use rig::{Rig, assert_exact, attach, lazy, of_kind, own, produced, producer, push};
use weir_recorder::Error;
use weir_recorder::disk::{Disk, RealDisk, SegmentFile};
use weir_recorder::drain::{Drain, Turn};
use weir_ring::Sequence;
use weir_segment::{AuditorKey, Batch, Compression, Kind};

fn settle(drain: &mut Drain) {
    while drain.turn(Instant::now()).unwrap() == Turn::Busy {}
}

#[test]
fn many_rings_and_many_segments_hold_every_event_once() {
    for compression in [Compression::None, Compression::Zstd] {
        fill_many(&Rig { compression, ..Rig::new() });
    }
}

fn fill_many(rig: &Rig) {
    let mut drain = rig.drain();
    let mut producers: Vec<_> = (0..3).map(producer).collect();
    for producer in &producers {
        drain.add(attach(producer), Some(1)).unwrap();
    }
    for number in 1..=8_000 {
        for (core, producer) in producers.iter_mut().enumerate() {
            while !push(producer, core as u16, number) {
                drain.turn(Instant::now()).unwrap();
            }
        }
    }
    drain.finish().unwrap();
    let events = rig.read(false);
    let segments = std::fs::read_dir(rig.segments()).unwrap().count();
    assert!(segments > if rig.compression == Compression::None { 5 } else { 3 }, "{segments}");
    for core in 0..3 {
        assert_exact(&events, core, 8_000);
    }
}

#[test]
fn nothing_is_acknowledged_before_somebody_waits_or_it_is_time() {
    let rig = Rig::new();
    let mut drain = rig.drain();
    let mut producer = producer(0);
    drain.add(attach(&producer), Some(1)).unwrap();
    for number in 1..=10 {
        push(&mut producer, 0, number);
    }
    settle(&mut drain);
    assert_eq!(producer.used_bytes().unwrap(), 0, "written: the space is free");
    assert_eq!(producer.durable().unwrap(), Sequence(0));
    assert!(drain.sync_due().is_some());
    producer.want_durable(Sequence(3));
    settle(&mut drain);
    assert_eq!(producer.durable().unwrap(), Sequence(10), "one sync for all");
    assert!(drain.sync_due().is_none());
}

#[test]
fn a_dead_data_planes_sessions_are_closed_and_its_intents_are_unknown() {
    let rig = Rig::new();
    let mut drain = rig.drain();
    let (mut dead, mut alive) = (producer(0), producer(1));
    drain.add(attach(&dead), Some(1)).unwrap();
    drain.add(attach(&alive), Some(2)).unwrap();
    // Ends after the request of ordinal 1: event 3.
    for number in 1..=3 {
        push(&mut dead, 0, number);
        push(&mut alive, 1, number);
    }
    drop(dead);
    drain.orphan(1, Instant::now());
    settle(&mut drain);
    drain.finish().unwrap();
    let events = rig.read(false);
    assert_exact(&events, 0, 3);
    let own = own(&events);
    let outcomes = of_kind(&own, Kind::Outcome);
    assert_eq!(outcomes.len(), 1);
    assert_eq!(outcomes[0].head.ordinal, 1);
    assert!(outcomes[0].text.contains(&format!("{:?}", br#"{"outcome":"unknown"}"#)));
    let closed = of_kind(&own, Kind::SessionClose);
    assert_eq!(closed.len(), 1, "the other data plane's session goes on");
    assert!(closed[0].text.contains("the data plane ended"));
}

#[test]
fn a_data_plane_that_comes_back_in_time_keeps_its_rings() {
    let rig = Rig::new();
    let mut drain = rig.drain();
    let mut producer = producer(0);
    drain.add(attach(&producer), Some(1)).unwrap();
    push(&mut producer, 0, 1);
    drain.orphan(1, Instant::now() + std::time::Duration::from_secs(3600));
    settle(&mut drain);
    assert!(drain.claim(&producer.handle().offer().unwrap(), 2).unwrap());
    drain.orphan(1, Instant::now());
    assert!(push(&mut producer, 0, 2));
    settle(&mut drain);
    drain.finish().unwrap();
    let events = rig.read(false);
    assert_exact(&events, 0, 2);
    assert!(own(&events).is_empty(), "nobody's session was closed");
}

#[test]
fn a_successor_drops_what_is_recorded_and_takes_the_rest() {
    let rig = Rig::new();
    let mut producer = producer(0);
    for round in 0..6_u64 {
        let mut drain = rig.drain();
        drain.add(attach(&producer), Some(1)).unwrap();
        for number in round * 100 + 1..=round * 100 + 100 {
            assert!(push(&mut producer, 0, number));
        }
        drain.turn(Instant::now()).unwrap();
        // Killed: nothing is sealed, and what the ring holds is what `written` says.
        drop(drain);
    }
    rig.drain().finish().unwrap();
    let events = rig.read(false);
    assert_exact(&events, 0, 600);
    assert_eq!(of_kind(&own(&events), Kind::Gap).len(), 6);
}

#[test]
fn records_met_again_are_dropped_and_their_space_is_freed() {
    let rig = Rig::new();
    let mut producer = producer(0);
    let mut store = rig.store();
    for number in 1..=100 {
        assert!(push(&mut producer, 0, number));
        let event = rig::event(0, number);
        let mut bytes = vec![0; event.max_len()];
        let len = event.write(&mut bytes).unwrap();
        let ring = weir_segment::RingId::new(1_700_000_000_000, 0);
        store
            .append(ring, weir_segment::Sequence(number), len, |room| room.copy_from_slice(&bytes[..len]))
            .unwrap();
    }
    // Killed after the write, before the ring heard of it.
    store.write().unwrap();
    drop(store);
    let mut drain = rig.drain();
    drain.add(attach(&producer), Some(1)).unwrap();
    assert_eq!(producer.durable().unwrap(), Sequence(100), "acknowledged by the recovery");
    settle(&mut drain);
    assert_eq!(producer.used_bytes().unwrap(), 0);
    push(&mut producer, 0, 101);
    settle(&mut drain);
    drain.finish().unwrap();
    assert_exact(&rig.read(false), 0, 101);
}

#[test]
fn a_lost_ring_leaves_a_gap_and_closed_sessions() {
    let rig = Rig::new();
    let mut producer = producer(0);
    let mut drain = rig.drain();
    drain.add(attach(&producer), Some(1)).unwrap();
    push(&mut producer, 0, 1);
    settle(&mut drain);
    drop((drain, producer));
    let mut drain = rig.drain();
    drain.give_up_unclaimed().unwrap();
    drain.finish().unwrap();
    let events = rig.read(false);
    let own = own(&events);
    assert_eq!(of_kind(&own, Kind::SessionClose).len(), 1);
    assert!(of_kind(&own, Kind::Gap).iter().any(|gap| gap.text.contains("the ring was lost")));
    // It is told once: the next recorder knows nothing of it.
    let mut drain = rig.drain();
    drain.give_up_unclaimed().unwrap();
    drain.finish().unwrap();
    let events = rig.read(false);
    assert_eq!(of_kind(&rig::own(&events), Kind::SessionClose).len(), 1);
}

#[test]
fn a_hole_in_a_rings_sequence_becomes_a_gap_that_verification_accepts() {
    let rig = Rig::new();
    let mut producer = producer(0);
    for number in 1..=20 {
        push(&mut producer, 0, number);
    }
    // Somebody else read the first ten and recorded them nowhere.
    let mut thief = attach(&producer);
    let mut left = 10;
    thief
        .drain(|_| {
            left -= 1;
            if left >= 0 { weir_ring::Flow::Go } else { weir_ring::Flow::Stop }
        })
        .unwrap();
    thief.written();
    drop(thief);
    let mut drain = rig.drain();
    drain.add(attach(&producer), Some(1)).unwrap();
    settle(&mut drain);
    drain.finish().unwrap();
    let events = rig.read(false);
    assert_eq!(produced(&events).len(), 10);
    assert_eq!(of_kind(&own(&events), Kind::Gap).len(), 1);
}

#[test]
fn a_broken_ring_is_given_up_with_a_gap_and_the_others_go_on() {
    let rig = Rig::new();
    let (mut broken, mut whole) = (producer(0), producer(1));
    let mut drain = rig.drain();
    drain.add(attach(&broken), Some(1)).unwrap();
    drain.add(attach(&whole), Some(1)).unwrap();
    push(&mut broken, 0, 1);
    push(&mut whole, 1, 1);
    // Shorter than any event's head.
    broken.try_push(8, |_| Ok::<_, std::convert::Infallible>(8)).unwrap();
    settle(&mut drain);
    let refused = broken.try_push(8, |_| Ok::<_, std::convert::Infallible>(8));
    assert!(refused.is_err(), "its ring is retired");
    push(&mut whole, 1, 2);
    settle(&mut drain);
    drain.finish().unwrap();
    let events = rig.read(false);
    assert_exact(&events, 0, 1);
    assert_exact(&events, 1, 2);
    let own = own(&events);
    assert!(of_kind(&own, Kind::Gap)[0].text.contains("inconsistent"));
    assert!(of_kind(&own, Kind::SessionClose)[0].text.contains("broke its ring"));
}

#[test]
fn two_recorders_cannot_share_a_directory() {
    let rig = Rig::new();
    let _first = rig.store();
    let key = weir_recorder::keys::load(&rig.folder.path().join("key")).unwrap();
    let second = weir_recorder::store::Store::open(rig.settings(), key, Box::new(RealDisk));
    assert!(matches!(second.err(), Some(Error::Locked(_))));
}

#[test]
fn a_clock_that_is_set_while_recording_is_recorded_and_nothing_else_minds() {
    let rig = Rig::new();
    let mut drain = rig.drain();
    let mut producer = producer(0);
    drain.add(attach(&producer), Some(1)).unwrap();
    let (wall, monotonic) = (weir_recorder::clock::wall_unix_us(), weir_recorder::clock::monotonic_ns());
    for (number, by_us) in [(1, 0), (2, -86_400_000_000), (3, 3_155_760_000_000_000)] {
        assert!(push(&mut producer, 0, number));
        settle(&mut drain);
        drain.check_clock(wall + by_us, monotonic).unwrap();
        drain.store().roll().unwrap();
    }
    drain.finish().unwrap();
    let events = rig.read(false);
    assert_exact(&events, 0, 3);
    let told: Vec<_> = of_kind(&own(&events), Kind::Admin).iter().map(|event| event.text.clone()).collect();
    assert_eq!(told.len(), 2, "{told:?}");
}

#[test]
fn a_recorder_whose_clock_is_far_behind_the_record_starts_again_and_again_and_the_record_verifies() {
    let rig = Rig::new();
    rig.store().seal().unwrap();
    // As a recorder left it whose clock was a century ahead.
    let future = weir_recorder::clock::wall_unix_us() + 3_155_760_000_000_000;
    let path = rig.segments().join("000000000001.seg");
    let key = weir_recorder::keys::load(&rig.folder.path().join("key")).unwrap();
    let header = weir_segment::Header {
        begun_unix_us: future,
        public_key: key.public_key(),
        salt_secret: [1; 32],
        ..Default::default()
    };
    let mut out = Batch::new();
    let mut builder =
        weir_segment::Builder::begin(header, None, &weir_segment::Carry::default(), &mut out).unwrap();
    let ring = weir_segment::RingId::new((future / 1_000) as u64, weir_segment::RingId::RECORDER_CORE);
    let admin = weir_segment::Body::Admin(weir_segment::Admin { json: b"{}".as_slice().into() });
    let event = weir_segment::recorder_event(future, 1, admin);
    builder.append_own(&mut out, ring, weir_segment::Sequence(1), &event).unwrap();
    builder.seal(&mut out, &key, future, |_| false).unwrap();
    std::fs::write(&path, &out[..]).unwrap();
    let mut producer = producer(0);
    for round in 0..4_u64 {
        let mut settings = rig.settings();
        settings.seal_age_us = 1;
        let key = weir_recorder::keys::load(&rig.folder.path().join("key")).unwrap();
        let store = weir_recorder::store::Store::open(settings, key, Box::new(RealDisk)).unwrap();
        let mut drain = Drain::new(store, lazy());
        drain.add(attach(&producer), Some(1)).unwrap();
        assert!(push(&mut producer, 0, round + 1));
        let number = |drain: &mut Drain| drain.store().number();
        let before = number(&mut drain);
        while number(&mut drain) == before {
            drain.turn(Instant::now()).unwrap();
        }
        // Every other one is killed.
        if round % 2 == 0 {
            drain.finish().unwrap();
        }
    }
    rig.drain().finish().unwrap();
    let events = rig.read(false);
    assert_exact(&events, 0, 4);
    let told = of_kind(&own(&events), Kind::Admin);
    assert_eq!(told.iter().filter(|event| event.text.contains("Admin")).count(), 1 + 5);
}

/// Fails as told: `room` bytes until the disk is full, `syncs` until one fails.
#[derive(Clone)]
struct BadDisk {
    room: Arc<AtomicI64>,
    syncs: Arc<AtomicI64>,
}

struct BadFile(Box<dyn SegmentFile>, BadDisk);

impl BadDisk {
    fn new() -> Self {
        Self { room: Arc::new(AtomicI64::new(i64::MAX)), syncs: Arc::new(AtomicI64::new(i64::MAX)) }
    }
}

impl Disk for BadDisk {
    fn create(&mut self, path: &Path) -> io::Result<Box<dyn SegmentFile>> {
        if self.room.load(Ordering::Relaxed) <= 0 {
            return Err(io::ErrorKind::StorageFull.into());
        }
        Ok(Box::new(BadFile(RealDisk.create(path)?, self.clone())))
    }

    fn reopen(&mut self, path: &Path, len: u64) -> io::Result<Box<dyn SegmentFile>> {
        RealDisk.reopen(path, len)
    }

    fn free_bytes(&mut self, _directory: &Path) -> io::Result<u64> {
        Ok(u64::try_from(self.room.load(Ordering::Relaxed)).unwrap_or(0))
    }
}

impl SegmentFile for BadFile {
    fn write(&mut self, batch: &Batch, offset: u64) -> io::Result<()> {
        let left = self.1.room.fetch_sub(batch.len() as i64, Ordering::Relaxed);
        if left >= batch.len() as i64 {
            return self.0.write(batch, offset);
        }
        self.1.room.store(left, Ordering::Relaxed);
        // Half of it gets there, as a real full disk would have it.
        let mut half = Batch::new();
        half.extend_from_slice(&batch[..batch.len() / 2]);
        self.0.write(&half, offset)?;
        Err(io::ErrorKind::StorageFull.into())
    }

    fn sync(&mut self) -> io::Result<()> {
        if self.1.syncs.fetch_sub(1, Ordering::Relaxed) <= 0 {
            return Err(io::Error::from_raw_os_error(rustix::io::Errno::IO.raw_os_error()));
        }
        self.0.sync()
    }

    fn is_direct(&self) -> bool {
        self.0.is_direct()
    }
}

#[test]
fn a_full_disk_stalls_and_goes_on_without_loss_when_there_is_room() {
    let rig = Rig::new();
    let disk = BadDisk::new();
    let mut drain = Drain::new(rig.store_on(Box::new(disk.clone())), lazy());
    let mut producer = producer(0);
    drain.add(attach(&producer), Some(1)).unwrap();
    let mut number = 0;
    for _ in 0..40 {
        disk.room.store(60_000, Ordering::Relaxed);
        let mut stuck = 0;
        while stuck < 3 {
            while push(&mut producer, 0, number + 1) {
                number += 1;
            }
            producer.want_durable(producer.last());
            stuck += u32::from(drain.turn(Instant::now()).unwrap() == Turn::Stuck);
        }
        assert!(producer.durable().unwrap() < producer.last());
    }
    disk.room.store(i64::MAX, Ordering::Relaxed);
    settle(&mut drain);
    assert_eq!(producer.durable().unwrap(), producer.last());
    drain.finish().unwrap();
    assert_exact(&rig.read(false), 0, number);
}

#[test]
fn one_failed_sync_ends_acknowledgement_for_good_and_a_successor_keeps_what_was_acknowledged() {
    let rig = Rig::new();
    let disk = BadDisk::new();
    let mut drain = Drain::new(rig.store_on(Box::new(disk.clone())), lazy());
    let mut producer = producer(0);
    drain.add(attach(&producer), Some(1)).unwrap();
    for number in 1..=5 {
        push(&mut producer, 0, number);
    }
    producer.want_durable(Sequence(5));
    drain.turn(Instant::now()).unwrap();
    assert_eq!(producer.durable().unwrap(), Sequence(5));
    disk.syncs.store(0, Ordering::Relaxed);
    for number in 6..=9 {
        push(&mut producer, 0, number);
    }
    producer.want_durable(Sequence(9));
    let error = drain.turn(Instant::now()).unwrap_err();
    assert!(matches!(error, Error::Disk { what: "cannot sync", .. }), "{error}");
    assert_eq!(producer.durable().unwrap(), Sequence(5));
    drop(drain);
    let mut drain = rig.drain();
    drain.add(attach(&producer), Some(1)).unwrap();
    settle(&mut drain);
    drain.finish().unwrap();
    assert_exact(&rig.read(false), 0, 9);
}

#[test]
fn an_open_segment_cut_anywhere_is_completed_and_followed() {
    let (whole, pem) = {
        let rig = Rig::new();
        let mut drain = rig.drain();
        let mut producer = producer(0);
        drain.add(attach(&producer), Some(1)).unwrap();
        for number in 1..=12 {
            push(&mut producer, 0, number);
        }
        drain.turn(Instant::now()).unwrap();
        drop(drain);
        (std::fs::read(rig.segments().join("000000000001.seg")).unwrap(), rig.auditors[0].to_pem())
    };
    // Every frame boundary and a spread of places between.
    for cut in (0..=whole.len()).filter(|cut| cut % 112 == 0 || cut % 307 == 0) {
        let mut rig = Rig::new();
        rig.auditors.push(AuditorKey::from_pem(&pem).unwrap());
        std::fs::create_dir_all(rig.segments()).unwrap();
        std::fs::write(rig.segments().join("000000000001.seg"), &whole[..cut]).unwrap();
        rig.drain().finish().unwrap();
        let events = rig.read(false);
        assert_exact(&events, 0, produced(&events).len() as u64);
        assert_eq!(of_kind(&own(&events), Kind::Gap).len(), usize::from(cut >= 4096), "cut at {cut}");
    }
}
