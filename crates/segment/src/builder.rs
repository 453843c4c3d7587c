//! Writing a segment: events in, frames out, then the seal. What it makes is appended to a [`Batch`]; the caller writes
//! batches to the file in order and decides what is durable.

use crate::batch::Batch;
use crate::body::Body;
use crate::event::{Event, HEAD_LEN, Head, MAX_EVENT_LEN};
use crate::frame::{self, FRAME_HEADER_LEN, FrameType};
use crate::hash::{self, Digest, IndexHash, LEAF_PREFIX_LEN, Salts};
use crate::header::{self, Header};
use crate::ledger::{Carry, Ledger};
use crate::merkle::Tree;
use crate::seal::{SEAL_PAYLOAD_LEN, Seal, SigningKey, Statement};
use crate::{Error, RingId, Sequence, SessionId};

/// A segment being written.
#[derive(Debug)]
pub struct Builder {
    pub(crate) header: Header,
    pub(crate) genesis: Digest,
    pub(crate) salts: Salts,
    pub(crate) tree: Tree,
    pub(crate) ledger: Ledger,
    /// Bytes of the file so far, batches not yet written included.
    pub(crate) len: u64,
    pub(crate) after_unclean_end: bool,
}

/// A sealed segment, as it is told to whoever keeps track.
#[derive(Clone, Debug)]
pub struct Sealed {
    pub statement: Statement,
    pub seal: Seal,
    /// For the next segment's [`Builder::begin`].
    pub carry: Carry,
}

impl Builder {
    /// Begins the segment after `carry`, and appends its header to `out`. Number and previous root are taken from
    /// `carry`, whatever `header` holds; and time never goes back, whatever the clock does.
    #[must_use]
    pub fn begin(header: Header, carry: &Carry, out: &mut Batch) -> Self {
        let begun_unix_us = header.begun_unix_us.max(carry.sealed_unix_us);
        let header = Header { number: carry.number + 1, previous_root: carry.root, begun_unix_us, ..header };
        let bytes = header.write();
        out.extend_from_slice(bytes.as_slice());
        let salts = Salts::new(&header.salt_secret, 0);
        Self {
            genesis: header::digest(&bytes),
            salts,
            tree: Tree::default(),
            ledger: Ledger::resume(carry),
            len: bytes.len() as u64,
            after_unclean_end: false,
            header,
        }
    }

    /// Appends one event of `len` bytes (head and body), which `fill` copies into place: all of them, the place holds
    /// something else before.
    ///
    /// # Errors
    /// The producer's: an event shorter than a head or longer than the maximum; nothing was appended then.
    pub fn append(
        &mut self,
        out: &mut Batch,
        ring: RingId,
        sequence: Sequence,
        len: usize,
        fill: impl FnOnce(&mut [u8]),
    ) -> Result<(), Error> {
        if len < HEAD_LEN {
            return Err(Error::Short { len });
        }
        if len > MAX_EVENT_LEN {
            return Err(Error::TooLong { len, max: MAX_EVENT_LEN });
        }
        let payload_len = len - HEAD_LEN;
        let frame = out.room(frame::frame_len(payload_len));
        let Some((prefix, rest)) = frame.split_first_chunk_mut::<LEAF_PREFIX_LEN>() else {
            return Err(Error::Short { len });
        };
        let Some((event, padding)) = rest.split_at_mut_checked(len) else { return Err(Error::Short { len }) };
        padding.fill(0);
        fill(event);
        let Some(head) = event.first_chunk_mut::<HEAD_LEN>() else { return Err(Error::Short { len }) };
        let place = [ring.0.to_le_bytes(), sequence.0.to_le_bytes()];
        head.iter_mut().zip(place.as_flattened()).for_each(|(to, from)| *to = *from);
        let decoded = Head::read(head);
        let salt = self.salts.next();
        // The frame's prefix is written last; until then its room holds what the leaf is made of beside the event.
        prefix.iter_mut().zip(salt).for_each(|(to, from)| *to = from);
        let leaf = self.ledger.add(&decoded, self.len, self.genesis, |previous| {
            if let Some(room) = frame.get_mut(salt.len()..LEAF_PREFIX_LEN) {
                room.copy_from_slice(&previous.0);
            }
            hash::leaf(frame.get(..LEAF_PREFIX_LEN + len).unwrap_or_default())
        });
        self.tree.push(leaf);
        self.len += frame.len() as u64;
        frame::finish(frame, FrameType::Event, payload_len, &leaf)
    }

    /// Appends an event of the recorder's own.
    ///
    /// # Errors
    /// The caller's: an event longer than the maximum.
    pub fn append_own(
        &mut self,
        out: &mut Batch,
        ring: RingId,
        sequence: Sequence,
        event: &Event<'_>,
    ) -> Result<(), Error> {
        let mut bytes = vec![0; event.max_len()];
        let len = event.write(&mut bytes)?;
        let bytes = bytes.get(..len).unwrap_or_default();
        self.append(out, ring, sequence, len, |place| place.copy_from_slice(bytes))
    }

