//! The tree over a segment's leaves: its root as leaves arrive, and the path of one leaf. It is BLAKE3's own tree over
//! the leaves one after the other: chunks of 32 leaves, and binary from there up.
//!
//! So the root is an ordinary keyed hash, of which many chunks are made at once, and costs a tenth of a tree that hashes
//! each leaf with its neighbour. A path pays for it: up to 31 leaves of the same chunk come before its siblings.
//!
//! Memory is a fixed number of leaves and one hash a level: the leaves are never kept.

use crate::hash::{self, Digest};

/// Leaves in a chunk: BLAKE3's 1024 bytes.
pub(crate) const CHUNK_LEAVES: usize = 32;
const CHUNK_LEN: u64 = 1024;
/// Bytes of leaves hashed together: as many chunks as the widest vectors take.
const GATHERED_LEN: usize = 16 * CHUNK_LEN as usize;

/// A tree that grows at its right end.
#[derive(Clone, Debug)]
pub(crate) struct Tree {
    hasher: Box<blake3::Hasher>,
    /// Leaves that are not hashed yet.
    gathered: Vec<u8>,
    len: u64,
}

impl Default for Tree {
    fn default() -> Self {
        Self { hasher: Box::new(hash::tree()), gathered: Vec::with_capacity(GATHERED_LEN), len: 0 }
    }
}

impl Tree {
    pub(crate) const fn len(&self) -> u64 {
        self.len
    }

    pub(crate) fn push(&mut self, leaf: Digest) {
        self.gathered.extend_from_slice(&leaf.0);
        self.len += 1;
        if self.gathered.len() >= GATHERED_LEN {
            self.hasher.update(&self.gathered);
            self.gathered.clear();
        }
    }

    pub(crate) fn root(&self) -> Digest {
        Digest(*self.hasher.clone().update(&self.gathered).finalize().as_bytes())
    }
}

/// Gathers the path of one leaf while all leaves of its tree go by.
#[derive(Clone, Debug)]
pub(crate) struct PathFinder {
    target: u64,
    /// Leaves of the last chunk.
    chunk: Vec<Digest>,
    /// Chunks before it.
    chunks: u64,
    /// Subtrees of those, largest first; whether each holds the target.
    peaks: Vec<(Digest, bool)>,
    path: Vec<Digest>,
}

impl PathFinder {
    pub(crate) const fn new(target: u64) -> Self {
        Self { target, chunk: Vec::new(), chunks: 0, peaks: Vec::new(), path: Vec::new() }
    }

    pub(crate) fn push(&mut self, leaf: Digest) {
        if self.chunk.len() == CHUNK_LEAVES {
            let mut right = self.end_chunk();
            for _ in 0..self.chunks.trailing_ones() {
                let Some(left) = self.peaks.pop() else { break };
                right = self.join(left, right);
            }
            self.peaks.push(right);
            self.chunks += 1;
        }
        self.chunk.push(leaf);
    }

    fn end_chunk(&mut self) -> (Digest, bool) {
        let holds = self.chunks == self.target / CHUNK_LEAVES as u64;
        if holds {
            let place = (self.target % CHUNK_LEAVES as u64) as usize;
            let others = self.chunk.iter().enumerate().filter(|(other, _)| *other != place);
            self.path.extend(others.map(|(_, leaf)| *leaf));
        }
        let value = hash::chunk(bytes(&self.chunk).as_slice(), self.chunks.saturating_mul(CHUNK_LEN));
        self.chunk.clear();
        (value, holds)
    }

    fn join(&mut self, left: (Digest, bool), right: (Digest, bool)) -> (Digest, bool) {
        if left.1 {
            self.path.push(right.0);
        } else if right.1 {
            self.path.push(left.0);
        }
        (hash::node(&left.0, &right.0), left.1 || right.1)
    }

    /// The other leaves of the leaf's chunk in order, then siblings from the chunk up. `None`: the target never came.
    pub(crate) fn finish(mut self) -> Option<Vec<Digest>> {
        if self.target >= self.chunks * CHUNK_LEAVES as u64 + self.chunk.len() as u64 {
            return None;
        }
        let mut right = self.end_chunk();
        while let Some(left) = self.peaks.pop() {
            right = self.join(left, right);
        }
        Some(self.path)
    }
}

fn bytes(leaves: &[Digest]) -> Vec<u8> {
    leaves.iter().flat_map(|leaf| leaf.0).collect()
}

