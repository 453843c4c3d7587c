//! An event: an 80-byte clear head and a body, written by its producer straight into a ring's slot.
//!
//! The head is laid out by hand, since it stays readable in the frame when the body is compressed or encrypted. All
//! numbers are little-endian:
//!
//! | at | bytes | what |
//! |---|---|---|
//! | 0 | 8 | ring id; the recorder fills it in |
//! | 8 | 8 | sequence within the ring; the recorder fills it in |
//! | 16 | 16 | session id; 0: none |
//! | 32 | 8 | wall clock, microseconds since the Unix epoch, signed |
//! | 40 | 8 | monotonic clock, nanoseconds since the node's boot |
//! | 48 | 4 | application bytes forwarded to the upstream that this event accounts for |
//! | 52 | 4 | application bytes forwarded to the client that this event accounts for |
//! | 56 | 8 | ordinal of the command within the session; 0: none |
//! | 64 | 4 | lane |
//! | 68 | 1 | kind |
//! | 69 | 1 | version of the body's layout |
//! | 70 | 1 | direction: 0 the gateway itself, 1 towards the upstream, 2 towards the client |
//! | 71 | 1 | mark: a request's verdict, a release's outcome, else 0 |
//! | 72 | 8 | zero; kept for a keyed search token |

use rkyv::api::high::{HighSerializer, to_bytes_in};
use rkyv::rancor::Failure;
use rkyv::ser::allocator::ArenaHandle;
use rkyv::ser::writer::Buffer;
use rkyv::{Archive, Serialize};

use crate::body::{Body, Identity, Kind, VERSION};
use crate::{Error, RingId, Sequence, SessionId};

/// Bytes of an event's head.
pub const HEAD_LEN: usize = 80;
/// Longest event, head included, that any writer may write and any reader must accept.
pub const MAX_EVENT_LEN: usize = 16 << 20;

/// Which way the event's bytes go.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Direction {
    /// Neither: the gateway says it.
    #[default]
    Gateway = 0,
    ToUpstream = 1,
    ToClient = 2,
}

impl Direction {
    const fn from_code(code: u8) -> Option<Self> {
        match code {
            0 => Some(Self::Gateway),
            1 => Some(Self::ToUpstream),
            2 => Some(Self::ToClient),
            _ => None,
        }
    }
}

/// An event as its producer makes it: nothing is owned, nothing is allocated to write it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event<'a> {
    pub session: SessionId,
    /// Microseconds since the Unix epoch.
    pub wall_unix_us: i64,
    /// Nanoseconds of the node's monotonic clock.
    pub monotonic_ns: u64,
    /// Application bytes this event accounts for, as forwarded to the upstream.
    pub to_upstream_bytes: u32,
    /// Application bytes this event accounts for, as forwarded to the client.
    pub to_client_bytes: u32,
    /// Which command of the session, from 1; 0: none.
    pub ordinal: u64,
    pub lane: u32,
    pub direction: Direction,
    pub body: Body<'a>,
}

impl Event<'_> {
    /// Room that [`Event::write`] is sure to find enough. An upper bound, seldom more than 64 bytes over.
    #[must_use]
    pub fn max_len(&self) -> usize {
        HEAD_LEN + body_max_len(&self.body)
    }

    /// Writes head and body to the front of `slot`; the answer is the length written. Ring id and sequence stay zero:
    /// the recorder knows them better.
    ///
    /// # Errors
    /// The caller's: `slot` is shorter than `max_len`, or the event is longer than [`MAX_EVENT_LEN`].
    pub fn write(&self, slot: &mut [u8]) -> Result<usize, Error> {
        let room = slot.len();
        let Some((head, rest)) = slot.split_first_chunk_mut::<HEAD_LEN>() else {
            return Err(Error::NoRoom { room });
        };
        self.head().write(head);
        let body = write_body(&self.body, rest).map_err(|_| Error::NoRoom { room })?;
        let len = HEAD_LEN + body;
        if len > MAX_EVENT_LEN {
            return Err(Error::TooLong { len, max: MAX_EVENT_LEN });
        }
        Ok(len)
    }

    fn head(&self) -> Head {
        Head {
            ring: RingId(0),
            sequence: Sequence(0),
            session: self.session,
            wall_unix_us: self.wall_unix_us,
            monotonic_ns: self.monotonic_ns,
            to_upstream_bytes: self.to_upstream_bytes,
            to_client_bytes: self.to_client_bytes,
            ordinal: self.ordinal,
            lane: self.lane,
            kind: self.body.kind() as u8,
            version: VERSION,
            direction: self.direction as u8,
            mark: self.body.mark(),
        }
    }
}

