//! One connection to admin: frames in and out of a Unix socket, never waiting.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::io::Errno;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketAddrUnix, SocketFlags, SocketType};
use weir_control::{Frames, ToAdmin, ToDataplane, encode};
use zeroize::Zeroize;

/// What may wait for a slow admin before the connection counts as lost.
const MAX_OWED_BYTES: usize = 64 << 20;

/// Admin's doing, or its end.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error(transparent)]
    Frame(#[from] weir_control::Error),
    #[error("it closed the connection")]
    Closed,
    #[error("it reads too slowly")]
    Slow,
}

pub(crate) struct Link {
    socket: OwnedFd,
    frames: Frames,
    owed: Vec<u8>,
}

impl Link {
    pub(crate) fn dial(path: &Path) -> Result<Self, Error> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)
            .map_err(io::Error::from)?;
        let address = SocketAddrUnix::new(path).map_err(io::Error::from)?;
        rustix::net::connect(&socket, &address).map_err(io::Error::from)?;
        Ok(Self { socket, frames: Frames::default(), owed: Vec::new() })
    }

    pub(crate) const fn owes(&self) -> bool {
        !self.owed.is_empty()
    }

    pub(crate) fn say(&mut self, message: &ToAdmin) -> Result<(), Error> {
        self.owed.extend_from_slice(&encode(message)?);
        if self.owed.len() > MAX_OWED_BYTES {
            return Err(Error::Slow);
        }
        self.flush()
    }

    pub(crate) fn flush(&mut self) -> Result<(), Error> {
        while !self.owed.is_empty() {
            match rustix::net::send(&self.socket, &self.owed, SendFlags::NOSIGNAL | SendFlags::DONTWAIT) {
                Ok(sent) => drop(self.owed.drain(..sent)),
                Err(Errno::AGAIN) => break,
                Err(Errno::INTR) => {}
                Err(error) => return Err(io::Error::from(error).into()),
            }
        }
        Ok(())
    }

    /// The next message; `None` when none is complete.
    pub(crate) fn hear(&mut self) -> Result<Option<ToDataplane>, Error> {
        loop {
            if let Some(message) = self.frames.pop()? {
                return Ok(Some(message));
            }
            let mut chunk = [0; 16 << 10];
            let received = rustix::net::recv(&self.socket, &mut chunk, RecvFlags::DONTWAIT);
            let outcome = match received {
                Ok((_, 0)) => Err(Error::Closed),
                Ok((_, length)) => {
                    self.frames.push(chunk.get(..length).unwrap_or_default());
                    Ok(true)
                }
                Err(Errno::AGAIN) => Ok(false),
                Err(Errno::INTR) => Ok(true),
                Err(error) => Err(io::Error::from(error).into()),
            };
            chunk.zeroize();
            if !outcome? {
                return Ok(None);
            }
        }
    }
}

impl AsFd for Link {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}
