//! Reading a segment front to back: bounded memory, hostile input, one frame at a time.
//!
//! It checks what a frame says of itself (mark, lengths, checksum). What frames say together, `verify` checks.

use std::io::{ErrorKind, Read, Seek, SeekFrom};

use rkyv::util::AlignedVec;
use zeroize::Zeroize as _;

use crate::auditor::AuditorKey;
use crate::body::Body;
use crate::envelope;
use crate::event::{HEAD_LEN, Head, put};
use crate::frame::{self, Damage, ENCRYPTED, FRAME_HEADER_LEN, FrameType, Prefix};
use crate::hash::{self, Digest, LEAF_PREFIX_LEN, SALT_LEN};
use crate::header::{self, Compression, FRONT_LEN, HEADER_LEN, Header};
use crate::index::Index;
use crate::payload::{Secrets, Unpacker, is_plain};
use crate::seal::{SEAL_FRAME_LEN, Seal, Statement};
use crate::words::{Field, token_of};
use crate::{Error, view};

/// Where an event's body begins in [`Opened::bytes`]: a multiple of every archive's alignment.
const BODY_AT: usize = LEAF_PREFIX_LEN + HEAD_LEN;
const _: () = assert!(BODY_AT.is_multiple_of(16));

/// Reads a segment. Wrap files in a `BufReader`.
#[derive(Debug)]
pub struct Reader<R> {
    input: R,
    header: Header,
    header_bytes: Box<[u8; HEADER_LEN]>,
    genesis: Digest,
    /// `None`: encrypted, and no key that opens it was given.
    secrets: Option<Secrets>,
    offset: u64,
    /// The current frame, whole: header, payload, padding.
    frame: Vec<u8>,
    opened: Opened,
}

/// The current event as its leaf covers it: salt, previous leaf, head, body.
#[derive(Debug, Default)]
struct Opened {
    bytes: AlignedVec,
    unpacker: Unpacker,
    /// The current frame's event is there, but for salt and previous leaf.
    is_current: bool,
}

/// One frame. Borrowed from the reader, which reuses its buffers.
#[derive(Debug)]
pub struct Frame<'a> {
    /// Where it begins in the file.
    pub offset: u64,
    pub frame: FrameType,
    /// Leaf hash as stored.
    pub leaf: Digest,
    pub head: Head,
    prefix: Prefix,
    raw: &'a [u8],
    payload: &'a [u8],
    secrets: Option<&'a Secrets>,
    opened: &'a mut Opened,
}

impl<R> Drop for Reader<R> {
    fn drop(&mut self) {
        if self.header.is_encrypted() {
            self.opened.bytes.as_mut_slice().zeroize();
            self.opened.unpacker.packed.zeroize();
        }
    }
}

impl<R: Read> Reader<R> {
    /// Reads the header.
    ///
    /// # Errors
    /// The input's: no segment, a later format, damaged, or shorter than a header.
    pub fn new(mut input: R) -> Result<Self, Error> {
        let mut bytes = Box::new([0; HEADER_LEN]);
        let got = read_up_to(&mut input, bytes.as_mut_slice())?;
        let header = match Header::read(&bytes) {
            Err(Error::Header(_)) | Ok(_) if got < HEADER_LEN => {
                return Err(Error::Header("it is cut short"));
            }
            header => header?,
        };
        Ok(Self {
            input,
            genesis: header::digest(&bytes),
            secrets: (!header.is_encrypted()).then(|| Secrets::clear(&header.salt_secret)),
            header,
            header_bytes: bytes,
            offset: HEADER_LEN as u64,
            frame: Vec::new(),
            opened: Opened::default(),
        })
    }

