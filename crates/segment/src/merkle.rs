//! The Merkle tree over a segment's leaves: its root as leaves arrive, and the path of one leaf. The shape is RFC 6962's.
//!
//! Memory is one hash a level: leaves are never kept.

use crate::hash::{self, Digest};

/// A tree that grows at its right end.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tree {
    /// Roots of the complete subtrees, largest first: one for each set bit of `len`.
    peaks: Vec<Digest>,
    len: u64,
}

impl Tree {
    pub(crate) const fn len(&self) -> u64 {
        self.len
    }

    pub(crate) fn push(&mut self, leaf: Digest) {
        let mut right = leaf;
        for _ in 0..self.len.trailing_ones() {
            let Some(left) = self.peaks.pop() else { break };
            right = hash::node(&left, &right);
        }
        self.peaks.push(right);
        self.len += 1;
    }

    pub(crate) fn root(&self) -> Digest {
        let mut peaks = self.peaks.iter().rev().copied();
        let Some(last) = peaks.next() else { return hash::empty_tree() };
        peaks.fold(last, |right, left| hash::node(&left, &right))
    }
}

/// Gathers the path of one leaf while all leaves of its tree go by.
#[derive(Clone, Debug)]
pub(crate) struct PathFinder {
    target: u64,
    /// Subtrees so far, largest first; whether each holds the target.
    peaks: Vec<(Digest, bool)>,
    len: u64,
    path: Vec<Digest>,
}

impl PathFinder {
    pub(crate) const fn new(target: u64) -> Self {
        Self { target, peaks: Vec::new(), len: 0, path: Vec::new() }
    }

    pub(crate) fn push(&mut self, leaf: Digest) {
        let mut right = (leaf, self.len == self.target);
        for _ in 0..self.len.trailing_ones() {
            let Some(left) = self.peaks.pop() else { break };
            right = self.join(left, right);
        }
        self.peaks.push(right);
        self.len += 1;
    }

    fn join(&mut self, left: (Digest, bool), right: (Digest, bool)) -> (Digest, bool) {
        if left.1 {
            self.path.push(right.0);
        } else if right.1 {
            self.path.push(left.0);
        }
        (hash::node(&left.0, &right.0), left.1 || right.1)
    }

    /// Siblings from the leaf up. `None`: the target never came.
    pub(crate) fn finish(mut self) -> Option<Vec<Digest>> {
        if self.target >= self.len {
            return None;
        }
        let mut right = self.peaks.pop()?;
        while let Some(left) = self.peaks.pop() {
            right = self.join(left, right);
        }
        Some(self.path)
    }
}

/// The root that `leaf` at `index` and its `path` lead to, in a tree of `len` leaves. `None`: no such place or length.
pub(crate) fn root_from_path(leaf: Digest, index: u64, len: u64, path: &[Digest]) -> Option<Digest> {
    if index >= len {
        return None;
    }
    let (mut place, mut last, mut hash) = (index, len - 1, leaf);
    let mut siblings = path.iter();
    while last > 0 {
        if place & 1 == 1 {
            hash = hash::node(siblings.next()?, &hash);
        } else if place < last {
            hash = hash::node(&hash, siblings.next()?);
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

    /// RFC 6962, section 2.1, word for word.
    fn recursive_root(leaves: &[Digest]) -> Digest {
        match leaves {
            [] => hash::empty_tree(),
            [one] => *one,
            many => {
                let split = many.len().next_power_of_two() / 2;
                hash::node(&recursive_root(&many[..split]), &recursive_root(&many[split..]))
            }
        }
    }

    #[test]
    fn the_growing_root_is_the_definitions_and_every_path_leads_to_it() {
        let mut tree = Tree::default();
        let mut leaves = Vec::new();
        for len in 0..70_u64 {
            let root = recursive_root(&leaves);
            assert_eq!(tree.root(), root, "{len} leaves");
            for index in 0..len {
                let mut finder = PathFinder::new(index);
                leaves.iter().for_each(|leaf| finder.push(*leaf));
                let path = finder.finish().unwrap();
                assert_eq!(root_from_path(leaf(index), index, len, &path), Some(root));
                assert_ne!(root_from_path(leaf(index + 1), index, len, &path), Some(root));
                if len > 1 {
                    assert_ne!(root_from_path(leaf(index), (index + 1) % len, len, &path), Some(root));
                }
                assert_eq!(
                    root_from_path(leaf(index), index, len, &path[..path.len().max(1) - 1]).is_none(),
                    len > 1
                );
            }
            tree.push(leaf(len));
            leaves.push(leaf(len));
        }
        assert_eq!(PathFinder::new(0).finish(), None);
    }
}
