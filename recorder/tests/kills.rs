//! The real program under SIGKILL and SIGTERM, with this process as the data plane.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, clippy::expect_used)]

mod rig;

use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus};
use std::time::{Duration, Instant};

use rig::{Rig, assert_exact, of_kind, own, producer, push};
use rustix::process::{Pid, Signal, kill_process};
use weir_ring::{Error, Link, Producer};
use weir_segment::Kind;

struct Recorder {
    child: Child,
    socket: PathBuf,
}

impl Recorder {
    fn start(rig: &Rig, extra: &str) -> Self {
        let at = |name: &str| rig.folder.path().join(name);
        let (config, socket) = (at("weir.toml"), at("recorder.sock"));
        let text = format!(
            "{}low_bytes = 1\ncritical_bytes = 0\nseal_bytes = 1048576\nsync_interval_ms = 20\ngather_ms = 1\n{extra}\n",
            rig.configuration(),
        );
        std::fs::write(&config, text).unwrap();
        let program = env!("CARGO_BIN_EXE_weir-recorder");
        let child =
            Command::new(program).arg("--config").arg(&config).env("WEIR_LOG", "error").spawn().unwrap();
        Self { child, socket }
    }

    /// Connects as soon as it listens, and hands the rings over.
    fn hand_over(&mut self, producers: &[&Producer]) -> Link {
        let patience = Instant::now() + Duration::from_secs(60);
        loop {
            assert!(Instant::now() < patience, "the recorder did not come up");
            let handed = Link::connect(&self.socket).and_then(|link| {
                producers.iter().try_for_each(|producer| link.hand_over(&producer.handle()))?;
                Ok(link)
            });
            match handed {
                Ok(link) => return link,
                Err(Error::Refused(why)) => panic!("refused: {why}"),
                Err(_) => std::thread::sleep(Duration::from_millis(2)),
            }
        }
    }

    fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    fn terminate(mut self) -> ExitStatus {
        kill_process(Pid::from_child(&self.child), Signal::TERM).unwrap();
        self.child.wait().unwrap()
    }
}

fn random(state: &mut u64, below: u64) -> u64 {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    *state % below
}

/// `WEIR_SCALE` multiplies the counts; `make torture` sets it.
fn rounds(count: u64) -> u64 {
    let scale = std::env::var("WEIR_SCALE").ok().and_then(|scale| scale.parse().ok()).unwrap_or(1);
    count * scale
}

#[test]
fn a_recorder_killed_at_random_points_loses_and_doubles_nothing() {
    let rig = Rig::new();
    let (mut first, mut second) = (producer(0), producer(1));
    let seed = u64::from(std::process::id()) | 1;
    println!("seed {seed}");
    let (mut state, mut sent) = (seed, [0_u64; 2]);
    for round in 0..rounds(20) {
        let mut recorder = Recorder::start(&rig, "");
        let _link = recorder.hand_over(&[&first, &second]);
        let end = Instant::now() + Duration::from_micros(random(&mut state, 60_000));
        let acknowledged = first.durable().unwrap();
        while Instant::now() < end {
            for _ in 0..random(&mut state, 40) {
                sent[0] += u64::from(push(&mut first, 0, sent[0] + 1));
                sent[1] += u64::from(push(&mut second, 1, sent[1] + 1));
            }
            if random(&mut state, 3) == 0 {
                first.want_durable(first.last());
            }
            std::thread::sleep(Duration::from_micros(random(&mut state, 500)));
        }
        assert!(first.durable().unwrap() >= acknowledged, "round {round}");
        recorder.kill();
    }
    let mut recorder = Recorder::start(&rig, "");
    let _link = recorder.hand_over(&[&first, &second]);
    assert!(recorder.terminate().success());
    let events = rig.read(false);
    assert_exact(&events, 0, sent[0]);
    assert_exact(&events, 1, sent[1]);
    assert_eq!(first.durable().unwrap().0, sent[0]);
}

#[test]
fn a_waiter_is_acknowledged_promptly_and_its_bell_rings() {
    let rig = Rig::new();
    // Nobody else would cause a sync within the test's patience.
    let mut recorder = Recorder::start(&rig, "reclaim_s = 3600");
    let mut producer = producer(0);
    let _link = recorder.hand_over(&[&producer]);
    for number in 1..=50 {
        assert!(push(&mut producer, 0, number));
        producer.want_durable(producer.last());
        let patience = Instant::now() + Duration::from_secs(20);
        while producer.durable().unwrap().0 < number {
            assert!(Instant::now() < patience, "event {number} was not acknowledged");
            let bell = producer.bell();
            let mut fds = [rustix::event::PollFd::new(&bell, rustix::event::PollFlags::IN)];
            let timeout = rustix::event::Timespec { tv_sec: 20, tv_nsec: 0 };
            assert_eq!(rustix::event::poll(&mut fds, Some(&timeout)).unwrap(), 1, "the bell rang");
            rustix::io::read(producer.bell(), &mut [0; 8]).unwrap();
        }
    }
    assert!(recorder.terminate().success());
    assert_exact(&rig.read(false), 0, 50);
}

#[test]
fn a_data_plane_that_dies_has_its_sessions_closed_and_its_ring_drained() {
    let rig = Rig::new();
    let mut recorder = Recorder::start(&rig, "");
    let mut producer = producer(0);
    let link = recorder.hand_over(&[&producer]);
    for number in 1..=33 {
        push(&mut producer, 0, number);
    }
    let handle = producer.handle();
    drop((link, producer));
    let patience = Instant::now() + Duration::from_secs(20);
    while weir_ring::Consumer::attach(handle.offer().unwrap()).is_ok() {
        assert!(Instant::now() < patience, "the ring was not retired");
        std::thread::sleep(Duration::from_millis(5));
    }
    assert!(recorder.terminate().success());
    let events = rig.read(false);
    assert_exact(&events, 0, 33);
    assert_eq!(of_kind(&own(&events), Kind::SessionClose).len(), 1);
}

#[test]
fn strangers_and_oversized_rings_are_refused() {
    let rig = Rig::new();
    let mut recorder = Recorder::start(&rig, "max_ring_bytes = 65536");
    let producer = producer(0);
    let _ = recorder.hand_over(&[]);
    let link = Link::connect(&recorder.socket).unwrap();
    assert!(
        matches!(link.hand_over(&producer.handle()), Err(Error::Refused(why)) if why.contains("max_ring_bytes"))
    );
    assert!(recorder.terminate().success());
    let mut recorder = Recorder::start(&rig, "allowed_uids = [4294967]");
    let _ = recorder.hand_over(&[]);
    let link = Link::connect(&recorder.socket).unwrap();
    assert!(matches!(link.hand_over(&producer.handle()), Err(Error::Disconnected)));
    assert!(recorder.terminate().success());
}
