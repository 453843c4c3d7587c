//! Data plane and recorder killed together: the service manager's descriptor store keeps the ring.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, clippy::expect_used)]

mod rig;

use std::io::IoSliceMut;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixDatagram;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use rig::{Rig, assert_exact, of_kind, own, producer, push};
use rustix::io::FdFlags;
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags};
use rustix::process::{Pid, Signal, kill_process};
use weir_ring::Link;
use weir_segment::Kind;

fn configure(rig: &Rig) -> std::path::PathBuf {
    let text = format!("{}low_bytes = 1\ncritical_bytes = 0\nreclaim_s = 0\n", rig.configuration());
    let path = rig.folder.path().join("weir.toml");
    std::fs::write(&path, text).unwrap();
    path
}

/// The next message to the service manager, with the descriptors it carries.
fn told(manager: &UnixDatagram) -> (String, Vec<OwnedFd>) {
    let mut text = [0; 4096];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(4))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut iov = [IoSliceMut::new(&mut text)];
    let received = rustix::net::recvmsg(manager, &mut iov, &mut control, RecvFlags::CMSG_CLOEXEC).unwrap();
    let mut fds = Vec::new();
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(sent) = message {
            fds.extend(sent);
        }
    }
    (String::from_utf8_lossy(&text[..received.bytes]).into_owned(), fds)
}

fn connect(rig: &Rig) -> Link {
    let patience = Instant::now() + Duration::from_secs(60);
    loop {
        match Link::connect(&rig.folder.path().join("recorder.sock")) {
            Ok(link) => return link,
            Err(error) => assert!(Instant::now() < patience, "{error}"),
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}

fn stop(mut child: Child) {
    kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
    assert!(child.wait().unwrap().success());
}

#[test]
fn a_ring_outlives_data_plane_and_recorder_together() {
    let rig = Rig::new();
    let config = configure(&rig);
    let notify = rig.folder.path().join("notify.sock");
    let manager = UnixDatagram::bind(&notify).unwrap();
    manager.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    let program = env!("CARGO_BIN_EXE_weir-recorder");
    let mut command = Command::new(program);
    command.arg("--config").arg(&config).env("NOTIFY_SOCKET", &notify).env("WEIR_LOG", "error");
    let mut first = command.spawn().unwrap();
    let mut producer = producer(0);
    let link = connect(&rig);
    link.hand_over(&producer.handle()).unwrap();
    let (mut names, mut parked) = (Vec::new(), Vec::new());
    while parked.len() < 3 {
        let (text, fds) = told(&manager);
        names.extend(text.lines().filter_map(|line| line.strip_prefix("FDNAME=").map(str::to_owned)));
        parked.extend(fds);
    }
    // Stopped, so that nothing of what follows is taken; then both die.
    kill_process(Pid::from_child(&first), Signal::STOP).unwrap();
    for number in 1..=17 {
        assert!(push(&mut producer, 0, number));
    }
    drop((link, producer));
    first.kill().unwrap();
    first.wait().unwrap();
    let mut script = String::new();
    for (fd, place) in parked.iter().zip(3..) {
        rustix::io::fcntl_setfd(fd, FdFlags::empty()).unwrap();
        script += &format!("exec {place}<&{}\n", fd.as_raw_fd());
    }
    script += &format!(
        "LISTEN_PID=$$ LISTEN_FDS=3 LISTEN_FDNAMES={} exec {program} --config {}\n",
        names.join(":"),
        config.display()
    );
    let second = Command::new("bash").arg("-c").arg(script).env("WEIR_LOG", "error").spawn().unwrap();
    drop(parked);
    connect(&rig);
    let patience = Instant::now() + Duration::from_secs(60);
    while rig.read(true).len() < 18 {
        assert!(Instant::now() < patience, "the parked ring was not drained");
        std::thread::sleep(Duration::from_millis(20));
    }
    stop(second);
    let events = rig.read(false);
    assert_exact(&events, 0, 17);
    assert_eq!(of_kind(&own(&events), Kind::SessionClose).len(), 1);
}
