//! The driver against trivial machines, over real sockets of this process: order, bounds and endings, with no policy or
//! upstream of any kind in the way.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use crossbeam::channel::Receiver;
use weir_policy::{Bundle, Policy, Request, Timestamp, Verdict, table::Tables};
use weir_wire::{Action, Admission, Blame, Farewell, Fault, Lane, Machine, NoteKind, Outbox, Side, Step};

use super::Session;
use super::flow::Peer;
use crate::clock::Now;
use crate::config::Config;
use crate::listen::{Entry, attend};
use crate::net::{self, Io, Runtime};
use crate::record::Record;
use crate::record::recorder::Rings;
use crate::shared::{Errand, Post, Shared};
use crate::socket::Socket;
use crate::worker::Worker;

/// Passes lines on, one `Forward` each; answers `?` itself, panics at `!` with both queues half written.
pub(super) struct Lines;

#[derive(Debug, thiserror::Error)]
#[error("a line that is none")]
pub(super) struct Never;

impl Blame for Never {
    fn blame(&self) -> Fault {
        Fault::Client
    }
}

impl Machine for Lines {
    type Error = Never;

    fn step<'a>(
        &'a mut self,
        from: Side,
        input: &'a [u8],
        _: Timestamp,
        out: &mut Outbox,
    ) -> Result<Step<'a>, Never> {
        let Some(end) = input.iter().position(|byte| *byte == b'\n') else {
            return Ok(Step::Act(Action::NeedMore));
        };
        match input.first() {
            Some(b'x') => Err(Never),
            Some(b'!') => {
                out.client.extend_from_slice(b"(half an answer");
                out.upstream.extend_from_slice(b"(half a question");
                out.notes.note(NoteKind::Outcome, |note| note.extend_from_slice(b"{}"));
                panic!("a line that asked for it")
            }
            Some(b'?') => {
                out.queue(from.other()).extend_from_slice(b"(asked)\n");
                Ok(Step::Act(Action::Discard { len: end + 1 }))
            }
            _ => Ok(Step::Act(Action::Forward { len: end + 1 })),
        }
    }

    fn admit(&mut self, _: Admission, _: Timestamp, _: &mut Outbox) -> Result<Action, Never> {
        Ok(Action::NeedMore)
    }

    fn held(&self, _: Lane) -> Option<Request<'_>> {
        None
    }

    fn resume(&mut self, _: Lane, _: Verdict, _: Timestamp, _: &mut Outbox) -> Result<Action, Never> {
        Ok(Action::NeedMore)
    }

    fn idle(&self) -> bool {
        true
    }

    fn farewell(&mut self, _: Farewell<'_>, out: &mut Outbox) {
        out.client.extend_from_slice(b"(farewell)\n");
    }
}

pub(super) fn worker() -> Rc<Worker> {
    worker_and_errands().0
}

/// A core, and what it asks of the control thread.
pub(super) fn worker_and_errands() -> (Rc<Worker>, Receiver<Errand>) {
    let text = "[[listener]]\nprotocol = 'postgres'\naddress = '127.0.0.1:1'\ncert = 'c'\nkey = 'k'\n\
                [policy]\nbundle = 'b'\ntrusted_keys = ['k']\n[recorder]\nsocket = 's'\n[control]\nsocket = 's'\n\
                [limits]\nring_bytes = 1048576\nqueue_bytes = 65536\n";
    let config: Config = toml::from_str(text).unwrap();
    let (control, errands) = Post::new().unwrap();
    let (post, _) = Post::new().unwrap();
    let shared = Arc::new(Shared::new(config, "test".into(), control, vec![post]));
    let bundle = Bundle::from_tables(weir_policy::About::default(), &Tables::default(), None, None).unwrap();
    let record = Record::new(0, "test", 1 << 20, 1 << 16).unwrap();
    let worker = Worker::new(0, shared, Policy::new(bundle), record, Arc::new(Rings::default())).unwrap();
    (worker, errands)
}

fn io(stream: UnixStream) -> Socket {
    stream.set_nonblocking(true).unwrap();
    Socket::plain(Io::new(stream.into()).unwrap())
}

/// Runs one session between two sockets; the answer is the far end of each.
fn begin(worker: &Rc<Worker>) -> (UnixStream, UnixStream) {
    begin_with(worker, |_| {})
}

/// The same, as an accepted connection is run, with a session that `prepare` has had its hands on.
pub(super) fn begin_with(
    worker: &Rc<Worker>,
    prepare: impl FnOnce(&mut Session<Lines>),
) -> (UnixStream, UnixStream) {
    let (client, near_client) = UnixStream::pair().unwrap();
    let (upstream, near_upstream) = UnixStream::pair().unwrap();
    let live = worker.roll.enter("test".into(), Now::read(), 60_000, &worker.random).unwrap();
    let protocol = weir_control::Protocol::Postgres;
    let (near_client, near_upstream) = (io(near_client), io(near_upstream));
    let place = worker.shared.tally.connection(usize::MAX).unwrap();
    let entry = Entry { worker: Rc::clone(worker), live: Rc::clone(&live), full: false, _place: place };
    let arrival = super::login::Arrival::default();
    let mut session =
        Session::new(Rc::clone(worker), live, Lines, near_client, Vec::new(), protocol, arrival);
    session.upstream = Peer::new(Some(near_upstream));
    prepare(&mut session);
    attend(entry, async move |_| Box::new(session).run().await);
    (client, upstream)
}

