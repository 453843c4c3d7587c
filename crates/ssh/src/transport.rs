//! One encrypted leg (RFC 4253): the identification, key exchange and exchange anew, and the messages inside.
//!
//! Bytes in, messages out, and the other way; no socket, no clock. It knows nothing of users and channels: whoever drives it takes messages
//! from 5 and 6 and from 50 on, and says when the user is known.
//!
//! What is not consumed is handed in again, unchanged, with more behind it. Opening is in place, in the driver's buffer, and sealing
//! goes straight into the driver's queue, so an idle leg pins no buffer.

mod deferred;
mod dispatch;
mod exchange;

use std::ops::Range;
use std::sync::Arc;

use bytes::{BufMut, BytesMut};

use crate::algorithms::SignatureAlgorithm;
use crate::config::Config;
use crate::encoding::put_string;
use crate::packet::{Inbound, Outbound};
use crate::{Error, ident, message};
use deferred::Deferred;
use exchange::Exchange;

/// What became of the head of the input.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Bytes to drop from the input's head, after the payload was used.
    pub consumed: usize,
    pub event: Event,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// Nothing whole is there.
    NeedMore,
    /// It was the transport's own; there may be more.
    Handled,
    /// The first keys are in use in both directions: authentication may begin.
    Established,
    /// A message: where in the input its payload lies, number first, one byte at least.
    Message(Range<usize>),
}

pub struct Transport {
    config: Arc<Config>,
    /// Wall-clock ms since 1970, as of the last call.
    now_ms: u64,
    their_ident: Option<Vec<u8>>,
    inbound: Inbound,
    outbound: Outbound,
    /// From our KEXINIT until both NEWKEYS.
    exchange: Option<Exchange>,
    /// The first exchange's hash; `None` before it.
    session_id: Option<Vec<u8>>,
    strict: bool,
    authenticated: bool,
    deferred: Deferred,
    keyed_at_ms: u64,
    /// Client: the host key of the first exchange, which may not change.
    host_key: Vec<u8>,
    /// Client: what the server says it can verify.
    signature_algorithms: Vec<SignatureAlgorithm>,
}

impl Transport {
    /// Begins: our identification and offer go into `out`.
    ///
    /// # Errors
    /// The system gives no random bytes.
    pub fn new(config: Arc<Config>, now_ms: u64, out: &mut BytesMut) -> Result<Self, Error> {
        let deferred = Deferred::new(config.limits.deferred_bytes);
        let mut transport = Self {
            config,
            now_ms,
            their_ident: None,
            inbound: Inbound::clear(),
            outbound: Outbound::clear(),
            exchange: None,
            session_id: None,
            strict: false,
            authenticated: false,
            deferred,
            keyed_at_ms: now_ms,
            host_key: Vec::new(),
            signature_algorithms: Vec::new(),
        };
        out.put_slice(ident::OURS.as_bytes());
        out.put_slice(b"\r\n");
        transport.begin_exchange(out)?;
        Ok(transport)
    }

    /// How much of `input` [`Transport::next`] would look at now: a packet, once it is there whole. For those whose input must not
    /// change: a copy of so much is enough. `None`: nothing whole is there.
    ///
    /// # Errors
    /// As `next`.
    pub fn whole(&mut self, input: &[u8]) -> Result<Option<usize>, Error> {
        if self.their_ident.is_none() {
            return Ok((!input.is_empty()).then_some(input.len()));
        }
        let most = self.most_packet_bytes();
        Ok(self.inbound.packet_bytes(input, most)?.filter(|len| *len <= input.len()))
    }

    /// Looks at the head of `input`, opening it in place. Call again until [`Event::NeedMore`].
    ///
    /// # Errors
    /// The leg is over; [`Transport::farewell`] tells the peer.
    pub fn next(&mut self, input: &mut [u8], now_ms: u64, out: &mut BytesMut) -> Result<Progress, Error> {
        self.tick(now_ms, out)?;
        if self.their_ident.is_none() {
            let Some((line, consumed)) = ident::read(input, self.config.is_client())? else {
                return Ok(Progress { consumed: 0, event: Event::NeedMore });
            };
            self.their_ident = Some(line.to_vec());
            return Ok(Progress { consumed, event: Event::Handled });
        }
        let Some(opened) = self.inbound.open(input, self.most_packet_bytes())? else {
            return Ok(Progress { consumed: 0, event: Event::NeedMore });
        };
        let payload = input.get(opened.payload.clone()).unwrap_or_default();
        let event = match self.dispatch(payload, opened.sequence, out)? {
            Some(event) => event,
            None => Event::Message(opened.payload),
        };
        Ok(Progress { consumed: opened.taken, event })
    }

