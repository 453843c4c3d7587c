//! Handing a ring to the recorder: one message with three descriptors over a Unix seqpacket socket, one answer.
//!
//! The connection then stays open. Its end tells the recorder that the producers are gone, and tells the producers that
//! the recorder is gone and the same rings must be handed to its successor.
//!
//! | at | bytes | what |
//! |---|---|---|
//! | 0 | 8 | `WEIRHAND` |
//! | 8 | 4 | version, 1 |
//! | 12 | 4 | core |
//! | 16 | 8 | ring id |
//! | 24 | 8 | generation of the producing process |
//! | 32 | 1 | length of the node's name, then the name |
//!
//! Descriptors: memfd, the producer's eventfd, the consumer's eventfd. The answer is `ok`, or why not.

use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketAddrUnix, SocketFlags, SocketType, UCred, sockopt,
};

use crate::Error;
use crate::mapping::Mapping;
use crate::wake::Bells;

const MAGIC: &[u8; 8] = b"WEIRHAND";
const VERSION: u32 = 1;
const FIXED_LEN: usize = 33;
const MAX_NODE_LEN: usize = 255;
const MAX_ANSWER_LEN: usize = 1024;

/// Whose ring it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Description {
    /// Unique for ever: Unix milliseconds shifted left by 16, plus the core.
    pub ring: u64,
    /// At most 255 bytes; more is cut off.
    pub node: String,
    pub core: u32,
    /// Distinguishes one run of the producing process from the next.
    pub generation: u64,
}

/// What a control thread hands over, as often as needed. Cloning shares the ring's memory.
#[derive(Clone, Debug)]
pub struct Handle {
    mapping: Arc<Mapping>,
    bells: Bells,
    description: Arc<Description>,
}

impl Handle {
    pub(crate) fn new(mapping: &Arc<Mapping>, bells: &Bells, description: &Arc<Description>) -> Self {
        Self { mapping: mapping.clone(), bells: bells.clone(), description: description.clone() }
    }

    #[must_use]
    pub fn description(&self) -> &Description {
        &self.description
    }

    /// The ring as a consumer in this same process would get it.
    ///
    /// # Errors
    /// The kernel has no descriptors left.
    pub fn offer(&self) -> Result<Offer, Error> {
        let copy = |fd: BorrowedFd<'_>| {
            rustix::io::fcntl_dupfd_cloexec(fd, 3).map_err(Error::os("cannot duplicate a descriptor"))
        };
        Ok(Offer {
            memfd: copy(self.mapping.memfd())?,
            producer_bell: copy(self.bells.producer.as_fd())?,
            consumer_bell: copy(self.bells.consumer.as_fd())?,
            description: (*self.description).clone(),
        })
    }
}

/// A ring as it was received: unchecked until `Consumer::attach`.
#[derive(Debug)]
pub struct Offer {
    pub memfd: OwnedFd,
    pub producer_bell: OwnedFd,
    pub consumer_bell: OwnedFd,
    pub description: Description,
}

/// The connection between a producing process and the recorder, either end.
#[derive(Debug)]
pub struct Link {
    socket: OwnedFd,
}

impl Link {
    /// Connects to the recorder's socket.
    ///
    /// # Errors
    /// No recorder listens there, or the path is no socket's.
    pub fn connect(path: &Path) -> Result<Self, Error> {
        let socket = new_socket()?;
        let address =
            SocketAddrUnix::new(path).map_err(Error::os("the recorder's socket path is unusable"))?;
        rustix::net::connect(&socket, &address).map_err(Error::os("cannot connect to the recorder"))?;
        Ok(Self { socket })
    }

    /// Readable when the other end sent something or is gone.
    #[must_use]
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    /// The process at the other end, as the kernel vouches.
    ///
    /// # Errors
    /// The kernel's.
    pub fn peer(&self) -> Result<UCred, Error> {
        sockopt::socket_peercred(&self.socket).map_err(Error::os("cannot ask who connected"))
    }