    /// Opens an encrypted segment with the first of these keys that it is encrypted to. False: with none of them. A clear
    /// segment needs none.
    ///
    /// # Errors
    /// The recording's: it names the key as a recipient, and holds nothing that the key opens.
    pub fn unlock(&mut self, keys: &[AuditorKey]) -> Result<bool, Error> {
        if self.secrets.is_some() {
            return Ok(true);
        }
        let pairs = keys.iter().filter_map(|key| {
            let envelope =
                self.header.envelopes.iter().find(|envelope| envelope.recipient == *key.public())?;
            Some((envelope, key))
        });
        let Some((envelope, key)) = pairs.into_iter().next() else { return Ok(false) };
        let front = self.header_bytes.first_chunk::<FRONT_LEN>().ok_or(Error::Envelope)?;
        let data_key = envelope.open(key, &envelope::INFO, front).ok_or(Error::Envelope)?;
        self.secrets = Some(Secrets::from_data_key(&data_key));
        Ok(true)
    }

    /// Whether bodies can be read: of a clear segment, or after [`Reader::unlock`].
    #[must_use]
    pub const fn is_open(&self) -> bool {
        self.secrets.is_some()
    }

    /// The token of a word in this segment, as its index has it; `None`: encrypted to others.
    #[must_use]
    pub fn token(&self, field: Field, value: &str) -> Option<u64> {
        Some(token_of(self.secrets.as_ref()?.token_key(), field, value))
    }

    pub(crate) const fn secrets(&self) -> Option<&Secrets> {
        self.secrets.as_ref()
    }

    pub(crate) fn header_bytes(&self) -> &[u8] {
        self.header_bytes.as_slice()
    }

    #[must_use]
    pub const fn header(&self) -> &Header {
        &self.header
    }

    /// Hash of the header: what each session's chain in this segment begins with.
    #[must_use]
    pub const fn genesis(&self) -> Digest {
        self.genesis
    }

    /// Where the next frame begins, or the damaged one that stopped the reader.
    #[must_use]
    pub const fn offset(&self) -> u64 {
        self.offset
    }

    /// The next frame; `None` at the end of the file.
    ///
    /// # Errors
    /// The input's: [`Error::Frame`] with the place and what is wrong. Nothing after it can be read.
    #[expect(clippy::should_implement_trait, reason = "what it gives is borrowed from the reader")]
    pub fn next(&mut self) -> Result<Option<Frame<'_>>, Error> {
        let offset = self.offset;
        let damaged = |damage| Error::Frame { offset, damage };
        self.frame.resize(FRAME_HEADER_LEN, 0);
        match read_up_to(&mut self.input, &mut self.frame)? {
            0 => return Ok(None),
            FRAME_HEADER_LEN => {}
            _ => return Err(damaged(Damage::Cut)),
        }
        let bytes = self.frame.first_chunk::<FRAME_HEADER_LEN>().ok_or(damaged(Damage::Cut))?;
        let prefix = Prefix::read(bytes).map_err(damaged)?;
        if !self.header.allows(prefix.flags) {
            return Err(damaged(Damage::Unknown));
        }
        let whole = frame::frame_len(prefix.lengths.stored);
        // `whole` is bounded by the format's maximum, and grows only as far as the file really goes.
        if read_onto(&mut self.input, &mut self.frame, whole)? < whole {
            return Err(damaged(Damage::Cut));
        }
        if frame::checksum(&self.frame) != prefix.crc {
            return Err(damaged(Damage::Checksum));
        }
        self.offset += whole as u64;
        let (front, rest) = self.frame.split_at(FRAME_HEADER_LEN);
        let head_bytes = front.last_chunk::<HEAD_LEN>().ok_or(damaged(Damage::Cut))?;
        let (payload, padding) = rest.split_at_checked(prefix.lengths.stored).ok_or(damaged(Damage::Cut))?;
        let is_event = prefix.frame == FrameType::Event;
        let bare_zeros = is_event || (all_zero(head_bytes) && prefix.leaf == Digest::ZERO);
        let payload_zeros = prefix.frame != FrameType::Padding || all_zero(payload);
        if !all_zero(padding) || !bare_zeros || !payload_zeros {
            return Err(damaged(Damage::NotZero));
        }
        let head = Head::read(head_bytes);
        let must_be_hidden = is_event && self.header.is_encrypted() && !is_plain(&head);
        if must_be_hidden != (prefix.flags & ENCRYPTED != 0) || (prefix.flags != 0 && is_plain(&head)) {
            return Err(damaged(Damage::Unknown));
        }
        self.opened.is_current = false;
        let Prefix { frame, leaf, .. } = prefix;
        let (raw, secrets, opened) = (self.frame.as_slice(), self.secrets.as_ref(), &mut self.opened);
        Ok(Some(Frame { offset, frame, leaf, head, prefix, raw, payload, secrets, opened }))
    }
}

