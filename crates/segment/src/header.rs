//! A segment's header: its first 4096 bytes, laid out as FORMAT.md, "Header", says.

use crate::Error;
use crate::envelope::{Envelope, SEALED_LEN};
use crate::event::{put, take};
use crate::hash::{self, Digest};

/// Bytes of a segment's header.
pub const HEADER_LEN: usize = 4096;
pub(crate) const MAGIC: [u8; 8] = *b"WEIRSEG\0";
pub(crate) const FORMAT_VERSION: u16 = 1;
const NODE_LEN: usize = 63;
/// What an envelope is bound to: all that comes before the recipients.
pub(crate) const FRONT_LEN: usize = 256;
/// Most recipients of one segment.
pub const MAX_RECIPIENTS: usize = 32;
pub(crate) const ENVELOPE_LEN: usize = 64 + SEALED_LEN;
const CRC_AT: usize = HEADER_LEN - 4;
const _: () = assert!(FRONT_LEN + MAX_RECIPIENTS * ENVELOPE_LEN <= CRC_AT);
/// Flag: the salt secret is made from the data key, and not in the header.
const SALTS_ARE_SECRET: u16 = 1;
const BLAKE3: u8 = 1;
const HPKE: u8 = 1;

/// Whether payloads that get shorter by it are stored compressed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Compression {
    #[default]
    None = 0,
    /// zstd, level 1.
    Zstd = 1,
}

/// What a segment says of itself before its first event.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Header {
    /// Position in the node's order of segments, from 1.
    pub number: u64,
    pub id: [u8; 16],
    /// Microseconds since the Unix epoch.
    pub begun_unix_us: i64,
    pub boot: [u8; 16],
    /// Zero for the first.
    pub previous_root: Digest,
    pub public_key: [u8; 32],
    /// 32 random bytes: what every salt is made from. Zero in an encrypted segment, which keeps it secret.
    pub salt_secret: [u8; 32],
    pub compression: Compression,
    /// At most 63 bytes; more is cut off.
    pub node: String,
    /// The data key for each recipient, at most [`MAX_RECIPIENTS`]. Empty: the segment is not encrypted.
    pub envelopes: Vec<Envelope>,
}

impl std::fmt::Debug for Header {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Header")
            .field("number", &self.number)
            .field("node", &self.node)
            .finish_non_exhaustive()
    }
}

impl Header {
    #[must_use]
    pub const fn is_encrypted(&self) -> bool {
        !self.envelopes.is_empty()
    }

    /// Whether the seal must hold a digest of the stored bytes: where leaves do not cover them bit for bit.
    pub(crate) const fn has_stored_digest(&self) -> bool {
        self.is_encrypted() || matches!(self.compression, Compression::Zstd)
    }

    /// Lays the header out.
    #[must_use]
    pub fn write(&self) -> Box<[u8; HEADER_LEN]> {
        let mut bytes = Box::new([0; HEADER_LEN]);
        let (front, recipients) = bytes.split_at_mut(FRONT_LEN);
        front.copy_from_slice(&self.front(self.envelopes.len()));
        let mut out = recipients;
        for envelope in self.envelopes.iter().take(MAX_RECIPIENTS) {
            put(&mut out, &envelope.recipient);
            put(&mut out, &envelope.encapsulated);
            put(&mut out, &envelope.sealed);
        }
        let crc = crc32c::crc32c(bytes.get(..CRC_AT).unwrap_or_default()).to_le_bytes();
        if let Some(place) = bytes.get_mut(CRC_AT..) {
            place.copy_from_slice(&crc);
        }
        bytes
    }

    /// What comes before the recipients, of whom there will be `recipients`: 0, the segment is clear.
    pub(crate) fn front(&self, recipients: usize) -> [u8; FRONT_LEN] {
        let mut bytes = [0; FRONT_LEN];
        let mut out = bytes.as_mut_slice();
        let secret = recipients > 0;
        put(&mut out, &MAGIC);
        put(&mut out, &FORMAT_VERSION.to_le_bytes());
        put(&mut out, &(u16::from(secret) * SALTS_ARE_SECRET).to_le_bytes());
        put(&mut out, &(HEADER_LEN as u32).to_le_bytes());
        put(&mut out, &self.number.to_le_bytes());
        put(&mut out, &self.id);
        put(&mut out, &self.begun_unix_us.to_le_bytes());
        put(&mut out, &self.boot);
        put(&mut out, &self.previous_root.0);
        put(&mut out, &self.public_key);
        put(&mut out, &self.salt_secret);
        let count = recipients.min(MAX_RECIPIENTS) as u8;
        put(&mut out, &[BLAKE3, self.compression as u8, u8::from(secret) * HPKE, count, 0, 0, 0, 0]);
        put(&mut out, &node_bytes(&self.node));
        bytes
    }

