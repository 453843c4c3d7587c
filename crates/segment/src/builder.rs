//! Writing a segment: events in, frames out, then the seal. What it makes is appended to a [`Batch`]; the caller writes
//! batches to the file in order and decides what is durable.

use ring::rand::SecureRandom;

use crate::batch::Batch;
use crate::body::Body;
use crate::envelope::{self, DataKey};
use crate::event::{Event, HEAD_LEN, Head, MAX_EVENT_LEN};
use crate::frame::{self, FRAME_HEADER_LEN, FrameType, Lengths, TAG_LEN};
use crate::hash::{Digest, IndexHash, LEAF_PREFIX_LEN, SALT_LEN, Salts, StoredHash};
use crate::header::{self, Compression, FRONT_LEN, Header, MAX_RECIPIENTS};
use crate::ledger::{Carry, Ledger, Met};
use crate::merkle::Tree;
use crate::payload::{Packer, Secrets, is_plain};
use crate::seal::{SEAL_PAYLOAD_LEN, Seal, SigningKey, Statement};
use crate::waiting::{Unhashed, Waiting};
use crate::words::{Words, has_words};
use crate::{Error, RingId, Sequence, SessionId, view};

/// zstd's level. Higher ones cost more and gain little on rows.
const ZSTD_LEVEL: i32 = 1;

/// To whom a segment is encrypted.
#[derive(Clone, Copy)]
pub struct Recipients<'a> {
    /// Auditors' public keys: at least one, at most [`MAX_RECIPIENTS`].
    pub keys: &'a [[u8; 32]],
    /// Where the data key comes from.
    pub random: &'a dyn SecureRandom,
}

/// A segment being written. Its secrets are wiped with it.
#[derive(Debug)]
pub struct Builder {
    pub(crate) header: Header,
    pub(crate) genesis: Digest,
    /// `None`: encrypted, and begun by another process.
    pub(crate) secrets: Option<(Secrets, Salts)>,
    pub(crate) packer: Option<Packer>,
    /// `None`: begun by another process, whose words are not known any more.
    pub(crate) words: Option<Words>,
    pub(crate) tree: Tree,
    pub(crate) ledger: Ledger,
    /// Events whose frames are not whole yet.
    pub(crate) waiting: Waiting,
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
    /// Begins the segment after `carry`, and appends its header to `out`, which all of the segment must go through. Number
    /// and previous root are taken from `carry`, whatever `header` holds; and time never goes back, whatever the clock
    /// does. With `recipients` the segment is encrypted to them under a key of its own, else anybody can read it.
    ///
    /// # Errors
    /// The operator's: no recipient, too many, or a key that is none. The system's: no randomness.
    pub fn begin(
        header: Header,
        recipients: Option<Recipients<'_>>,
        carry: &Carry,
        out: &mut Batch,
    ) -> Result<Self, Error> {
        let begun_unix_us = header.begun_unix_us.max(carry.sealed_unix_us);
        let (number, previous_root) = (carry.number + 1, carry.root);
        let mut header = Header { number, previous_root, begun_unix_us, envelopes: Vec::new(), ..header };
        let secrets = match recipients {
            None => Secrets::clear(&header.salt_secret),
            Some(recipients) => encrypt(&mut header, recipients)?,
        };
        let packer = match header.compression {
            Compression::None => None,
            Compression::Zstd => Some(Packer::new(ZSTD_LEVEL)?),
        };
        let bytes = header.write();
        out.begin(header.has_stored_digest().then(StoredHash::new));
        out.extend_from_slice(bytes.as_slice());
        let salts = secrets.salts(0);
        let genesis = header::digest(&bytes);
        Ok(Self {
            genesis,
            waiting: Waiting::new(genesis),
            secrets: Some((secrets, salts)),
            packer,
            words: Some(Words::default()),
            tree: Tree::default(),
            ledger: Ledger::resume(carry),
            len: bytes.len() as u64,
            after_unclean_end: false,
            header,
        })
    }

