//! Sessions over sockets: a listener on a free port, one thread a connection, and a real sshd behind each, started for it and gone with it.

use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{SystemTime, UNIX_EPOCH};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use weir_ssh::relay::Side;

use super::session::{Session, Settings, Verdict};

pub(crate) struct Gateway {
    pub port: u16,
    /// What all sessions logged, in order within each.
    pub log: Arc<Mutex<Vec<String>>>,
    /// Taken by the next session that holds something.
    pub release: Arc<Mutex<Option<Verdict>>>,
    stop: Arc<AtomicBool>,
    accepting: Option<JoinHandle<()>>,
}

impl Gateway {
    /// `sshd` is the configuration of the server behind it.
    pub(crate) fn start(settings: Settings, sshd: PathBuf) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let (stop, log, release) = (Arc::default(), Arc::default(), Arc::default());
        let running = Running { settings: Arc::new(settings), sshd, stop, log, release };
        let (stop, log, release) = (running.stop.clone(), running.log.clone(), running.release.clone());
        let accepting = std::thread::spawn(move || accept(&listener, &running));
        Self { port, log, release, stop, accepting: Some(accepting) }
    }

    pub(crate) fn logged(&self, words: &str) -> bool {
        self.log.lock().expect("a lock").iter().any(|line| line.contains(words))
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        // Wakes the accept; the connection itself is refused.
        drop(TcpStream::connect(("127.0.0.1", self.port)));
        if let Some(accepting) = self.accepting.take() {
            accepting.join().expect("the gateway's threads");
        }
    }
}

#[derive(Clone)]
struct Running {
    settings: Arc<Settings>,
    sshd: PathBuf,
    stop: Arc<AtomicBool>,
    log: Arc<Mutex<Vec<String>>>,
    release: Arc<Mutex<Option<Verdict>>>,
}

fn accept(listener: &TcpListener, running: &Running) {
    let mut threads = Vec::new();
    for stream in listener.incoming() {
        if running.stop.load(Ordering::SeqCst) {
            break;
        }
        let (stream, running) = (stream.expect("a connection"), running.clone());
        threads.push(std::thread::spawn(move || Served::run(stream, &running)));
    }
    for thread in threads {
        thread.join().expect("a session");
    }
}

/// One session with its sockets.
struct Served {
    session: Session,
    client: TcpStream,
    upstream: Option<(UnixStream, Child)>,
    ended: [bool; 2],
}

impl Served {
    fn run(client: TcpStream, running: &Running) {
        client.set_nonblocking(true).expect("a socket");
        client.set_nodelay(true).expect("a socket");
        let session = Session::new(running.settings.clone(), now());
        let mut served = Self { session, client, upstream: None, ended: [false; 2] };
        while !running.stop.load(Ordering::SeqCst) && served.turn(running) {}
        if let Some((socket, mut child)) = served.upstream.take() {
            drop(socket);
            child.kill().ok();
            child.wait().expect("sshd");
        }
        running.log.lock().expect("a lock").append(&mut served.session.log);
    }

    /// False when it is over.
    fn turn(&mut self, running: &Running) -> bool {
        let mut result = self.session.run(now());
        if result.is_ok() && self.session.wants_upstream() {
            self.upstream = Some(sshd(&running.sshd));
            self.session.dialled(now());
            result = self.session.run(now());
        }
        let verdict = running.release.lock().expect("a lock").take_if(|_| !self.session.held.is_empty());
        if let (Ok(()), Some(verdict)) = (&result, verdict) {
            result = self.session.release(&verdict);
        }
        if let Err(error) = &result {
            self.session.log.push(format!("error: {error}"));
            self.session.farewell(error);
        }
        // First, so that whoever sees what is written finds it logged.
        running.log.lock().expect("a lock").append(&mut self.session.log);
        self.write();
        if result.is_err() || self.ended.contains(&true) {
            self.write();
            return false;
        }
        self.wait();
        self.read();
        true
    }

    fn wait(&mut self) {
        let interest = |reads: bool, writes: bool| {
            let mut flags = PollFlags::empty();
            flags.set(PollFlags::IN, reads);
            flags.set(PollFlags::OUT, writes);
            flags
        };
        let session = &self.session;
        let wants = interest(session.reads(Side::Client), !session.client.out.is_empty());
        let mut fds = vec![PollFd::from_borrowed_fd(self.client.as_fd(), wants)];
        if let (Some((socket, _)), Some(leg)) = (&self.upstream, &session.upstream) {
            let wants = interest(session.reads(Side::Upstream), !leg.out.is_empty());
            fds.push(PollFd::from_borrowed_fd(socket.as_fd(), wants));
        }
        let timeout = Timespec { tv_sec: 0, tv_nsec: 20_000_000 };
        poll(&mut fds, Some(&timeout)).expect("poll");
    }

    fn read(&mut self) {
        if self.session.reads(Side::Client) {
            self.ended[0] |= read(&mut self.client, &mut self.session.client.input);
        }
        let reads = self.session.reads(Side::Upstream);
        if let (Some((socket, _)), Some(leg)) = (&mut self.upstream, &mut self.session.upstream)
            && reads
        {
            self.ended[1] |= read(socket, &mut leg.input);
        }
        // What came before the end is still for the other side.
        if self.ended.contains(&true) {
            let _ = self.session.run(now());
        }
    }

    fn write(&mut self) {
        self.ended[0] |= write(&mut self.client, &mut self.session.client.out);
        if let (Some((socket, _)), Some(leg)) = (&mut self.upstream, &mut self.session.upstream) {
            self.ended[1] |= write(socket, &mut leg.out);
        }
    }
}

/// True at the stream's end.
fn read(from: &mut impl Read, into: &mut Vec<u8>) -> bool {
    let mut buffer = [0; 64 << 10];
    match from.read(&mut buffer) {
        Ok(0) => true,
        Ok(len) => {
            into.extend_from_slice(&buffer[..len]);
            false
        }
        Err(error) => error.kind() != ErrorKind::WouldBlock,
    }
}

fn write(to: &mut impl Write, from: &mut bytes::BytesMut) -> bool {
    while !from.is_empty() {
        match to.write(from) {
            Ok(len) => drop(from.split_to(len)),
            Err(error) => return error.kind() != ErrorKind::WouldBlock,
        }
    }
    false
}

/// A server for one connection, on a socket pair: no port, and nothing left behind.
fn sshd(config: &PathBuf) -> (UnixStream, Child) {
    let (ours, theirs) = UnixStream::pair().expect("a pair");
    ours.set_nonblocking(true).expect("a socket");
    let theirs = OwnedFd::from(theirs);
    let log =
        std::fs::File::options().create(true).append(true).open(config.with_extension("log")).expect("a log");
    let child = Command::new("/usr/sbin/sshd")
        .args(["-i", "-e", "-f"])
        .arg(config)
        .stdin(Stdio::from(theirs.try_clone().expect("a socket")))
        .stdout(Stdio::from(theirs))
        .stderr(log)
        .spawn()
        .expect("sshd: apt install openssh-server");
    (ours, child)
}

fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock");
    u64::try_from(since.as_millis()).expect("a time")
}