    /// Appends padding up to a multiple of `block`, so that the next commit begins on a block of its own.
    ///
    /// # Errors
    /// None in practice: a block is far shorter than the longest frame.
    pub fn pad(&mut self, out: &mut Batch, block: u64) -> Result<(), Error> {
        let Some(payload_len) = frame::padding_payload(self.len, block) else { return Ok(()) };
        self.bare_frame(out, FrameType::Padding, payload_len, |_| ())
    }

    /// Appends index and seal: the segment is complete with them. `is_retired` names rings to forget.
    ///
    /// # Errors
    /// None in practice: index frames are cut to size.
    pub fn seal(
        mut self,
        out: &mut Batch,
        key: &SigningKey,
        sealed_unix_us: i64,
        is_retired: impl Fn(RingId) -> bool,
    ) -> Result<Sealed, Error> {
        self.ledger.forget_rings(is_retired);
        let (index_offset, index) = (self.len, self.ledger.index());
        let mut digest = IndexHash::new();
        index.write(|payload| {
            digest.update(payload);
            self.bare_frame(out, FrameType::Index, payload.len(), |room| room.copy_from_slice(payload))
        })?;
        let statement = Statement {
            number: self.header.number,
            id: self.header.id,
            header: self.genesis,
            root: self.tree.root(),
            events: self.tree.len(),
            index: digest.finish(),
            to_upstream_bytes: self.ledger.to_upstream_bytes,
            to_client_bytes: self.ledger.to_client_bytes,
            earliest_unix_us: self.ledger.earliest_unix_us,
            latest_unix_us: self.ledger.latest_unix_us,
            sealed_unix_us: sealed_unix_us.max(self.header.begun_unix_us),
            index_offset,
            seal_offset: self.len,
            previous_root: self.header.previous_root,
            after_unclean_end: self.after_unclean_end,
            public_key: key.public_key(),
        };
        let seal = statement.sign(key);
        self.bare_frame(out, FrameType::Seal, SEAL_PAYLOAD_LEN, |room| {
            room.copy_from_slice(&seal.payload());
        })?;
        let carry = Carry::from_index(&statement, &index);
        Ok(Sealed { statement, seal, carry })
    }

    fn bare_frame(
        &mut self,
        out: &mut Batch,
        kind: FrameType,
        payload_len: usize,
        fill: impl FnOnce(&mut [u8]),
    ) -> Result<(), Error> {
        let frame = out.room(frame::frame_len(payload_len));
        frame.fill(0);
        let payload = frame.get_mut(FRAME_HEADER_LEN..).and_then(|rest| rest.get_mut(..payload_len));
        fill(payload.unwrap_or_default());
        self.len += frame.len() as u64;
        frame::finish(frame, kind, payload_len, &Digest::ZERO)
    }

    #[must_use]
    pub const fn header(&self) -> &Header {
        &self.header
    }

    /// Bytes of the file so far, batches not yet written included.
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "a segment always has its header")]
    pub const fn len(&self) -> u64 {
        self.len
    }

    /// Events so far.
    #[must_use]
    pub const fn events(&self) -> u64 {
        self.tree.len()
    }

    /// Last recorded sequence of a ring, in this segment or an earlier one; 0: none.
    #[must_use]
    pub fn last_sequence(&self, ring: RingId) -> Sequence {
        self.ledger.last_sequence(ring)
    }

    /// Every ring known here, with its last recorded sequence.
    pub fn rings(&self) -> impl Iterator<Item = (RingId, Sequence)> {
        self.ledger.rings()
    }

    /// Sessions of `ring` that have begun and not ended.
    #[must_use]
    pub fn open_sessions(&self, ring: RingId) -> Vec<SessionId> {
        self.ledger.open_sessions(ring)
    }

    /// Allowed requests of a session that have no outcome yet: ordinal and lane.
    #[must_use]
    pub fn intents(&self, session: SessionId) -> Vec<(u64, u32)> {
        self.ledger.intents(session)
    }

    /// Latest wall clock of an event here; 0: no event.
    #[must_use]
    pub const fn latest_unix_us(&self) -> i64 {
        self.ledger.latest_unix_us
    }
}

/// An event about no session in particular, said by the recorder.
#[must_use]
pub const fn recorder_event(wall_unix_us: i64, monotonic_ns: u64, body: Body<'_>) -> Event<'_> {
    Event {
        session: SessionId::NONE,
        wall_unix_us,
        monotonic_ns,
        to_upstream_bytes: 0,
        to_client_bytes: 0,
        ordinal: 0,
        lane: 0,
        direction: crate::Direction::Gateway,
        body,
    }
}
