//! A payload on its way into a frame and back: compressed where that makes it shorter, then encrypted. FORMAT.md,
//! "Payloads", has the bytes.
//!
//! Hostile when read: nothing is allocated beyond the length that the frame names, which its bound was checked for.

use std::fmt;

use ring::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use zeroize::Zeroizing;

use crate::Error;
use crate::RingId;
use crate::body::Kind;
use crate::envelope::DataKey;
use crate::event::{Head, put};
use crate::frame::{FRAME_HEADER_LEN, TAG_LEN};
use crate::hash::Salts;

pub(crate) const PAYLOAD_PURPOSE: &[u8] = b"weir segment payloads, v1";
pub(crate) const SALTS_PURPOSE: &[u8] = b"weir segment salt secret, v1";
pub(crate) const TOKENS_PURPOSE: &[u8] = b"weir segment search tokens, v1";
/// Shorter bodies are not tried: zstd's tables cost more than 5 us each time, and save a hundred bytes.
const WORTH_COMPRESSING: usize = 512;
/// Longer ones are not tried either: zstd would describe a window, which this format leaves out.
const MAX_COMPRESSED: usize = 512 << 10;
/// Little-endian `0xfd2fb528`.
const ZSTD_MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];

/// Whether an event is stored as it is in every segment: what a recorder says about gaps, which verification without any
/// auditor's key needs, and which a recorder must be able to add to the segment of a dead one.
pub(crate) fn is_plain(head: &Head) -> bool {
    head.kind() == Some(Kind::Gap) && head.ring.core() == RingId::RECORDER_CORE
}

/// What the holder of an encrypted segment's data key can do, and of a clear one's salt secret anybody. Wiped when dropped, but
/// for the cipher's own schedule of its key, which ring keeps to itself: programs that hold one keep out of core files.
pub(crate) struct Secrets {
    /// `None`: payloads are not encrypted.
    cipher: Option<LessSafeKey>,
    salt_secret: Zeroizing<[u8; 32]>,
    token_key: Zeroizing<[u8; 32]>,
}

impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secrets(..)")
    }
}

impl Secrets {
    /// Of a clear segment.
    pub(crate) fn clear(salt_secret: &[u8; 32]) -> Self {
        // Whoever reads such a segment reads everything: its tokens keep nothing secret, and are found the same way.
        let token_key = DataKey::from_public(salt_secret).derive(TOKENS_PURPOSE);
        Self { cipher: None, salt_secret: Zeroizing::new(*salt_secret), token_key }
    }

    /// Of an encrypted segment.
    pub(crate) fn from_data_key(key: &DataKey) -> Self {
        let cipher = UnboundKey::new(&AES_256_GCM, key.derive(PAYLOAD_PURPOSE).as_slice());
        Self {
            cipher: cipher.ok().map(LessSafeKey::new),
            salt_secret: key.derive(SALTS_PURPOSE),
            token_key: key.derive(TOKENS_PURPOSE),
        }
    }

    pub(crate) fn salts(&self, first: u64) -> Salts {
        Salts::new(&self.salt_secret, first)
    }

    pub(crate) fn token_key(&self) -> &[u8; 32] {
        &self.token_key
    }

    pub(crate) const fn encrypts(&self) -> bool {
        self.cipher.is_some()
    }

    /// Encrypts the first `len` bytes of a frame's payload and writes the tag behind them. The frame's first 128 bytes
    /// are as they will be stored, but for the checksum.
    ///
    /// # Errors
    /// The caller's: no room for the tag.
    pub(crate) fn seal(&self, frame: &mut [u8], offset: u64, len: usize) -> Result<(), Error> {
        let room = frame.len();
        let split = frame.split_first_chunk_mut::<FRAME_HEADER_LEN>();
        let place = split.and_then(|(front, rest)| {
            let (payload, rest) = rest.split_at_mut_checked(len)?;
            Some((associated(front), payload, rest.first_chunk_mut::<TAG_LEN>()?))
        });
        let (associated, payload, tag_place) = place.ok_or(Error::NoRoom { room })?;
        let cipher = self.cipher.as_ref().ok_or(Error::NoDataKey)?;
        let tag = cipher.seal_in_place_separate_tag(nonce(offset), Aad::from(associated), payload);
        tag_place.copy_from_slice(tag.map_err(|_| Error::NoRoom { room })?.as_ref());
        Ok(())
    }

