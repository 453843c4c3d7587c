//! An event: an 80-byte clear head and a body, written by its producer straight into a ring's slot.
//!
//! The head is laid out by hand, as FORMAT.md, "Event", says, since it stays readable in the frame when the body is
//! compressed or encrypted. Ring id and sequence are the recorder's to fill in.

use std::mem::MaybeUninit;

use rkyv::api::high::{HighSerializer, to_bytes_in};
use rkyv::api::low::{LowSerializer, to_bytes_in_with_alloc};
use rkyv::rancor::Failure;
use rkyv::ser::allocator::{ArenaHandle, SubAllocator};
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

    /// Lays the head out as FORMAT.md says.
    pub fn write(&self, out: &mut [u8; HEAD_LEN]) {
        let [low, high] = halves(self.session.0);
        let bytes = u64::from(self.to_upstream_bytes) | (u64::from(self.to_client_bytes) << 32);
        let codes = u32::from_le_bytes([self.kind, self.version, self.direction, self.mark]);
        let words = [
            self.ring.0,
            self.sequence.0,
            low,
            high,
            self.wall_unix_us.cast_unsigned(),
            self.monotonic_ns,
            bytes,
            self.ordinal,
            u64::from(self.lane) | (u64::from(codes) << 32),
            0,
        ];
        for (place, word) in out.as_chunks_mut::<8>().0.iter_mut().zip(words) {
            *place = word.to_le_bytes();
        }
    }

    /// Reads a head; every bit pattern is one.
    #[must_use]
    pub fn read(bytes: &[u8; HEAD_LEN]) -> Self {
        let [ring, sequence, low, high, wall, monotonic, forwarded, ordinal, rest, _zero] =
            bytes.as_chunks::<8>().0
        else {
            return Self::default();
        };
        let word = |bytes: &[u8; 8]| u64::from_le_bytes(*bytes);
        let (forwarded, rest) = (word(forwarded), word(rest));
        let [kind, version, direction, mark] = ((rest >> 32) as u32).to_le_bytes();
        Self {
            ring: RingId(word(ring)),
            sequence: Sequence(word(sequence)),
            session: SessionId(u128::from(word(low)) | (u128::from(word(high)) << 64)),
            wall_unix_us: word(wall).cast_signed(),
            monotonic_ns: word(monotonic),
            to_upstream_bytes: forwarded as u32,
            to_client_bytes: (forwarded >> 32) as u32,
            ordinal: word(ordinal),
            lane: rest as u32,
            kind,
            version,
            direction,
            mark,
        }
    }
}

/// Low and high 64 bits.
const fn halves(value: u128) -> [u64; 2] {
    [value as u64, (value >> 64) as u64]
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
        Body::SessionOpen(body) => archive_lists(body, slot),
        Body::SessionClose(body) => archive(body, slot),
        Body::Request(body) => archive(body, slot).or_else(|_| archive_lists(body, slot)),
        Body::Hold(body) => archive(body, slot),
        Body::Release(body) => archive_lists(body, slot),
        Body::Response(body) => archive(body, slot),
        Body::Upload(body) => archive(body, slot),
        Body::MaskLedger(body) => archive(body, slot),
        Body::Outcome(body) => archive(body, slot),
        Body::Mint(body) => archive(body, slot),
        Body::Gap(body) => archive(body, slot),
        Body::Admin(body) => archive(body, slot),
        Body::Original(body) => archive(body, slot),
    }
}

/// What every command needs: no allocation. Short lists fit the scratch space, longer ones fail.
fn archive<T>(body: &T, slot: &mut [u8]) -> Result<usize, Failure>
where
    T: for<'b, 's> Serialize<LowSerializer<Buffer<'s>, SubAllocator<'b>, Failure>>,
{
    let mut scratch = [MaybeUninit::<u8>::uninit(); 512];
    let buffer =
        to_bytes_in_with_alloc::<_, _, Failure>(body, Buffer::from(slot), SubAllocator::new(&mut scratch))?;
    Ok(buffer.len())
}

/// What is seldom and may hold lists of any length: scratch space from the heap.
fn archive_lists<T>(body: &T, slot: &mut [u8]) -> Result<usize, Failure>
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
        Body::Outcome(outcome) => room::<crate::Outcome<'_>>(&[outcome.json.len(), outcome.answer.len()]),
        Body::Mint(mint) => room::<crate::Mint<'_>>(&[mint.credential.len(), mint.id.len()]),
        Body::Gap(gap) => room::<crate::Gap<'_>>(&[gap.reason.len()]),
        Body::Admin(admin) => room::<crate::Admin<'_>>(&[admin.json.len()]),
        Body::Original(original) => {
            room::<crate::Original<'_>>(&[original.envelopes.len(), original.sealed.len()])
        }
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

#[cfg(test)]
mod tests {
    use rkyv::util::AlignedVec;

    use super::*;
    use crate::{Effect, NotedRule, Open, Release, Request, Response, decode};

    fn event(body: Body<'_>) -> Event<'_> {
        Event {
            session: SessionId(0x0123_4567_89ab_cdef_0011_2233_4455_6677),
            wall_unix_us: -2,
            monotonic_ns: 3,
            to_upstream_bytes: 4,
            to_client_bytes: 0xffff_fff5,
            ordinal: 6,
            lane: 7,
            direction: Direction::ToClient,
            body,
        }
    }

    #[test]
    fn the_head_lies_as_the_table_says() {
        let mut slot = [0xee; 400];
        event(Body::Response(Response { bytes: b"x".as_slice().into() })).write(&mut slot).unwrap();
        let expected = [
            &[0; 16][..],
            &[0x77, 0x66, 0x55, 0x44, 0x33, 0x22, 0x11, 0x00, 0xef, 0xcd, 0xab, 0x89, 0x67, 0x45, 0x23, 0x01],
            &[0xfe, 255, 255, 255, 255, 255, 255, 255, 3, 0, 0, 0, 0, 0, 0, 0],
            &[4, 0, 0, 0, 0xf5, 255, 255, 255, 6, 0, 0, 0, 0, 0, 0, 0],
            &[7, 0, 0, 0, Kind::Response as u8, 1, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0],
        ];
        assert_eq!(slot[..HEAD_LEN], expected.concat());
    }

    #[test]
    fn events_with_lists_of_any_length_fit_what_max_len_says_and_read_back() {
        for count in [0_usize, 1, 3, 40, 700] {
            let names: Vec<String> = (0..count).map(|n| "g".repeat(n % 23)).collect();
            let noted: Vec<_> = names
                .iter()
                .map(|name| NotedRule { rule: name.as_str().into(), effect: Effect::WouldHold })
                .collect();
            let identity = Identity { groups: names.as_slice().into(), ..Identity::default() };
            let bodies = [
                Body::SessionOpen(Open { identity, protocol: "postgres".into(), ..Open::default() }),
                Body::Release(Release { approvers: names.as_slice().into(), ..Release::default() }),
                Body::Request(Request { noted: noted.as_slice().into(), ..Request::default() }),
            ];
            for body in bodies {
                let event = event(body);
                let mut slot = vec![0xee; event.max_len()];
                let len = event.write(&mut slot).unwrap();
                let mut bytes: AlignedVec = AlignedVec::new();
                bytes.extend_from_slice(&slot[HEAD_LEN..len]);
                let head = Head::read(slot.first_chunk().unwrap());
                assert_eq!(head.session, event.session);
                assert_eq!(format!("{:?}", decode(&head, &bytes).unwrap()), format!("{:?}", event.body));
                assert!(event.write(&mut slot[..len / 2]).is_err());
            }
        }
    }
}
