//! Reading a segment front to back: bounded memory, hostile input, one frame at a time.
//!
//! It checks what a frame says of itself (mark, lengths, checksum). What frames say together, `verify` checks.

use std::io::{ErrorKind, Read, Seek, SeekFrom};

use rkyv::util::AlignedVec;

use crate::body::Body;
use crate::event::{HEAD_LEN, Head};
use crate::frame::{self, Damage, FRAME_HEADER_LEN, FrameType, Prefix};
use crate::hash::{self, Digest, LEAF_PREFIX_LEN, SALT_LEN};
use crate::header::{self, HEADER_LEN, Header};
use crate::index::Index;
use crate::seal::{SEAL_FRAME_LEN, Seal, Statement};
use crate::{Error, view};

/// Reads a segment. Wrap files in a `BufReader`.
#[derive(Debug)]
pub struct Reader<R> {
    input: R,
    header: Header,
    genesis: Digest,
    offset: u64,
    /// The current frame, whole: header, payload, padding.
    frame: Vec<u8>,
    body: AlignedVec,
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
    head_bytes: &'a [u8; HEAD_LEN],
    payload: &'a [u8],
    body: &'a mut AlignedVec,
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
        let genesis = header::digest(&bytes);
        let body = AlignedVec::new();
        Ok(Self { input, header, genesis, offset: HEADER_LEN as u64, frame: Vec::new(), body })
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
        let whole = frame::frame_len(prefix.payload_len);
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
        let (payload, padding) = rest.split_at_checked(prefix.payload_len).ok_or(damaged(Damage::Cut))?;
        let is_event = prefix.frame == FrameType::Event;
        let bare_zeros = is_event || (all_zero(head_bytes) && prefix.leaf == Digest::ZERO);
        let payload_zeros = prefix.frame != FrameType::Padding || all_zero(payload);
        if !all_zero(padding) || !bare_zeros || !payload_zeros {
            return Err(damaged(Damage::NotZero));
        }
        let (frame, leaf, head) = (prefix.frame, prefix.leaf, Head::read(head_bytes));
        Ok(Some(Frame { offset, frame, leaf, head, head_bytes, payload, body: &mut self.body }))
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

impl Frame<'_> {
    /// The event's content. Only for event frames.
    ///
    /// # Errors
    /// The recording's: malformed, or of a kind or version this program does not know.
    pub fn body(&mut self) -> Result<Body<'_>, Error> {
        if self.frame != FrameType::Event {
            return Err(Error::NotAnEvent);
        }
        self.body.clear();
        self.body.extend_from_slice(self.payload);
        view::decode(&self.head, self.body)
    }

    /// The payload as stored.
    #[must_use]
    pub const fn payload(&self) -> &[u8] {
        self.payload
    }

    /// Head and body as the leaf covers them.
    pub(crate) fn event_bytes(&self) -> impl Iterator<Item = &[u8]> {
        [self.head_bytes.as_slice(), self.payload].into_iter()
    }

    /// The leaf that these bytes have, after `salt` and the session's `previous` leaf. `scratch` is reused.
    pub(crate) fn leaf_of(&self, salt: &[u8; SALT_LEN], previous: &Digest, scratch: &mut Vec<u8>) -> Digest {
        scratch.clear();
        scratch.reserve(LEAF_PREFIX_LEN + HEAD_LEN + self.payload.len());
        scratch.extend_from_slice(salt);
        scratch.extend_from_slice(&previous.0);
        self.event_bytes().for_each(|bytes| scratch.extend_from_slice(bytes));
        hash::leaf(scratch)
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