impl<R: Read + Seek> Reader<R> {
    /// What the seal at the end states, its signature checked against the key it names itself: trust is the caller's
    /// to decide. `None`: the file does not end in a seal. The reader stands where it stood.
    ///
    /// # Errors
    /// The input's: a seal that is damaged or does not match its signature.
    pub fn seal(&mut self) -> Result<Option<(Statement, Seal)>, Error> {
        let end = self.input.seek(SeekFrom::End(0))?;
        let Some(at) = end.checked_sub(SEAL_FRAME_LEN as u64).filter(|&at| at >= HEADER_LEN as u64) else {
            self.input.seek(SeekFrom::Start(self.offset))?;
            return Ok(None);
        };
        let here = self.offset;
        self.seek(at)?;
        let seal = match self.next() {
            Ok(Some(frame)) if frame.frame == FrameType::Seal => Seal::read(frame.payload).map(Some),
            Ok(Some(_) | None) | Err(Error::Frame { .. }) => Ok(None),
            Err(error) => Err(error),
        };
        self.seek(here)?;
        seal?.map(|seal| Ok((seal.open()?, seal))).transpose()
    }

    /// The index of a sealed segment. The reader stands after it.
    ///
    /// # Errors
    /// The input's: not sealed, or the index is not the one that was signed.
    pub fn index(&mut self) -> Result<Index, Error> {
        let (statement, _) = self.seal()?.ok_or(Error::Seal("there is none"))?;
        let (mut index, mut digest) = (Index::default(), hash::IndexHash::new());
        self.seek(statement.index_offset)?;
        while let Some(frame) = self.next()? {
            match frame.frame {
                FrameType::Index => {
                    digest.update(frame.payload);
                    index.read_piece(frame.payload)?;
                }
                FrameType::Event | FrameType::Padding | FrameType::Seal => break,
            }
        }
        if digest.finish() != statement.index {
            return Err(Error::Index("it is not the one that was signed"));
        }
        Ok(index)
    }

    /// Goes to a frame's offset, as an index or a finding names it.
    ///
    /// # Errors
    /// The input's.
    pub fn seek(&mut self, offset: u64) -> Result<(), Error> {
        self.input.seek(SeekFrom::Start(offset))?;
        self.offset = offset;
        Ok(())
    }
}

impl Header {
    /// Whether frames may have these flags.
    const fn allows(&self, flags: u8) -> bool {
        let compressed = flags & frame::COMPRESSED == 0 || matches!(self.compression, Compression::Zstd);
        compressed && (flags & ENCRYPTED == 0 || self.is_encrypted())
    }
}