/// Drives the runtime until the threads that play the peers are done.
pub(super) async fn until_done<T: Send + 'static>(peers: std::thread::JoinHandle<T>) -> T {
    while !peers.is_finished() {
        net::sleep(Duration::from_millis(1)).await;
    }
    peers.join().unwrap()
}

#[test]
fn everything_passes_in_order_however_slowly_it_is_read() {
    let done = Runtime::new().unwrap().block_on(async {
        let worker = worker();
        let (mut client, mut upstream) = begin(&worker);
        let lines: Vec<u8> = (0..200_000).flat_map(|n| format!("line {n}\n").into_bytes()).collect();
        let expected = lines.clone();
        let mut answers = client.try_clone().unwrap();
        let writer = std::thread::spawn(move || client.write_all(&lines));
        let reader = std::thread::spawn(move || {
            // Echoes what it gets, in pieces that fit nothing.
            let mut back = upstream.try_clone().unwrap();
            let echo = std::thread::spawn(move || {
                let mut piece = [0; 777];
                while let Ok(length @ 1..) = upstream.read(&mut piece) {
                    back.write_all(&piece[..length]).unwrap();
                }
            });
            let mut seen = vec![0; expected.len()];
            answers.read_exact(&mut seen).unwrap();
            let same = seen == expected;
            writer.join().unwrap().unwrap();
            answers.shutdown(std::net::Shutdown::Both).unwrap();
            echo.join().unwrap();
            same
        });
        until_done(reader).await
    });
    assert!(done, "what came back is what was sent");
}

#[test]
fn an_answer_of_the_machine_keeps_its_place_between_forwarded_bytes() {
    let seen = Runtime::new().unwrap().block_on(async {
        let worker = worker();
        let (mut client, mut upstream) = begin(&worker);
        let peers = std::thread::spawn(move || {
            client.write_all(b"a\nb\n?\nc\n?\nd\n").unwrap();
            let mut seen = vec![0; b"a\nb\n(asked)\nc\n(asked)\nd\n".len()];
            upstream.read_exact(&mut seen).unwrap();
            seen
        });
        until_done(peers).await
    });
    assert_eq!(String::from_utf8(seen).unwrap(), "a\nb\n(asked)\nc\n(asked)\nd\n");
}

#[test]
fn a_failed_session_says_its_last_words_and_a_panic_is_nobody_elses() {
    let (words, silence, other) = Runtime::new().unwrap().block_on(async {
        let worker = worker();
        let (mut failing, _upstream_a) = begin(&worker);
        let (mut panicking, _upstream_b) = begin(&worker);
        let (mut well, mut upstream) = begin(&worker);
        let peers = std::thread::spawn(move || {
            let read = |stream: &mut UnixStream| {
                let mut all = String::new();
                stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
                stream.read_to_string(&mut all).unwrap();
                all
            };
            failing.write_all(b"x\n").unwrap();
            panicking.write_all(b"half a line").unwrap();
            panicking.write_all(b"\n!\n").unwrap();
            let ended = (read(&mut failing), read(&mut panicking));
            well.write_all(b"fine\n").unwrap();
            let mut line = [0; 5];
            upstream.read_exact(&mut line).unwrap();
            (ended.0, ended.1, line)
        });
        let seen = until_done(peers).await;
        assert_eq!((worker.metrics.panics.get(), worker.metrics.faults_client.get()), (1, 1));
        seen
    });
    assert_eq!((words.as_str(), silence.as_str(), &other), ("(farewell)\n", "", b"fine\n"));
}

#[test]
fn a_session_that_never_runs_out_of_work_leaves_room_for_others() {
    let slowest = Runtime::new().unwrap().block_on(async {
        let worker = worker();
        let (mut busy, mut busy_upstream) = begin(&worker);
        let (mut quiet, mut quiet_upstream) = begin(&worker);
        let peers = std::thread::spawn(move || {
            let mut source = busy.try_clone().unwrap();
            let flood = std::thread::spawn(move || while source.write_all(&[b'\n'; 65_536]).is_ok() {});
            let drain = std::thread::spawn(move || {
                let mut piece = vec![0; 65_536];
                while matches!(busy_upstream.read(&mut piece), Ok(1..)) {}
            });
            let mut slowest = Duration::ZERO;
            for _ in 0..50 {
                let begun = std::time::Instant::now();
                quiet.write_all(b"ping\n").unwrap();
                quiet_upstream.read_exact(&mut [0; 5]).unwrap();
                slowest = slowest.max(begun.elapsed());
            }
            busy.shutdown(std::net::Shutdown::Both).unwrap();
            flood.join().unwrap();
            drain.join().unwrap();
            busy.read_to_end(&mut Vec::new()).unwrap();
            slowest
        });
        until_done(peers).await
    });
    assert!(slowest < Duration::from_secs(2), "the quiet session waited {slowest:?}");
}

#[test]
fn an_idle_sessions_task_is_small() {
    let session = size_of::<Session<weir_postgres::PostgresMachine>>();
    assert!(session <= 2048, "a session is {session} bytes");
}