    /// Decrypts a payload in place; `None`: it is not what was encrypted there. `front` is the frame's first 128 bytes.
    pub(crate) fn open<'p>(
        &self,
        front: &[u8; FRAME_HEADER_LEN],
        offset: u64,
        payload: &'p mut [u8],
    ) -> Option<&'p mut [u8]> {
        self.cipher.as_ref()?.open_in_place(nonce(offset), Aad::from(associated(front)), payload).ok()
    }
}

/// The frame's place in its file: no two frames of a segment share one, and no two segments share a key.
fn nonce(offset: u64) -> Nonce {
    let mut bytes = [0; 12];
    bytes.iter_mut().zip(offset.to_le_bytes()).for_each(|(to, from)| *to = from);
    Nonce::assume_unique_for_key(bytes)
}

/// Everything before the payload but the checksum: type, flags, lengths, leaf and head.
fn associated(front: &[u8; FRAME_HEADER_LEN]) -> [u8; FRAME_HEADER_LEN - 4] {
    let mut bytes = [0; FRAME_HEADER_LEN - 4];
    let mut out = bytes.as_mut_slice();
    put(&mut out, front.first_chunk::<4>().unwrap_or(&[0; 4]));
    put(&mut out, front.last_chunk::<{ FRAME_HEADER_LEN - 8 }>().unwrap_or(&[0; FRAME_HEADER_LEN - 8]));
    bytes
}

/// Makes payloads shorter.
pub(crate) struct Packer {
    compressor: zstd::bulk::Compressor<'static>,
    packed: Vec<u8>,
}

impl fmt::Debug for Packer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Packer(..)")
    }
}

impl Packer {
    /// # Errors
    /// The system's: no memory.
    pub(crate) fn new(level: i32) -> Result<Self, Error> {
        Ok(Self { compressor: zstd::bulk::Compressor::new(level)?, packed: Vec::new() })
    }

    /// Replaces `body` by its zstd frame, at its front, and answers that one's length; `None`: it is not shorter.
    pub(crate) fn pack(&mut self, body: &mut [u8]) -> Option<usize> {
        if !(WORTH_COMPRESSING..=MAX_COMPRESSED).contains(&body.len()) {
            return None;
        }
        self.packed.resize(self.packed.len().max(body.len()), 0);
        // Room for less than the body alone: what is not shorter fails, and early.
        let room = self.packed.get_mut(..body.len() - 1)?;
        let len = self.compressor.compress_to_buffer(body, room).ok()?;
        let packed = self.packed.get(..len).filter(|packed| is_bare(packed, body.len()))?;
        body.get_mut(..len)?.copy_from_slice(packed);
        Some(len)
    }
}

/// Reads what [`Packer`] made.
#[derive(Default)]
pub(crate) struct Unpacker {
    decompressor: Option<zstd::bulk::Decompressor<'static>>,
    /// A payload between decryption and decompression.
    pub(crate) packed: Vec<u8>,
}

impl fmt::Debug for Unpacker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Unpacker(..)")
    }
}

impl Unpacker {
    /// Fills `out` with the content of `packed`. False: it is no zstd frame of exactly that content's length.
    pub(crate) fn unpack(&mut self, packed: &[u8], out: &mut [u8]) -> bool {
        let whole = zstd::zstd_safe::find_frame_compressed_size(packed) == Ok(packed.len());
        if !whole || !is_bare(packed, out.len()) {
            return false;
        }
        if self.decompressor.is_none() {
            self.decompressor = zstd::bulk::Decompressor::new().ok();
        }
        let Some(decompressor) = &mut self.decompressor else { return false };
        let len = out.len();
        decompressor.decompress_to_buffer(packed, out).is_ok_and(|got| got == len)
    }
}

/// Whether a zstd frame's own header is the one spelling that this format has for it: a single segment, the content's
/// length, and nothing else. So nothing in it can be changed without changing what it means.
fn is_bare(packed: &[u8], content: usize) -> bool {
    let (magic, rest) = packed.split_first_chunk().unwrap_or((&[0; 4], &[]));
    let Some((&descriptor, rest)) = rest.split_first() else { return false };
    let said = match descriptor {
        0x20 => rest.first().map(|&len| usize::from(len)),
        0x60 => rest.first_chunk().map(|len| usize::from(u16::from_le_bytes(*len)) + 256),
        0xa0 => rest.first_chunk().map(|len| u32::from_le_bytes(*len) as usize),
        _ => None,
    };
    *magic == ZSTD_MAGIC && said == Some(content)
}