impl Frame<'_> {
    /// The event's content. Only for event frames.
    ///
    /// # Errors
    /// [`Error::Locked`]: it is encrypted to others. The recording's: malformed, or of a kind or version this program does
    /// not know.
    pub fn body(&mut self) -> Result<Body<'_>, Error> {
        self.open()?;
        view::decode_at(&self.head, self.opened.bytes.get(BODY_AT..).unwrap_or_default())
    }

    /// The body's bytes as they were produced. Only for event frames.
    ///
    /// # Errors
    /// As [`Frame::body`], but that nothing of the content is looked at.
    pub fn produced(&mut self) -> Result<&[u8], Error> {
        self.open()?;
        Ok(self.opened.bytes.get(BODY_AT..).unwrap_or_default())
    }

    /// The payload as stored.
    #[must_use]
    pub const fn payload(&self) -> &[u8] {
        self.payload
    }

    /// Whether its content is encrypted to others.
    pub(crate) const fn is_locked(&self) -> bool {
        self.prefix.flags & ENCRYPTED != 0 && self.secrets.is_none()
    }

    /// The whole frame as stored.
    pub(crate) const fn raw(&self) -> &[u8] {
        self.raw
    }

    /// Head and body as the leaf covers them.
    ///
    /// # Errors
    /// As [`Frame::produced`].
    pub(crate) fn event(&mut self) -> Result<&[u8], Error> {
        self.open()?;
        Ok(self.opened.bytes.get(LEAF_PREFIX_LEN..).unwrap_or_default())
    }

    /// What this event's leaf is made of, after `salt` and the session's `previous` leaf.
    ///
    /// # Errors
    /// As [`Frame::produced`].
    pub(crate) fn leaf_input(&mut self, salt: &[u8; SALT_LEN], previous: &Digest) -> Result<&[u8], Error> {
        self.open()?;
        if let Some((prefix, _)) = self.opened.bytes.split_first_chunk_mut::<LEAF_PREFIX_LEN>() {
            let mut prefix = prefix.as_mut_slice();
            put(&mut prefix, salt);
            put(&mut prefix, &previous.0);
        }
        Ok(&self.opened.bytes)
    }

    /// Decrypts and decompresses the event, once.
    fn open(&mut self) -> Result<(), Error> {
        if self.frame != FrameType::Event {
            return Err(Error::NotAnEvent);
        }
        if self.is_locked() {
            return Err(Error::Locked);
        }
        if self.opened.is_current {
            return Ok(());
        }
        let front = self.raw.first_chunk::<FRAME_HEADER_LEN>().ok_or(Error::NotAnEvent)?;
        let Opened { bytes, unpacker, is_current } = &mut *self.opened;
        // Room for salt and previous leaf, then the head as it stands before the payload in the frame.
        bytes.clear();
        bytes.extend_from_slice(front);
        let flags = self.prefix.flags;
        if flags & frame::COMPRESSED == 0 {
            bytes.extend_from_slice(self.payload);
            if flags & ENCRYPTED != 0 {
                let body = bytes.get_mut(BODY_AT..).unwrap_or_default();
                let secrets = self.secrets.ok_or(Error::Locked)?;
                secrets.open(front, self.offset, body).ok_or(Error::Payload)?;
                bytes.resize(BODY_AT + self.prefix.lengths.produced, 0);
            }
        } else {
            let mut packed = std::mem::take(&mut unpacker.packed);
            packed.clear();
            packed.extend_from_slice(self.payload);
            let plain = match self.secrets.filter(|_| flags & ENCRYPTED != 0) {
                Some(secrets) => secrets.open(front, self.offset, &mut packed),
                None => Some(packed.as_mut_slice()),
            };
            // The length is the writer's word, so room is made only once something stands behind it.
            bytes.resize(BODY_AT + plain.as_ref().map_or(0, |_| self.prefix.lengths.produced), 0);
            let body = bytes.get_mut(BODY_AT..).unwrap_or_default();
            let unpacked = plain.is_some_and(|plain| unpacker.unpack(plain, body));
            unpacker.packed = packed;
            if !unpacked {
                return Err(Error::Payload);
            }
        }
        *is_current = true;
        Ok(())
    }
}

fn all_zero(bytes: &[u8]) -> bool {
    bytes.iter().fold(0, |seen, byte| seen | byte) == 0
}

/// Fills `buffer` unless the input ends before.
fn read_up_to(input: &mut impl Read, buffer: &mut [u8]) -> Result<usize, Error> {
    let mut got = 0;
    while let Some(room) = buffer.get_mut(got..).filter(|room| !room.is_empty()) {
        match input.read(room) {
            Ok(0) => break,
            Ok(more) => got += more,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(got)
}

/// Grows `buffer` to `len` bytes from the input, in steps, so that a lying length allocates little.
fn read_onto(input: &mut impl Read, buffer: &mut Vec<u8>, len: usize) -> Result<usize, Error> {
    const STEP: usize = 1 << 20;
    while buffer.len() < len {
        let (start, step) = (buffer.len(), (len - buffer.len()).min(STEP));
        buffer.resize(start + step, 0);
        let got = read_up_to(input, buffer.get_mut(start..).unwrap_or_default())?;
        if got < step {
            return Ok(start + got);
        }
    }
    Ok(len)
}