    /// Hands one ring over and waits for the answer, at most 10 s. Blocks: not for a core's thread.
    ///
    /// # Errors
    /// The recorder refused it, is gone, or did not answer.
    pub fn hand_over(&self, handle: &Handle) -> Result<(), Error> {
        let message = encode(&handle.description);
        let fds = [handle.mapping.memfd(), handle.bells.producer.as_fd(), handle.bells.consumer.as_fd()];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(3))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        if !control.push(SendAncillaryMessage::ScmRights(&fds)) {
            return Err(Error::Os { what: "no room for three descriptors", source: Errno::NOBUFS });
        }
        let iov = [IoSlice::new(&message)];
        rustix::net::sendmsg(&self.socket, &iov, &mut control, SendFlags::NOSIGNAL).map_err(gone)?;
        self.await_answer()
    }

    fn await_answer(&self) -> Result<(), Error> {
        sockopt::set_socket_timeout(&self.socket, sockopt::Timeout::Recv, Some(Duration::from_secs(10)))
            .map_err(Error::os("cannot set a time limit"))?;
        let mut answer = [0_u8; MAX_ANSWER_LEN];
        let (len, _) = rustix::net::recv(&self.socket, &mut answer[..], RecvFlags::empty()).map_err(gone)?;
        match answer.get(..len).unwrap_or_default() {
            b"ok" => Ok(()),
            b"" => Err(Error::Disconnected),
            words => Err(Error::Refused(String::from_utf8_lossy(words).into_owned())),
        }
    }

    /// The recorder's side: the next ring that the peer hands over. `None`: the peer is gone.
    ///
    /// # Errors
    /// The peer's: a message that hands nothing over.
    pub fn receive(&self) -> Result<Option<Offer>, Error> {
        let mut message = [0_u8; FIXED_LEN + MAX_NODE_LEN];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(3))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let received = rustix::net::recvmsg(
            &self.socket,
            &mut [IoSliceMut::new(&mut message)],
            &mut control,
            RecvFlags::CMSG_CLOEXEC | RecvFlags::DONTWAIT,
        );
        let len = match received {
            Ok(received) => received.bytes,
            Err(Errno::CONNRESET) => 0,
            Err(source) => return Err(Error::Os { what: "cannot receive a ring", source }),
        };
        let mut fds: Vec<OwnedFd> = Vec::new();
        for message in control.drain() {
            if let RecvAncillaryMessage::ScmRights(sent) = message {
                fds.extend(sent);
            }
        }
        if len == 0 {
            return Ok(None);
        }
        let description = decode(message.get(..len).unwrap_or_default())
            .ok_or(Error::Foreign("the message does not hand over a ring"))?;
        let [memfd, producer_bell, consumer_bell] = <[OwnedFd; 3]>::try_from(fds)
            .map_err(|_| Error::Foreign("the message does not carry three descriptors"))?;
        Ok(Some(Offer { memfd, producer_bell, consumer_bell, description }))
    }

    /// The recorder's side: answers the last [`Self::receive`].
    ///
    /// # Errors
    /// The peer is gone.
    pub fn answer(&self, answer: Answer<'_>) -> Result<(), Error> {
        let words = match answer {
            Answer::Taken => "ok",
            Answer::Refused(why) => why,
        };
        let words = words.as_bytes().get(..MAX_ANSWER_LEN).unwrap_or(words.as_bytes());
        rustix::net::send(&self.socket, words, SendFlags::NOSIGNAL | SendFlags::DONTWAIT).map_err(gone)?;
        Ok(())
    }
}

/// What the recorder says to a ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer<'a> {
    Taken,
    /// Why not, in one line.
    Refused(&'a str),
}

/// The recorder's listening socket.
#[derive(Debug)]
pub struct Listener {
    socket: OwnedFd,
}

impl Listener {
    /// Listens at `path`. A socket file left there by a dead recorder is replaced; whoever holds the recorder's lock
    /// may do so.
    ///
    /// # Errors
    /// The path is unusable or not ours to write.
    pub fn bind(path: &Path) -> Result<Self, Error> {
        let socket = new_socket()?;
        let address =
            SocketAddrUnix::new(path).map_err(Error::os("the recorder's socket path is unusable"))?;
        match rustix::fs::unlink(path) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(source) => {
                return Err(Error::Os { what: "cannot replace the recorder's old socket", source });
            }
        }
        rustix::net::bind(&socket, &address).map_err(Error::os("cannot bind the recorder's socket"))?;
        rustix::net::listen(&socket, 64).map_err(Error::os("cannot listen on the recorder's socket"))?;
        Ok(Self { socket })
    }

    /// Readable when somebody connects.
    #[must_use]
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    /// The next connection.
    ///
    /// # Errors
    /// The kernel's.
    pub fn accept(&self) -> Result<Link, Error> {
        let socket = rustix::net::accept_with(&self.socket, SocketFlags::CLOEXEC)
            .map_err(Error::os("cannot accept a connection"))?;
        Ok(Link { socket })
    }
}

fn new_socket() -> Result<OwnedFd, Error> {
    rustix::net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
        .map_err(Error::os("cannot make a Unix socket"))
}

fn gone(source: Errno) -> Error {
    match source {
        Errno::PIPE | Errno::CONNRESET | Errno::NOTCONN => Error::Disconnected,
        source => Error::Os { what: "cannot talk to the recorder", source },
    }
}

fn encode(description: &Description) -> Vec<u8> {
    let node = description.node.as_bytes();
    let node = node.get(..MAX_NODE_LEN).unwrap_or(node);
    let mut message = Vec::with_capacity(FIXED_LEN + node.len());
    message.extend_from_slice(MAGIC);
    message.extend_from_slice(&VERSION.to_le_bytes());
    message.extend_from_slice(&description.core.to_le_bytes());
    message.extend_from_slice(&description.ring.to_le_bytes());
    message.extend_from_slice(&description.generation.to_le_bytes());
    message.push(node.len() as u8);
    message.extend_from_slice(node);
    message
}

fn decode(message: &[u8]) -> Option<Description> {
    let (magic, rest) = message.split_first_chunk::<8>()?;
    let (version, rest) = rest.split_first_chunk::<4>()?;
    let (core, rest) = rest.split_first_chunk::<4>()?;
    let (ring, rest) = rest.split_first_chunk::<8>()?;
    let (generation, rest) = rest.split_first_chunk::<8>()?;
    let (&node_len, node) = rest.split_first()?;
    let known = magic == MAGIC && u32::from_le_bytes(*version) == VERSION;
    (known && node.len() == usize::from(node_len)).then(|| Description {
        ring: u64::from_le_bytes(*ring),
        node: String::from_utf8_lossy(node).into_owned(),
        core: u32::from_le_bytes(*core),
        generation: u64::from_le_bytes(*generation),
    })
}