/// The clear head, decoded. Codes stay numbers, so that a reader can pass over what it does not know.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Head {
    pub ring: RingId,
    pub sequence: Sequence,
    pub session: SessionId,
    pub wall_unix_us: i64,
    pub monotonic_ns: u64,
    pub to_upstream_bytes: u32,
    pub to_client_bytes: u32,
    pub ordinal: u64,
    pub lane: u32,
    pub kind: u8,
    pub version: u8,
    pub direction: u8,
    pub mark: u8,
}

impl Head {
    /// `None` for a kind that this version does not know.
    #[must_use]
    pub fn kind(&self) -> Option<Kind> {
        Kind::from_code(self.kind)
    }

    /// `None` for a direction that this version does not know.
    #[must_use]
    pub const fn direction(&self) -> Option<Direction> {
        Direction::from_code(self.direction)
    }

    /// Lays the head out as the table above says.
    pub fn write(&self, out: &mut [u8; HEAD_LEN]) {
        let mut rest = out.as_mut_slice();
        put(&mut rest, &self.ring.0.to_le_bytes());
        put(&mut rest, &self.sequence.0.to_le_bytes());
        put(&mut rest, &self.session.0.to_le_bytes());
        put(&mut rest, &self.wall_unix_us.to_le_bytes());
        put(&mut rest, &self.monotonic_ns.to_le_bytes());
        put(&mut rest, &self.to_upstream_bytes.to_le_bytes());
        put(&mut rest, &self.to_client_bytes.to_le_bytes());
        put(&mut rest, &self.ordinal.to_le_bytes());
        put(&mut rest, &self.lane.to_le_bytes());
        put(&mut rest, &[self.kind, self.version, self.direction, self.mark]);
        put(&mut rest, &[0; 8]);
    }

    /// Reads a head; every bit pattern is one.
    #[must_use]
    pub fn read(bytes: &[u8; HEAD_LEN]) -> Self {
        let mut rest = bytes.as_slice();
        let mut head = Self {
            ring: RingId(u64::from_le_bytes(take(&mut rest))),
            sequence: Sequence(u64::from_le_bytes(take(&mut rest))),
            session: SessionId(u128::from_le_bytes(take(&mut rest))),
            wall_unix_us: i64::from_le_bytes(take(&mut rest)),
            monotonic_ns: u64::from_le_bytes(take(&mut rest)),
            to_upstream_bytes: u32::from_le_bytes(take(&mut rest)),
            to_client_bytes: u32::from_le_bytes(take(&mut rest)),
            ordinal: u64::from_le_bytes(take(&mut rest)),
            lane: u32::from_le_bytes(take(&mut rest)),
            ..Self::default()
        };
        [head.kind, head.version, head.direction, head.mark] = take(&mut rest);
        head
    }
}

/// Copies `bytes` to the front of `out` and moves past them. What does not fit is left out: layouts add up.
pub(crate) fn put(out: &mut &mut [u8], bytes: &[u8]) {
    if let Some((front, rest)) = std::mem::take(out).split_at_mut_checked(bytes.len()) {
        front.copy_from_slice(bytes);
        *out = rest;
    }
}