    /// Appends one event of `len` bytes (head and body), which `fill` copies into place: all of them, the place holds
    /// something else before. It is not whole before [`Builder::settle`].
    ///
    /// # Errors
    /// The producer's: an event shorter than a head or longer than the maximum. The caller's: an event that must be
    /// encrypted, in a segment whose key is gone. Nothing was appended then.
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
        let at = out.len();
        let tag = if self.header.is_encrypted() { TAG_LEN } else { 0 };
        let frame = out.unsettled_room(frame::frame_len(len - HEAD_LEN + tag));
        let taken = self.take(frame, ring, sequence, len, fill);
        let Ok((plain, salt, session)) = taken else {
            out.shrink(at);
            return taken.map(|_| ());
        };
        let event = Unhashed { at, offset: self.len, len, plain, salt, session };
        let is_full = self.waiting.push(event);
        if self.packer.is_some() {
            // Where the next one begins is known once this one is compressed.
            return self.settle(out);
        }
        self.len += frame::frame_len(len - HEAD_LEN + if plain { 0 } else { tag }) as u64;
        out.shrink(at + (self.len - event.offset) as usize);
        if is_full { self.settle(out) } else { Ok(()) }
    }

    /// Takes an event into its frame's room and into account: whether it is stored as it is, its salt, its session's number.
    fn take(
        &mut self,
        frame: &mut [u8],
        ring: RingId,
        sequence: Sequence,
        len: usize,
        fill: impl FnOnce(&mut [u8]),
    ) -> Result<(bool, [u8; SALT_LEN], u32), Error> {
        let short = || Error::Short { len };
        let event =
            frame.get_mut(LEAF_PREFIX_LEN..).and_then(|rest| rest.get_mut(..len)).ok_or_else(short)?;
        fill(event);
        let (head, body) = event.split_first_chunk_mut::<HEAD_LEN>().ok_or_else(short)?;
        let place = [ring.0.to_le_bytes(), sequence.0.to_le_bytes()];
        head.iter_mut().zip(place.as_flattened()).for_each(|(to, from)| *to = *from);
        let decoded = Head::read(head);
        let plain = is_plain(&decoded);
        let salt = next_salt(&mut self.secrets, self.header.is_encrypted(), plain)?;
        let Met { session, block } = self.ledger.add(&decoded, self.len);
        if let Some(words) = self.words.as_mut().filter(|_| has_words(&decoded)) {
            // A malformed one is recorded as it is and found by nothing.
            if let Ok(body) = view::decode_at(&decoded, body) {
                words.add(decoded.session, &body, block);
            }
        }
        Ok((plain, salt, session))
    }

    /// Makes whole frames of the events that were appended last: before that, `out` is not to be written.
    ///
    /// # Errors
    /// Ours only.
    pub fn settle(&mut self, out: &mut Batch) -> Result<(), Error> {
        if self.waiting.is_empty() {
            out.settle();
            return Ok(());
        }
        let batch = out.unsettled_bytes();
        self.waiting.hash(batch);
        let Self { packer, secrets, waiting, tree, .. } = self;
        let mut form = Form { packer, secrets: secrets.as_ref().map(|(secrets, _)| secrets) };
        let mut end = 0;
        for (event, leaf) in waiting.hashed() {
            let frame = batch.get_mut(event.at..).unwrap_or_default();
            end = event.at + form.store(frame, &event, &leaf)?;
            tree.push(leaf);
            if form.packer.is_some() {
                self.len = event.offset + (end - event.at) as u64;
            }
        }
        out.shrink(end);
        out.settle();
        Ok(())
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

    /// Settles, and appends padding up to a multiple of `block`, so that the next commit begins on a block of its own.
    ///
    /// # Errors
    /// None in practice: a block is far shorter than the longest frame.
    pub fn pad(&mut self, out: &mut Batch, block: u64) -> Result<(), Error> {
        self.settle(out)?;
        let Some(payload_len) = frame::padding_payload(self.len, block) else { return Ok(()) };
        self.bare_frame(out, FrameType::Padding, payload_len, |_| ())
    }

    /// Appends index and seal: the segment is complete with them. `is_retired` names rings to forget.
    ///
    /// # Errors
    /// The caller's: `out` is not what all of the segment went through.
    pub fn seal(
        mut self,
        out: &mut Batch,
        key: &SigningKey,
        sealed_unix_us: i64,
        is_retired: impl Fn(RingId) -> bool,
    ) -> Result<Sealed, Error> {
        self.settle(out)?;
        self.ledger.forget_rings(is_retired);
        let (index_offset, mut index) = (self.len, self.ledger.index());
        let token_key = self.secrets.as_ref().map(|(secrets, _)| secrets.token_key());
        let words = self.words.take().zip(token_key);
        let lists_words = words.is_some_and(|(words, key)| words.write(key, &mut index));
        let mut digest = IndexHash::new();
        index.write(|payload| {
            digest.update(payload);
            self.bare_frame(out, FrameType::Index, payload.len(), |room| room.copy_from_slice(payload))
        })?;
        let needs_digest = self.header.has_stored_digest();
        let stored = if needs_digest { out.stored_digest(self.len)? } else { Digest::ZERO };
        let statement = Statement {
            number: self.header.number,
            id: self.header.id,
            header: self.genesis,
            root: self.tree.root(),
            events: self.tree.len(),
            index: digest.finish(),
            stored,
            to_upstream_bytes: self.ledger.to_upstream_bytes,
            to_client_bytes: self.ledger.to_client_bytes,
            earliest_unix_us: self.ledger.earliest_unix_us,
            latest_unix_us: self.ledger.latest_unix_us,
            sealed_unix_us: sealed_unix_us.max(self.header.begun_unix_us),
            index_offset,
            seal_offset: self.len,
            previous_root: self.header.previous_root,
            after_unclean_end: self.after_unclean_end,
            lists_words,
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
        frame::write_prefix(frame, kind, 0, Lengths::same(payload_len), &Digest::ZERO)?;
        frame::close(frame);
        Ok(())
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

    /// Allowed requests among them.
    #[must_use]
    pub const fn commands(&self) -> u64 {
        self.ledger.commands
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

/// Draws a data key, encrypts it to everybody into `header`, and makes the segment's secrets of it.
fn encrypt(header: &mut Header, recipients: Recipients<'_>) -> Result<Secrets, Error> {
    let count = recipients.keys.len();
    if !(1..=MAX_RECIPIENTS).contains(&count) {
        return Err(Error::Recipients { count, max: MAX_RECIPIENTS });
    }
    header.salt_secret = [0; 32];
    let key = DataKey::generate(recipients.random)?;
    let front: [u8; FRONT_LEN] = header.front(count);
    let envelopes = recipients
        .keys
        .iter()
        .map(|&recipient| key.seal_to(recipient, &envelope::INFO, &front, recipients.random));
    header.envelopes = envelopes.collect::<Result<_, _>>()?;
    Ok(Secrets::from_data_key(&key))
}

/// The next event's salt. `plain`: it is stored as it is, so that in an encrypted segment it has none to keep.
fn next_salt(
    secrets: &mut Option<(Secrets, Salts)>,
    encrypted: bool,
    plain: bool,
) -> Result<[u8; SALT_LEN], Error> {
    match secrets {
        Some((_, salts)) => {
            let salt = salts.next();
            Ok(if encrypted && plain { [0; SALT_LEN] } else { salt })
        }
        None if plain => Ok([0; SALT_LEN]),
        None => Err(Error::NoDataKey),
    }
}

/// How a segment's events are stored.
struct Form<'a> {
    packer: &'a mut Option<Packer>,
    secrets: Option<&'a Secrets>,
}

impl Form<'_> {
    /// Compresses and encrypts an event as this segment does, and completes its frame, whose room `frame` begins with; the
    /// answer is the frame's length.
    fn store(&mut self, frame: &mut [u8], event: &Unhashed, leaf: &Digest) -> Result<usize, Error> {
        let (produced, plain) = (event.len - HEAD_LEN, event.plain);
        let (mut flags, mut stored) = (0, produced);
        if let Some(packer) = self.packer.as_mut().filter(|_| !plain) {
            let body = frame.get_mut(FRAME_HEADER_LEN..).and_then(|rest| rest.get_mut(..produced));
            if let Some(packed) = packer.pack(body.unwrap_or_default()) {
                (flags, stored) = (frame::COMPRESSED, packed);
            }
        }
        let cipher = self.secrets.filter(|secrets| secrets.encrypts() && !plain);
        let len = stored + if cipher.is_some() { TAG_LEN } else { 0 };
        flags |= if cipher.is_some() { frame::ENCRYPTED } else { 0 };
        let used = frame::frame_len(len);
        let room = frame.len();
        let frame = frame.get_mut(..used).ok_or(Error::NoRoom { room })?;
        let lengths = Lengths { stored: len, produced };
        frame::write_prefix(frame, FrameType::Event, flags, lengths, leaf)?;
        if let Some(cipher) = cipher {
            cipher.seal(frame, event.offset, stored)?;
        }
        frame.get_mut(FRAME_HEADER_LEN + len..).unwrap_or_default().fill(0);
        frame::close(frame);
        Ok(used)
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