    /// Sends a message, `head` followed by `body`: sealed into `out`, or kept while keys are exchanged.
    ///
    /// # Errors
    /// It does not fit a packet, or more was sent during an exchange than [`Transport::wants_pause`] allows for.
    pub fn send(&mut self, head: &[u8], body: &[u8], out: &mut BytesMut) -> Result<(), Error> {
        if self.exchange.as_ref().is_some_and(|it| !it.sent_new_keys()) {
            return self.deferred.push(head, body);
        }
        self.seal(head, body, out)?;
        self.rekey_if_due(out)
    }

    /// The other leg should not be read: what comes from it has to wait for new keys here.
    #[must_use]
    pub const fn wants_pause(&self) -> bool {
        self.deferred.is_half_full()
    }

    /// When [`Transport::tick`] has something to do, in wall-clock ms, if nothing happens before.
    #[must_use]
    pub fn deadline_ms(&self) -> Option<u64> {
        let waiting = self.authenticated && self.exchange.is_none();
        waiting.then(|| self.keyed_at_ms.saturating_add(self.config.rekey.age_ms))
    }

    /// Time passes: old keys are changed.
    ///
    /// # Errors
    /// The system gives no random bytes.
    pub fn tick(&mut self, now_ms: u64, out: &mut BytesMut) -> Result<(), Error> {
        self.now_ms = now_ms;
        self.rekey_if_due(out)
    }

    /// The user is known: longer packets are taken from now on, and keys are changed when they are old.
    pub const fn authenticated(&mut self) {
        self.authenticated = true;
    }

    /// The first exchange's hash, which signatures of users are over. `None` before [`Event::Established`].
    #[must_use]
    pub fn session_id(&self) -> Option<&[u8]> {
        self.session_id.as_deref()
    }

    /// What the peer calls itself, without the line's end. `None` before it said so.
    #[must_use]
    pub fn peer_ident(&self) -> Option<&[u8]> {
        self.their_ident.as_deref()
    }

    /// Both sides count packets strictly, so that none can be cut from the beginning.
    #[must_use]
    pub const fn is_strict(&self) -> bool {
        self.strict
    }

    /// Client: what the server said it can verify, in its order. Empty where it did not say.
    #[must_use]
    pub fn signature_algorithms(&self) -> &[SignatureAlgorithm] {
        &self.signature_algorithms
    }

    /// Says why the leg ends. What cannot be sent any more is left out: the connection closes in any case.
    pub fn farewell(&mut self, code: u32, text: &str, out: &mut BytesMut) {
        let mut goodbye = vec![message::DISCONNECT];
        goodbye.put_u32(code);
        put_string(&mut goodbye, text.as_bytes());
        put_string(&mut goodbye, b"");
        let start = out.len();
        if self.their_ident.is_none() || self.seal(&goodbye, &[], out).is_err() {
            out.truncate(start);
        }
    }

    fn most_packet_bytes(&self) -> u32 {
        let limits = &self.config.limits;
        if self.authenticated { limits.packet_bytes } else { limits.packet_bytes_before_auth }
    }

    /// Seals at once. Our own messages may be as long as any peer takes.
    fn seal(&mut self, head: &[u8], body: &[u8], out: &mut BytesMut) -> Result<(), Error> {
        self.outbound.seal(head, body, self.config.limits.packet_bytes, out)
    }

    fn rekey_if_due(&mut self, out: &mut BytesMut) -> Result<(), Error> {
        let limits = self.config.rekey;
        let due = [self.inbound.passed, self.outbound.passed]
            .iter()
            .any(|passed| passed.bytes >= limits.bytes || passed.packets >= limits.packets)
            || self.now_ms.saturating_sub(self.keyed_at_ms) >= limits.age_ms;
        if due && self.authenticated && self.exchange.is_none() { self.begin_exchange(out) } else { Ok(()) }
    }
}
