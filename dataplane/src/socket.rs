//! A peer's transport: plaintext in and out of one descriptor, through TLS where there is one. One writer: whoever
//! holds the socket. It keeps no buffer of its own but the tail of a cut record and sealed bytes the kernel would not
//! take yet; everything else lives in the core's [`Scratch`], so that an idle connection pins nothing.

use std::io;
use std::task::{Context, Poll};

use crate::net::{Io, Watch};
use crate::tls::{MAX_SEAL_BYTES, Progress, SEALED_BYTES, Tls};

/// Bytes read at once: a bulk transfer gains nothing beyond it.
pub(crate) const READ_BYTES: usize = 64 << 10;

/// A core's working memory, used by one session at a time and never across a wait.
pub(crate) struct Scratch {
    /// What was read last, as plaintext.
    pub plain: Vec<u8>,
    pub wire: Wire,
}

/// The part of it that only sockets look into.
pub(crate) struct Wire {
    read: Vec<u8>,
    sealed: Vec<u8>,
}

impl Default for Scratch {
    fn default() -> Self {
        let wire = Wire { read: vec![0; READ_BYTES], sealed: vec![0; SEALED_BYTES] };
        Self { plain: Vec::with_capacity(READ_BYTES), wire }
    }
}

/// What one read brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Received {
    /// `plain` holds something. `more`: reading again at once is worth it.
    Plain { more: bool },
    /// Nothing for now.
    Nothing,
    /// The peer sends no more.
    End,
}

pub(crate) struct Socket {
    io: Io,
    tls: Option<Box<Tls>>,
    /// The front of a record whose rest has not come.
    cut: Vec<u8>,
    /// Sealed bytes that the kernel did not take; `sent` of them are gone.
    owed: Vec<u8>,
    sent: usize,
    ended: bool,
    readable: Watch,
    writable: Option<Watch>,
}

impl Socket {
    pub(crate) fn plain(io: Io) -> Self {
        let readable = Watch::readable(&io);
        Self {
            io,
            tls: None,
            cut: Vec::new(),
            owed: Vec::new(),
            sent: 0,
            ended: false,
            readable,
            writable: None,
        }
    }

    /// Goes on under TLS; the handshake follows with [`Socket::handshake`].
    pub(crate) fn upgrade(&mut self, tls: Tls) {
        self.tls = Some(Box::new(tls));
    }

    pub(crate) const fn io(&self) -> &Io {
        &self.io
    }

    /// This end of it, as the peer sees it; `None` where it is no internet connection.
    pub(crate) fn local_address(&self) -> Option<std::net::SocketAddr> {
        rustix::net::getsockname(self.io.fd()).ok()?.try_into().ok()
    }

    pub(crate) fn tls(&self) -> Option<&Tls> {
        self.tls.as_deref()
    }

    pub(crate) fn poll_readable(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.readable.poll(context)
    }

    pub(crate) fn poll_writable(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let io = &self.io;
        self.writable.get_or_insert_with(|| Watch::writable(io)).poll(context)
    }

    /// Completes the handshake, `early` being bytes that were read before. The answer is plaintext that came along
    /// with the end of it.
    ///
    /// # Errors
    /// The peer's: it broke TLS or left. The alert has been sent.
    pub(crate) async fn handshake(&mut self, early: &[u8]) -> io::Result<Vec<u8>> {
        let mut wire = early.to_vec();
        let mut plain = Vec::new();
        let mut reply = Vec::new();
        loop {
            let Some(tls) = &mut self.tls else { return Err(io::ErrorKind::Unsupported.into()) };
            let opened = tls.open(&mut wire, &mut plain, &mut reply);
            let replied = send_all(&self.io, &reply).await;
            reply.clear();
            let (used, progress) = opened.map_err(io::Error::other)?;
            replied?;
            wire.drain(..used);
            match progress {
                Progress::Established => {
                    self.cut = wire;
                    return Ok(plain);
                }
                Progress::Closed => return Err(io::ErrorKind::UnexpectedEof.into()),
                Progress::Handshaking if wire.len() > READ_BYTES => {
                    return Err(io::ErrorKind::InvalidData.into());
                }
                Progress::Handshaking => read_some(&self.io, &mut wire).await?,
            }
        }
    }

    /// Reads once, into `plain`.
    ///
    /// # Errors
    /// The peer's or the network's: the connection is gone.
    pub(crate) fn receive(&mut self, plain: &mut Vec<u8>, wire: &mut Wire) -> io::Result<Received> {
        plain.clear();
        if self.ended {
            return Ok(Received::End);
        }
        let Some(tls) = &mut self.tls else {
            return Ok(match self.io.try_recv_vec(plain)? {
                None => Received::Nothing,
                Some(0) => Received::End,
                Some(length) => Received::Plain { more: length == plain.capacity() },
            });
        };
        let kept = self.cut.len();
        let Some((front, rest)) = wire.read.split_at_mut_checked(kept) else {
            return Err(io::ErrorKind::InvalidData.into());
        };
        front.copy_from_slice(&self.cut);
        let room = rest.len();
        let length = match self.io.try_recv(rest)? {
            None => return Ok(Received::Nothing),
            // Without a close_notify the end may be an attacker's doing; every protocol here frames its messages,
            // so that a cut one is noticed.
            Some(0) => return Ok(Received::End),
            Some(length) => length,
        };
        let filled = wire.read.get_mut(..kept + length).unwrap_or_default();
        let opened = tls.open(filled, plain, &mut self.owed);
        let (used, progress) = match opened {
            Ok(opened) => opened,
            Err(error) => {
                // The alert, as far as the kernel takes it.
                let _ = self.settle();
                return Err(io::Error::other(error));
            }
        };
        self.cut.clear();
        self.cut.extend_from_slice(filled.get(used..).unwrap_or_default());
        if self.cut.is_empty() {
            self.cut = Vec::new();
        }
        self.settle()?;
        self.ended = progress == Progress::Closed;
        Ok(match plain.is_empty() {
            true if self.ended => Received::End,
            true => Received::Nothing,
            false => Received::Plain { more: length == room },
        })
    }