/// The root that `leaf` at `index` and its `path` lead to, in a tree of `len` leaves. `None`: no such place or length.
pub(crate) fn root_from_path(leaf: Digest, index: u64, len: u64, path: &[Digest]) -> Option<Digest> {
    if index >= len {
        return None;
    }
    let leaves = CHUNK_LEAVES as u64;
    let (mut place, mut last) = (index / leaves, (len - 1) / leaves);
    let in_chunk = if place == last { (len - 1) % leaves } else { leaves - 1 };
    let (others, siblings) = path.split_at_checked(in_chunk as usize)?;
    let (before, after) = others.split_at_checked((index % leaves) as usize)?;
    let chunk = bytes(&[before, &[leaf], after].concat());
    let mut siblings = siblings.iter();
    if last == 0 {
        let root = Digest(*hash::tree().update(&chunk).finalize().as_bytes());
        return siblings.next().is_none().then_some(root);
    }
    let mut hash = hash::chunk(&chunk, place.checked_mul(CHUNK_LEN)?);
    while last > 0 {
        let join = if last == 1 { hash::root } else { hash::node };
        if place & 1 == 1 {
            hash = join(siblings.next()?, &hash);
        } else if place < last {
            hash = join(&hash, siblings.next()?);
        }
        place >>= 1;
        last >>= 1;
    }
    siblings.next().is_none().then_some(hash)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn leaf(number: u64) -> Digest {
        hash::leaf(&number.to_le_bytes())
    }

    /// Chunks and subtrees one by one, as BLAKE3's paper has them: the left one is the largest power of two.
    fn recursive(leaves: &[Digest], first: usize, join: fn(&Digest, &Digest) -> Digest) -> Digest {
        if leaves.len() <= CHUNK_LEAVES {
            return hash::chunk(&bytes(leaves), (first * 32) as u64);
        }
        let chunks = leaves.len().div_ceil(CHUNK_LEAVES);
        let (left, right) = leaves.split_at(chunks.next_power_of_two() / 2 * CHUNK_LEAVES);
        let right_first = first + left.len();
        join(&recursive(left, first, hash::node), &recursive(right, right_first, hash::node))
    }

    #[test]
    fn the_growing_root_is_the_definitions_and_every_path_leads_to_it() {
        let leaves: Vec<Digest> = (0..161).map(leaf).collect();
        for len in [1, 2, 31, 32, 33, 63, 64, 65, 96, 97, 128, 129, 161_usize] {
            let mut tree = Tree::default();
            leaves[..len].iter().for_each(|leaf| tree.push(*leaf));
            let root = tree.root();
            if len > CHUNK_LEAVES {
                assert_eq!(recursive(&leaves[..len], 0, hash::root), root, "{len} leaves");
            }
            let len = len as u64;
            for index in 0..len {
                let mut finder = PathFinder::new(index);
                leaves[..len as usize].iter().for_each(|leaf| finder.push(*leaf));
                let path = finder.finish().unwrap();
                assert_eq!(root_from_path(leaf(index), index, len, &path), Some(root), "{index} of {len}");
                assert_ne!(root_from_path(leaf(index + 1), index, len, &path), Some(root));
                if len > 1 {
                    assert_ne!(root_from_path(leaf(index), (index + 1) % len, len, &path), Some(root));
                    assert_eq!(root_from_path(leaf(index), index, len, &path[..path.len() - 1]), None);
                }
                let longer = [path.as_slice(), &[root]].concat();
                assert_eq!(root_from_path(leaf(index), index, len, &longer), None);
            }
        }
        assert_eq!(PathFinder::new(0).finish(), None);
    }

    #[test]
    fn a_root_is_an_ordinary_keyed_hash_of_the_leaves_however_many() {
        let mut tree = Tree::default();
        let mut all = hash::tree();
        for number in 0..2_000 {
            if number % 97 == 0 {
                assert_eq!(tree.root().0, *all.finalize().as_bytes(), "{number} leaves");
            }
            tree.push(leaf(number));
            all.update(&leaf(number).0);
        }
    }

    #[test]
    fn places_that_no_tree_has_are_refused_and_never_a_panic() {
        for (index, len) in
            [(0, 0), (7, 7), (u64::MAX, u64::MAX), (u64::MAX - 1, u64::MAX), (1 << 60, u64::MAX)]
        {
            for path_len in [0, 30, 31, 32, 90, 91, 92] {
                let _ = root_from_path(leaf(0), index, len, &vec![leaf(1); path_len]);
            }
        }
        assert_eq!(root_from_path(leaf(0), 7, 7, &[]), None);
    }
}
