//! A segment's header: its first 4096 bytes, laid out as FORMAT.md, "Header", says.

use crate::Error;
use crate::event::{put, take};
use crate::hash::{self, Digest};

/// Bytes of a segment's header.
pub const HEADER_LEN: usize = 4096;
pub(crate) const MAGIC: [u8; 8] = *b"WEIRSEG\0";
pub(crate) const FORMAT_VERSION: u16 = 1;
const NODE_LEN: usize = 63;
const ZEROS_AT: usize = 232;
const CRC_AT: usize = HEADER_LEN - 4;

/// What a segment says of itself before its first event.
#[derive(Clone, PartialEq, Eq)]
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
    /// 32 random bytes: what every salt is made from.
    pub salt_secret: [u8; 32],
    /// At most 63 bytes; more is cut off.
    pub node: String,
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
    /// Lays the header out.
    #[must_use]
    pub fn write(&self) -> Box<[u8; HEADER_LEN]> {
        let mut bytes = Box::new([0; HEADER_LEN]);
        let mut out = bytes.as_mut_slice();
        put(&mut out, &MAGIC);
        put(&mut out, &FORMAT_VERSION.to_le_bytes());
        put(&mut out, &[0; 2]);
        put(&mut out, &(HEADER_LEN as u32).to_le_bytes());
        put(&mut out, &self.number.to_le_bytes());
        put(&mut out, &self.id);
        put(&mut out, &self.begun_unix_us.to_le_bytes());
        put(&mut out, &self.boot);
        put(&mut out, &self.previous_root.0);
        put(&mut out, &self.public_key);
        put(&mut out, &self.salt_secret);
        put(&mut out, &[1, 0, 0, 0, 0, 0, 0, 0]);
        let end = self.node.floor_char_boundary(NODE_LEN);
        let node = self.node.as_bytes().get(..end).unwrap_or_default();
        put(&mut out, &[node.len() as u8]);
        put(&mut out, node);
        let crc = crc32c::crc32c(bytes.get(..CRC_AT).unwrap_or_default()).to_le_bytes();
        if let Some(place) = bytes.get_mut(CRC_AT..) {
            place.copy_from_slice(&crc);
        }
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
        let flags = take::<2>(&mut rest);
        let len = u32::from_le_bytes(take(&mut rest));
        let header = Self {
            number: u64::from_le_bytes(take(&mut rest)),
            id: take(&mut rest),
            begun_unix_us: i64::from_le_bytes(take(&mut rest)),
            boot: take(&mut rest),
            previous_root: Digest(take(&mut rest)),
            public_key: take(&mut rest),
            salt_secret: take(&mut rest),
            node: String::new(),
        };
        if flags != [0; 2] || take::<8>(&mut rest) != [1, 0, 0, 0, 0, 0, 0, 0] {
            return Err(Error::Header(
                "it uses compression or encryption that this version of Weir does not know",
            ));
        }
        if len as usize != HEADER_LEN {
            return Err(Error::Header("its length is not 4096"));
        }
        let [node_len] = take::<1>(&mut rest);
        let node = take::<NODE_LEN>(&mut rest);
        let node = node.get(..usize::from(node_len)).and_then(|node| std::str::from_utf8(node).ok());
        let node = node.ok_or(Error::Header("its node name is malformed"))?.to_owned();
        let zeros = bytes.get(ZEROS_AT..CRC_AT).unwrap_or_default();
        if zeros.iter().any(|&byte| byte != 0) {
            return Err(Error::Header("bytes that must be zero are not"));
        }
        Ok(Self { node, ..header })
    }
}

/// Hash of a laid-out header: what every session's chain in this segment begins with.
pub(crate) fn digest(bytes: &[u8; HEADER_LEN]) -> Digest {
    hash::header(bytes)
}