    /// Reads a header.
    ///
    /// # Errors
    /// No segment, a segment of a later format, or a damaged header.
    pub fn read(bytes: &[u8; HEADER_LEN]) -> Result<Self, Error> {
        let mut rest = bytes.as_slice();
        if take::<8>(&mut rest) != MAGIC {
            return Err(Error::NotASegment);
        }
        let version = u16::from_le_bytes(take(&mut rest));
        if version != FORMAT_VERSION {
            return Err(Error::FormatVersion { version });
        }
        let crc = bytes.last_chunk().map_or(0, |crc| u32::from_le_bytes(*crc));
        if crc32c::crc32c(bytes.get(..CRC_AT).unwrap_or_default()) != crc {
            return Err(Error::Header("its checksum does not match"));
        }
        let flags = u16::from_le_bytes(take(&mut rest));
        let len = u32::from_le_bytes(take(&mut rest));
        let mut header = Self {
            number: u64::from_le_bytes(take(&mut rest)),
            id: take(&mut rest),
            begun_unix_us: i64::from_le_bytes(take(&mut rest)),
            boot: take(&mut rest),
            previous_root: Digest(take(&mut rest)),
            public_key: take(&mut rest),
            salt_secret: take(&mut rest),
            ..Self::default()
        };
        let [hash, compression, encryption, count] = take(&mut rest);
        header.compression = compression_of(compression)?;
        let known = match encryption {
            0 => flags == 0 && count == 0,
            HPKE => flags == SALTS_ARE_SECRET && header.salt_secret == [0; 32] && (1..=32).contains(&count),
            _ => false,
        };
        if hash != BLAKE3 || !known || take::<4>(&mut rest) != [0; 4] {
            return Err(UNKNOWN_ENCODING);
        }
        if len as usize != HEADER_LEN {
            return Err(Error::Header("its length is not 4096"));
        }
        header.node = node_of(&take(&mut rest)).ok_or(Error::Header("its node name is malformed"))?;
        let zeros: [u8; 24] = take(&mut rest);
        header.envelopes = (0..count)
            .map(|_| Envelope {
                recipient: take(&mut rest),
                encapsulated: take(&mut rest),
                sealed: take(&mut rest),
            })
            .collect();
        let unused = rest.split_last_chunk::<4>().map_or(&[][..], |(unused, _crc)| unused);
        if zeros != [0; 24] || unused.iter().any(|&byte| byte != 0) {
            return Err(Error::Header("bytes that must be zero are not"));
        }
        Ok(header)
    }
}

/// A node's name, of which `NODE_LEN` bytes count, as headers and tombstones hold it.
pub(crate) fn node_bytes(node: &str) -> [u8; 1 + NODE_LEN] {
    let mut bytes = [0; 1 + NODE_LEN];
    let end = node.floor_char_boundary(NODE_LEN);
    let node = node.as_bytes().get(..end).unwrap_or_default();
    let mut out = bytes.as_mut_slice();
    put(&mut out, &[node.len() as u8]);
    put(&mut out, node);
    bytes
}

/// `None`: malformed.
pub(crate) fn node_of(bytes: &[u8; 1 + NODE_LEN]) -> Option<String> {
    let (&len, node) = bytes.split_first()?;
    Some(std::str::from_utf8(node.get(..usize::from(len))?).ok()?.to_owned())
}

const UNKNOWN_ENCODING: Error =
    Error::Header("it uses compression or encryption that this version of Weir does not know");

const fn compression_of(code: u8) -> Result<Compression, Error> {
    match code {
        0 => Ok(Compression::None),
        1 => Ok(Compression::Zstd),
        _ => Err(UNKNOWN_ENCODING),
    }
}

/// Hash of a laid-out header: what every session's chain in this segment begins with.
pub(crate) fn digest(bytes: &[u8; HEADER_LEN]) -> Digest {
    hash::header(bytes)
}
