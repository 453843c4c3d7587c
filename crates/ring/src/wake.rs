//! The two eventfds of a ring: how one end pulls the other out of its sleep.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec};

use crate::Error;

/// Both wake-up descriptors. Cloning shares them.
#[derive(Clone, Debug)]
pub(crate) struct Bells {
    /// Rung by the consumer, read by the producer. In blocking mode, so that an io_uring read of it stays pending.
    pub(crate) producer: Arc<OwnedFd>,
    /// Rung by the producer, read by the consumer.
    pub(crate) consumer: Arc<OwnedFd>,
}

impl Bells {
    pub(crate) fn create() -> Result<Self, Error> {
        let make = |flags| rustix::event::eventfd(0, flags).map_err(Error::os("cannot make an eventfd"));
        Ok(Self {
            producer: Arc::new(make(EventfdFlags::CLOEXEC)?),
            consumer: Arc::new(make(EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?),
        })
    }

    /// Descriptors that another process sent: each must be an eventfd.
    pub(crate) fn open(producer: OwnedFd, consumer: OwnedFd) -> Result<Self, Error> {
        for fd in [&producer, &consumer] {
            let link = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(fd));
            let name =
                rustix::fs::readlink(link, Vec::new()).map_err(Error::os("cannot read /proc/self/fd"))?;
            if name.as_bytes() != b"anon_inode:[eventfd]" {
                return Err(Error::Foreign("a wake-up descriptor is not an eventfd"));
            }
        }
        Ok(Self { producer: Arc::new(producer), consumer: Arc::new(consumer) })
    }
}

/// Adds one to an eventfd unless that would block: then it is rung already.
///
/// The descriptor may be shared with a hostile process in blocking mode, so ask before writing.
pub(crate) fn ring(bell: BorrowedFd<'_>) {
    let mut fds = [PollFd::new(&bell, PollFlags::OUT)];
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    if matches!(rustix::event::poll(&mut fds, Some(&now)), Ok(1)) {
        let _ = rustix::io::write(bell.as_fd(), &1_u64.to_ne_bytes());
    }
}

/// Takes the count off a non-blocking eventfd.
pub(crate) fn silence(bell: BorrowedFd<'_>) {
    let mut count = [0_u8; 8];
    let _ = rustix::io::read(bell, &mut count);
}
