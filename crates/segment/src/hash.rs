//! The hashes of the format: BLAKE3 in keyed mode, one public key a purpose, so that no hash can pass for another.
//!
//! | what | key | input |
//! |---|---|---|
//! | leaf | `weir segment event leaf, v1` | salt (16) ‖ previous leaf of the session (32) ‖ head (80) ‖ body |
//! | tree | `weir segment tree, v1` | the leaves of all events in order, 32 bytes each |
//! | header | `weir segment header, v1` | the header's 4096 bytes |
//! | index | `weir segment index, v1` | the payloads of all index frames in order |
//!
//! Keys are the ASCII text, zero-padded to 32 bytes. The tree's inner nodes are BLAKE3's own (`merkle.rs`). One leaf hash
//! serves chain and tree. A session's first leaf in a
//! segment has the segment's header hash for its previous leaf, which ties it to this segment.
//!
//! Salt of event i: bytes 16 i .. 16 i + 16 of the output stream of BLAKE3 keyed with the segment's salt secret over
//! the ASCII text `weir segment salts, v1`. Showing one salt tells nothing of the others, so one event can be disclosed
//! beside the bare leaves of its neighbours.

use std::fmt;

use blake3::hazmat::{self, HasherExt, Mode};

const fn key(purpose: &[u8]) -> [u8; 32] {
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

const LEAF_KEY: [u8; 32] = key(b"weir segment event leaf, v1");
const TREE_KEY: [u8; 32] = key(b"weir segment tree, v1");
const HEADER_KEY: [u8; 32] = key(b"weir segment header, v1");
const INDEX_KEY: [u8; 32] = key(b"weir segment index, v1");
const SALTS_INPUT: &[u8] = b"weir segment salts, v1";

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
        let mut stream = blake3::Hasher::new_keyed(secret).update(SALTS_INPUT).finalize_xof();
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

impl fmt::Debug for Salts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Salts(..)")
    }
}
