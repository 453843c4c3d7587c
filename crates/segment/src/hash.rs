//! The hashes of the format: BLAKE3 in keyed mode, one public key a purpose, so that no hash can pass for another. Inputs
//! and keys stand in FORMAT.md, "Hashes".
//!
//! One leaf hash serves chain and tree; the tree's inner nodes are BLAKE3's own (`merkle.rs`). A session's first leaf in a
//! segment has the segment's header hash for its previous leaf, which ties it to this segment. Showing one salt tells
//! nothing of the others, so one event can be disclosed beside the bare leaves of its neighbours.

use std::fmt;

use blake3::hazmat::{self, HasherExt, Mode};
use zeroize::Zeroize as _;

pub(crate) const fn key(purpose: &[u8]) -> [u8; 32] {
    let mut key = [0; 32];
    let mut at = 0;
    while at < purpose.len() {
        #[expect(clippy::indexing_slicing, reason = "evaluated by the compiler")]
        {
            key[at] = purpose[at];
        }
        at += 1;
    }
    key
}

pub(crate) const LEAF_KEY: [u8; 32] = key(b"weir segment event leaf, v1");
pub(crate) const TREE_KEY: [u8; 32] = key(b"weir segment tree, v1");
pub(crate) const HEADER_KEY: [u8; 32] = key(b"weir segment header, v1");
pub(crate) const INDEX_KEY: [u8; 32] = key(b"weir segment index, v1");
pub(crate) const STORED_KEY: [u8; 32] = key(b"weir segment stored bytes, v1");
pub(crate) const SALTS_INPUT: &[u8] = b"weir segment salts, v1";

/// Bytes of an event's salt.
pub(crate) const SALT_LEN: usize = 16;
/// Bytes of salt and previous leaf, which the hash input begins with.
pub(crate) const LEAF_PREFIX_LEN: usize = SALT_LEN + 32;

/// A BLAKE3 hash.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Digest(pub [u8; 32]);

impl Digest {
    pub(crate) const ZERO: Self = Self([0; 32]);
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Lower-case hexadecimal digits, as everything of this format is written in text.
pub(crate) fn to_hex(bytes: &[u8]) -> String {
    let digit = |value: u8| char::from_digit(value.into(), 16).unwrap_or_default();
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}

/// Reads what [`to_hex`] wrote: nothing has two spellings.
pub(crate) fn from_hex(text: &str) -> Option<Vec<u8>> {
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    let digit = |digit: u8| match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    };
    let byte = |&[high, low]: &[u8; 2]| Some((digit(high)? << 4) | digit(low)?);
    if rest.is_empty() { pairs.iter().map(byte).collect() } else { None }
}

/// Leaf of `prefixed`: salt, previous leaf and event in one piece.
pub(crate) fn leaf(prefixed: &[u8]) -> Digest {
    Digest(*blake3::keyed_hash(&LEAF_KEY, prefixed).as_bytes())
}

/// Hashes leaves into the tree's root.
pub(crate) fn tree() -> blake3::Hasher {
    blake3::Hasher::new_keyed(&TREE_KEY)
}

/// Value of a chunk of the tree that is not all of it: 1 to 32 leaves, of which the first is at `offset` in the input.
pub(crate) fn chunk(leaves: &[u8], offset: u64) -> Digest {
    Digest(tree().set_input_offset(offset).update(leaves).finalize_non_root())
}

/// Value of two neighbours that are not all of the tree.
pub(crate) fn node(left: &Digest, right: &Digest) -> Digest {
    Digest(hazmat::merge_subtrees_non_root(&left.0, &right.0, Mode::KeyedHash(&TREE_KEY)))
}

/// Root of a tree of these two halves.
pub(crate) fn root(left: &Digest, right: &Digest) -> Digest {
    Digest(*hazmat::merge_subtrees_root(&left.0, &right.0, Mode::KeyedHash(&TREE_KEY)).as_bytes())
}

pub(crate) fn header(bytes: &[u8]) -> Digest {
    Digest(*blake3::keyed_hash(&HEADER_KEY, bytes).as_bytes())
}

/// Hashes the stored bytes of a segment in order, and counts them.
#[derive(Clone, Debug)]
pub(crate) struct StoredHash {
    hasher: Box<blake3::Hasher>,
    len: u64,
}

impl StoredHash {
    pub(crate) fn new() -> Self {
        Self { hasher: Box::new(blake3::Hasher::new_keyed(&STORED_KEY)), len: 0 }
    }

    pub(crate) fn update(&mut self, bytes: &[u8]) {
        self.hasher.update(bytes);
        self.len += bytes.len() as u64;
    }

    pub(crate) fn finish(&self) -> Digest {
        Digest(*self.hasher.finalize().as_bytes())
    }

    /// Bytes that were hashed.
    pub(crate) const fn len(&self) -> u64 {
        self.len
    }
}

/// Hashes an index piece by piece.
#[derive(Clone, Debug)]
pub(crate) struct IndexHash(Box<blake3::Hasher>);

impl IndexHash {
    pub(crate) fn new() -> Self {
        Self(Box::new(blake3::Hasher::new_keyed(&INDEX_KEY)))
    }

    pub(crate) fn update(&mut self, payload: &[u8]) {
        self.0.update(payload);
    }

    pub(crate) fn finish(&self) -> Digest {
        Digest(*self.0.finalize().as_bytes())
    }
}

/// The salts of a segment in order, made a page at a time.
pub(crate) struct Salts {
    stream: blake3::OutputReader,
    page: Box<[u8; Self::PAGE_LEN]>,
    used: usize,
}

impl Salts {
    const PAGE_LEN: usize = 4096;

    /// Salts from event `first` on.
    pub(crate) fn new(secret: &[u8; 32], first: u64) -> Self {
        let mut hasher = blake3::Hasher::new_keyed(secret);
        let mut stream = hasher.update(SALTS_INPUT).finalize_xof();
        hasher.zeroize();
        stream.set_position(first.wrapping_mul(SALT_LEN as u64));
        Self { stream, page: Box::new([0; Self::PAGE_LEN]), used: Self::PAGE_LEN }
    }

    pub(crate) fn next(&mut self) -> [u8; SALT_LEN] {
        if self.used >= Self::PAGE_LEN {
            self.stream.fill(self.page.as_mut_slice());
            self.used = 0;
        }
        let salt = self.page.get(self.used..).and_then(|rest| rest.first_chunk().copied());
        self.used += SALT_LEN;
        salt.unwrap_or_default()
    }
}

impl Drop for Salts {
    fn drop(&mut self) {
        self.stream.zeroize();
        self.page.zeroize();
    }
}

impl fmt::Debug for Salts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Salts(..)")
    }
}