    /// Writes what fits; the answer is how many bytes of `plain` are taken care of, 0 when none.
    ///
    /// # Errors
    /// The peer's or the network's: the connection is gone.
    pub(crate) fn send(&mut self, plain: &[u8], wire: &mut Wire) -> io::Result<usize> {
        let Some(tls) = &mut self.tls else { return self.io.try_send(plain) };
        if !settle(&self.io, &mut self.owed, &mut self.sent)? {
            return Ok(0);
        }
        let mut taken = 0;
        for chunk in plain.chunks(MAX_SEAL_BYTES) {
            let length = tls.seal(&mut self.cut, chunk, &mut wire.sealed).map_err(io::Error::other)?;
            taken += chunk.len();
            let sealed = wire.sealed.get(..length).unwrap_or_default();
            let sent = self.io.try_send(sealed)?;
            if sent < length {
                self.owed.extend_from_slice(sealed.get(sent..).unwrap_or_default());
                break;
            }
        }
        Ok(taken)
    }

    /// Waits for plaintext: for the moments outside a session.
    ///
    /// # Errors
    /// The peer's or the network's: the connection is gone, or ended in order.
    pub(crate) async fn receive_some(&mut self) -> io::Result<Vec<u8>> {
        loop {
            self.io.readable().await?;
            // Whoever waits here for long pins nothing.
            let mut wire = Wire { read: vec![0; READ_BYTES], sealed: Vec::new() };
            let mut plain = Vec::with_capacity(READ_BYTES);
            match self.receive(&mut plain, &mut wire)? {
                Received::Plain { .. } => return Ok(plain.as_slice().to_vec()),
                Received::End => return Err(io::ErrorKind::UnexpectedEof.into()),
                Received::Nothing => {}
            }
        }
    }

    /// Sends all of it, waiting as long as it takes: for the moments outside a session.
    ///
    /// # Errors
    /// The peer's or the network's: the connection is gone.
    pub(crate) async fn send_now(&mut self, mut plain: &[u8]) -> io::Result<()> {
        let mut wire = Wire { read: Vec::new(), sealed: vec![0; SEALED_BYTES] };
        while !plain.is_empty() || self.owes() > 0 {
            let taken = self.send(plain, &mut wire)?;
            plain = plain.get(taken..).unwrap_or_default();
            if self.owes() > 0 || taken == 0 {
                self.io.writable().await?;
                self.settle()?;
            }
        }
        Ok(())
    }

    /// Sealed bytes that the kernel has not taken yet.
    pub(crate) const fn owes(&self) -> usize {
        self.owed.len() - self.sent
    }

    /// Sends on what is owed; true once nothing is.
    ///
    /// # Errors
    /// The peer's or the network's: the connection is gone.
    pub(crate) fn settle(&mut self) -> io::Result<bool> {
        settle(&self.io, &mut self.owed, &mut self.sent)
    }

    /// Says goodbye in TLS and TCP, as far as the kernel takes it, after everything was sent.
    pub(crate) fn finish(&mut self, wire: &mut Wire) {
        if let Some(tls) = &mut self.tls
            && self.owed.is_empty()
        {
            let length = tls.close(&mut self.cut, &mut wire.sealed);
            let _ = self.io.try_send(wire.sealed.get(..length).unwrap_or_default());
        }
        self.io.finish();
    }
}

fn settle(io: &Io, owed: &mut Vec<u8>, sent: &mut usize) -> io::Result<bool> {
    while let Some(rest) = owed.get(*sent..).filter(|rest| !rest.is_empty()) {
        let count = io.try_send(rest)?;
        if count == 0 {
            return Ok(false);
        }
        *sent += count;
    }
    *owed = Vec::new();
    *sent = 0;
    Ok(true)
}

/// Sends all of it, waiting as long as it takes: for the moments before a session, which a login timeout bounds.
///
/// # Errors
/// The peer's or the network's: the connection is gone.
pub(crate) async fn send_all(io: &Io, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        match io.try_send(bytes)? {
            0 => io.writable().await?,
            sent => bytes = bytes.get(sent..).unwrap_or_default(),
        }
    }
    Ok(())
}

/// Waits for bytes and appends them.
///
/// # Errors
/// The peer's or the network's: the connection is gone, `UnexpectedEof` where it ended in order.
pub(crate) async fn read_some(io: &Io, into: &mut Vec<u8>) -> io::Result<()> {
    while !try_read_some(io, into)? {
        io.readable().await?;
    }
    Ok(())
}

/// The part of it that needs a buffer, and so is not there while it waits.
fn try_read_some(io: &Io, into: &mut Vec<u8>) -> io::Result<bool> {
    let mut chunk = [0; 4096];
    match io.try_recv(&mut chunk)? {
        None => Ok(false),
        Some(0) => Err(io::ErrorKind::UnexpectedEof.into()),
        Some(length) => {
            into.extend_from_slice(chunk.get(..length).unwrap_or_default());
            Ok(true)
        }
    }
}