/// Takes the next `N` bytes; zeros past the end: layouts add up.
pub(crate) fn take<const N: usize>(bytes: &mut &[u8]) -> [u8; N] {
    match bytes.split_first_chunk::<N>() {
        Some((front, rest)) => {
            *bytes = rest;
            *front
        }
        None => [0; N],
    }
}

fn write_body(body: &Body<'_>, slot: &mut [u8]) -> Result<usize, Failure> {
    match body {
        Body::SessionOpen(body) => archive(body, slot),
        Body::SessionClose(body) => archive(body, slot),
        Body::Request(body) => archive(body, slot),
        Body::Hold(body) => archive(body, slot),
        Body::Release(body) => archive(body, slot),
        Body::Response(body) => archive(body, slot),
        Body::Upload(body) => archive(body, slot),
        Body::MaskLedger(body) => archive(body, slot),
        Body::Outcome(body) => archive(body, slot),
        Body::Mint(body) => archive(body, slot),
        Body::Gap(body) => archive(body, slot),
        Body::Admin(body) => archive(body, slot),
    }
}

fn archive<T>(body: &T, slot: &mut [u8]) -> Result<usize, Failure>
where
    T: for<'b, 's> Serialize<HighSerializer<Buffer<'s>, ArenaHandle<'b>, Failure>>,
{
    let buffer = to_bytes_in::<_, Failure>(body, Buffer::from(slot))?;
    Ok(buffer.len())
}

/// A root and its out-of-line parts, each with the most padding that can precede it.
fn room<T: Archive>(parts: &[usize]) -> usize {
    const PADDING: usize = 16;
    parts.iter().map(|len| len + PADDING).sum::<usize>() + size_of::<T::Archived>() + PADDING
}

fn body_max_len(body: &Body<'_>) -> usize {
    let text = |text: &Option<std::borrow::Cow<'_, str>>| text.as_ref().map_or(0, |text| text.len());
    match body {
        Body::SessionOpen(open) => room::<crate::Open<'_>>(&[
            open.protocol.len() + identity_len(&open.identity),
            open.connection.len() + open.role.len() + open.node.len(),
            text(&open.purpose) + text(&open.application),
            open.client_address.len() + open.upstream_address.len(),
        ]),
        Body::SessionClose(close) => room::<crate::Close<'_>>(&[close.reason.len()]),
        Body::Request(request) => room::<crate::Request<'_>>(&[
            request.words.len() + request.rule.len() + request.message.len(),
            request.text.len(),
            request.binds.len(),
            request.facts.len(),
            request.noted.iter().map(|noted| noted.rule.len() + 16).sum(),
        ]),
        Body::Hold(hold) => room::<crate::HoldOpened<'_>>(&[hold.hold.len(), hold.rule.len()]),
        Body::Release(release) => room::<crate::Release<'_>>(&[
            release.hold.len() + release.reason.len(),
            list_len(&release.approvers),
            release.signature.len(),
        ]),
        Body::Response(response) => room::<crate::Response<'_>>(&[response.bytes.len()]),
        Body::Upload(upload) => room::<crate::Upload<'_>>(&[upload.bytes.len()]),
        Body::MaskLedger(ledger) => room::<crate::MaskLedger<'_>>(&[ledger.json.len()]),
        Body::Outcome(outcome) => room::<crate::Outcome<'_>>(&[outcome.json.len()]),
        Body::Mint(mint) => room::<crate::Mint<'_>>(&[mint.credential.len(), mint.id.len()]),
        Body::Gap(gap) => room::<crate::Gap<'_>>(&[gap.reason.len()]),
        Body::Admin(admin) => room::<crate::Admin<'_>>(&[admin.json.len()]),
    }
}

fn identity_len(identity: &Identity<'_>) -> usize {
    identity.issuer.len()
        + identity.subject.len()
        + list_len(&identity.groups)
        + identity.run.as_ref().map_or(0, |run| run.len())
        + identity.token_id.as_ref().map_or(0, |id| id.len())
        + 16
}

fn list_len(list: &[String]) -> usize {
    list.iter().map(|text| text.len() + 8).sum()
}
