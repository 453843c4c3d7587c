//! The frame: what every byte of a segment after its header belongs to, laid out as FORMAT.md, "Frame", says.
//!
//! Padding frames fill a commit up to a disk block, so that no later commit rewrites a block that was acknowledged.
//! What flags mean for the payload is `payload`'s.

use crate::Error;
use crate::event::{HEAD_LEN, MAX_EVENT_LEN};
use crate::hash::{Digest, LEAF_PREFIX_LEN};

/// Bytes before a frame's payload.
pub(crate) const FRAME_HEADER_LEN: usize = LEAF_PREFIX_LEN + HEAD_LEN;
pub(crate) const GRAIN: usize = 16;
pub(crate) const MARK: [u8; 2] = *b"WF";
const CRC_AT: usize = 4;
const AFTER_CRC: usize = 8;
/// Flag of a payload that is a zstd frame.
pub(crate) const COMPRESSED: u8 = 1;
/// Flag of a payload that is encrypted, after it was compressed if it was.
pub(crate) const ENCRYPTED: u8 = 2;
/// Bytes that encryption adds to a payload.
pub(crate) const TAG_LEN: usize = 16;
/// No payload is longer, stored or not.
pub(crate) const MAX_PAYLOAD_LEN: usize = MAX_EVENT_LEN;

/// What a frame holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum FrameType {
    Event = 1,
    Padding = 2,
    Index = 3,
    Seal = 4,
}

impl FrameType {
    const fn from_code(code: u8) -> Option<Self> {
        match code {
            1 => Some(Self::Event),
            2 => Some(Self::Padding),
            3 => Some(Self::Index),
            4 => Some(Self::Seal),
            _ => None,
        }
    }
}

/// The part of a frame's header before the event's head, decoded and checked, except for the CRC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Prefix {
    pub(crate) frame: FrameType,
    pub(crate) flags: u8,
    pub(crate) crc: u32,
    pub(crate) lengths: Lengths,
    pub(crate) leaf: Digest,
}

/// Bytes of a payload as it is stored and as its producer made it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Lengths {
    pub(crate) stored: usize,
    pub(crate) produced: usize,
}

impl Lengths {
    pub(crate) const fn same(len: usize) -> Self {
        Self { stored: len, produced: len }
    }

    /// Whether `flags` can have made one of the other. Only what got shorter is stored compressed.
    const fn agree(self, flags: u8) -> bool {
        let tag = if flags & ENCRYPTED == 0 { 0 } else { TAG_LEN };
        let bounded = self.stored <= MAX_PAYLOAD_LEN && self.produced <= MAX_PAYLOAD_LEN;
        let Some(packed) = self.stored.checked_sub(tag) else { return false };
        bounded && if flags & COMPRESSED == 0 { packed == self.produced } else { packed < self.produced }
    }
}

/// What is wrong with a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Damage {
    #[error("no frame begins here")]
    Mark,
    #[error("the frame's checksum does not match its bytes")]
    Checksum,
    #[error("the frame's length is impossible")]
    Length,
    #[error("the frame's type or flags are not known to this version of Weir")]
    Unknown,
    #[error("the file ends inside a frame")]
    Cut,
    #[error("bytes that must be zero are not")]
    NotZero,
}

impl Prefix {
    pub(crate) fn read(bytes: &[u8; FRAME_HEADER_LEN]) -> Result<Self, Damage> {
        let mut rest = bytes.as_slice();
        let [mark_0, mark_1, code, flags] = crate::event::take(&mut rest);
        if [mark_0, mark_1] != MARK {
            return Err(Damage::Mark);
        }
        let crc = u32::from_le_bytes(crate::event::take(&mut rest));
        let stored = u32::from_le_bytes(crate::event::take(&mut rest)) as usize;
        let produced = u32::from_le_bytes(crate::event::take(&mut rest)) as usize;
        let leaf = Digest(crate::event::take(&mut rest));
        let lengths = Lengths { stored, produced };
        if !lengths.agree(flags) {
            return Err(Damage::Length);
        }
        let known = flags & !(COMPRESSED | ENCRYPTED) == 0;
        let frame =
            FrameType::from_code(code).filter(|&frame| known && (flags == 0 || frame == FrameType::Event));
        Ok(Self { frame: frame.ok_or(Damage::Unknown)?, flags, crc, lengths, leaf })
    }
}

/// Bytes of a whole frame with `payload_len` bytes of payload.
pub(crate) const fn frame_len(payload_len: usize) -> usize {
    (FRAME_HEADER_LEN + payload_len).next_multiple_of(GRAIN)
}

/// Writes the prefix over the first 48 bytes of `frame`, but for the checksum, which [`close`] adds.
///
/// # Errors
/// The caller's: longer than a frame may be, or less room than a prefix.
pub(crate) fn write_prefix(
    frame: &mut [u8],
    kind: FrameType,
    flags: u8,
    lengths: Lengths,
    leaf: &Digest,
) -> Result<(), Error> {
    let number = |len: usize| {
        let too_long = Error::TooLong { len, max: MAX_PAYLOAD_LEN };
        u32::try_from(len).map(u32::to_le_bytes).map_err(|_| too_long)
    };
    let (stored, produced) = (number(lengths.stored)?, number(lengths.produced)?);
    let room = frame.len();
    let Some((prefix, _)) = frame.split_first_chunk_mut::<LEAF_PREFIX_LEN>() else {
        return Err(Error::NoRoom { room });
    };
    let mut out = prefix.as_mut_slice();
    let [mark_0, mark_1] = MARK;
    crate::event::put(&mut out, &[mark_0, mark_1, kind as u8, flags, 0, 0, 0, 0]);
    crate::event::put(&mut out, &stored);
    crate::event::put(&mut out, &produced);
    crate::event::put(&mut out, &leaf.0);
    Ok(())
}

/// Adds the checksum: the last thing done to a frame.
pub(crate) fn close(frame: &mut [u8]) {
    let crc = checksum(frame).to_le_bytes();
    if let Some(place) = frame.get_mut(CRC_AT..AFTER_CRC) {
        place.copy_from_slice(&crc);
    }
}

/// CRC-32C of a whole frame, skipping the field it is stored in.
pub(crate) fn checksum(frame: &[u8]) -> u32 {
    let before = crc32c::crc32c(frame.get(..CRC_AT).unwrap_or_default());
    crc32c::crc32c_append(before, frame.get(AFTER_CRC..).unwrap_or_default())
}

/// Length of the payload of a padding frame that brings `len` to a multiple of `block`; `None`: it is one already.
pub(crate) fn padding_payload(len: u64, block: u64) -> Option<usize> {
    let missing = len.next_multiple_of(block) - len;
    if missing == 0 {
        return None;
    }
    let header = FRAME_HEADER_LEN as u64;
    let whole = if missing < header { missing + block.max(header) } else { missing };
    usize::try_from(whole - header).ok()
}
