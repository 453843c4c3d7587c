//! Many leaves hashed at once. A leaf by itself is BLAKE3's blocks one after another, of which vectors gain nothing; leaves whose
//! previous ones are known, as a reader's are, do not wait for each other, and go through the vectors side by side.
//!
//! It computes what [`hash::leaf`] computes, by the library's own compression. The library offers that undocumented, so that a
//! test holds every length against the documented hash. It does not know what a leaf is made of.

use std::ops::Range;

use blake3::hazmat::{self, Mode};
use blake3::platform::Platform;
use blake3::{BLOCK_LEN, CHUNK_LEN, IncrementCounter};
use zeroize::Zeroize as _;

use crate::hash::{self, Digest, LEAF_KEY};

const CHUNK_START: u8 = 1;
const CHUNK_END: u8 = 2;
const ROOT: u8 = 8;
const KEYED_HASH: u8 = 16;
/// Longer inputs fill the vectors by themselves.
const MAX_LEN: usize = 4 * CHUNK_LEN;
/// Inputs are gathered until there are so many, or so many bytes of them.
const MAX_INPUTS: usize = 64;
const MAX_BYTES: usize = 64 << 10;
const LANES: usize = 16;

/// Hashes many leaves' inputs that lie in one piece of memory.
#[derive(Debug, Default)]
pub(crate) struct Hasher {
    chunks: Vec<Chunk>,
    leaves: Vec<Digest>,
}

impl Hasher {
    /// The leaves of these places in `bytes`, in their order.
    pub(crate) fn hash(&mut self, bytes: &[u8], inputs: impl Iterator<Item = Range<usize>>) -> &[Digest] {
        let platform = Platform::detect();
        let Self { chunks, leaves } = self;
        chunks.clear();
        leaves.clear();
        for (input, range) in (0..).zip(inputs) {
            if range.len() > MAX_LEN {
                leaves.push(hash::leaf(bytes.get(range).unwrap_or_default()));
                continue;
            }
            leaves.push(Digest::ZERO);
            let count = range.len().div_ceil(CHUNK_LEN).max(1);
            for counter in 0..count {
                let start = range.start + counter * CHUNK_LEN;
                let len = (range.end - start).min(CHUNK_LEN);
                let counter = counter as u32;
                chunks.push(Chunk { input, counter, start, len, is_only: count == 1, value: LEAF_KEY });
            }
        }
        chunks.sort_unstable_by_key(|chunk| (chunk.whole_blocks(), chunk.counter, chunk.input));
        let alike = |one: &Chunk, other: &Chunk| {
            (one.whole_blocks(), one.counter) == (other.whole_blocks(), other.counter)
        };
        for alike in chunks.chunk_by_mut(alike) {
            for lanes in alike.chunks_mut(LANES) {
                side_by_side(platform, bytes, lanes);
            }
        }
        for chunk in chunks.iter_mut() {
            end(platform, bytes, chunk);
        }
        chunks.sort_unstable_by_key(|chunk| (chunk.input, chunk.counter));
        for own in chunks.chunk_by(|one, other| one.input == other.input) {
            let leaf = own.first().and_then(|chunk| leaves.get_mut(chunk.input as usize));
            if let (Some(leaf), Some(root)) = (leaf, root(own)) {
                *leaf = root;
            }
        }
        leaves
    }
}

/// Leaves that were stated and are not computed yet.
#[derive(Debug)]
pub(crate) struct Leaves<P> {
    bytes: Vec<u8>,
    stated: Vec<(Range<usize>, Digest, P)>,
    hasher: Hasher,
}

/// A part of an input that is hashed by itself: whole blocks that others of the same count go beside, then its last block.
#[derive(Clone, Copy, Debug)]
struct Chunk {
    input: u32,
    counter: u32,
    start: usize,
    len: usize,
    is_only: bool,
    value: [u8; 32],
}

impl Chunk {
    /// Its blocks before the last one, which may be shorter or end the tree; all sixteen where neither is so.
    const fn whole_blocks(&self) -> usize {
        if self.len == CHUNK_LEN && !self.is_only {
            return CHUNK_LEN / BLOCK_LEN;
        }
        self.len.saturating_sub(1) / BLOCK_LEN
    }
}

impl<P> Default for Leaves<P> {
    fn default() -> Self {
        Self { bytes: Vec::new(), stated: Vec::new(), hasher: Hasher::default() }
    }
}

impl<P> Drop for Leaves<P> {
    fn drop(&mut self) {
        self.bytes.zeroize();
    }
}

impl<P> Leaves<P> {
    /// Gathers a leaf's input and what it is stated to come to. `place` comes back if it does not.
    ///
    /// # Errors
    /// The place of the first input that comes to something else.
    pub(crate) fn add(&mut self, input: &[u8], stated: Digest, place: P) -> Result<(), P> {
        if input.len() > MAX_LEN {
            self.check()?;
            return if hash::leaf(input) == stated { Ok(()) } else { Err(place) };
        }
        let start = self.bytes.len();
        self.bytes.extend_from_slice(input);
        self.stated.push((start..self.bytes.len(), stated, place));
        if self.stated.len() >= MAX_INPUTS || self.bytes.len() >= MAX_BYTES { self.check() } else { Ok(()) }
    }

    /// Computes what was gathered.
    ///
    /// # Errors
    /// As [`Leaves::add`].
    pub(crate) fn check(&mut self) -> Result<(), P> {
        let leaves = self.hasher.hash(&self.bytes, self.stated.iter().map(|(range, ..)| range.clone()));
        let wrong = self.stated.iter().zip(leaves).position(|((_, stated, _), leaf)| stated != leaf);
        self.bytes.clear();
        let place = wrong.map(|at| self.stated.swap_remove(at).2);
        self.stated.clear();
        place.map_or(Ok(()), Err)
    }
}

/// Takes the whole blocks of chunks that have the same number of them into their values.
fn side_by_side(platform: Platform, bytes: &[u8], lanes: &mut [Chunk]) {
    macro_rules! of_blocks {
        ($($blocks:literal)*) => {
            match lanes.first().map_or(0, Chunk::whole_blocks) {
                $($blocks => blocks::<{ $blocks * BLOCK_LEN }>(platform, bytes, lanes),)*
                _ => {}
            }
        };
    }
    of_blocks!(1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16);
}

fn blocks<const LEN: usize>(platform: Platform, bytes: &[u8], lanes: &mut [Chunk]) {
    let mut inputs: [&[u8; LEN]; LANES] = [&[0; LEN]; LANES];
    for (input, chunk) in inputs.iter_mut().zip(lanes.iter()) {
        if let Some(whole) = bytes.get(chunk.start..).and_then(<[u8]>::first_chunk) {
            *input = whole;
        }
    }
    let mut values = [0; 32 * LANES];
    let counter = lanes.first().map_or(0, |chunk| chunk.counter.into());
    let key = blake3::platform::words_from_le_bytes_32(&LEAF_KEY);
    let inputs = inputs.get(..lanes.len()).unwrap_or_default();
    let (no, ends) = (IncrementCounter::No, if LEN == CHUNK_LEN { CHUNK_END } else { 0 });
    platform.hash_many(inputs, &key, counter, no, KEYED_HASH, CHUNK_START, ends, &mut values);
    for (chunk, value) in lanes.iter_mut().zip(values.as_chunks::<32>().0) {
        chunk.value = *value;
    }
}

/// Takes a chunk's last block into its value.
fn end(platform: Platform, bytes: &[u8], chunk: &mut Chunk) {
    let whole = chunk.whole_blocks();
    if whole == CHUNK_LEN / BLOCK_LEN {
        return;
    }
    let from = chunk.start + whole * BLOCK_LEN;
    let last = bytes.get(from..chunk.start + chunk.len).unwrap_or_default();
    let mut block = [0; BLOCK_LEN];
    block.iter_mut().zip(last).for_each(|(to, from)| *to = *from);
    let begins = if whole == 0 { CHUNK_START } else { 0 };
    let is_root = if chunk.is_only { ROOT } else { 0 };
    let flags = KEYED_HASH | CHUNK_END | begins | is_root;
    let mut value = blake3::platform::words_from_le_bytes_32(&chunk.value);
    platform.compress_in_place(&mut value, &block, last.len() as u8, chunk.counter.into(), flags);
    chunk.value = blake3::platform::le_bytes_from_words_32(&value);
}

/// The hash of an input of these chunks.
fn root(chunks: &[Chunk]) -> Option<Digest> {
    let mode = Mode::KeyedHash(&LEAF_KEY);
    let pair = |left: &Chunk, right: &Chunk| hazmat::merge_subtrees_non_root(&left.value, &right.value, mode);
    let (left, right) = match chunks {
        [only] => return Some(Digest(only.value)),
        [left, right] => (left.value, right.value),
        [first, second, right] => (pair(first, second), right.value),
        [first, second, third, fourth] => (pair(first, second), pair(third, fourth)),
        _ => return None,
    };
    Some(Digest(*hazmat::merge_subtrees_root(&left, &right, mode).as_bytes()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test stops at the first surprise")]

    use super::*;

    #[test]
    fn leaves_of_every_length_are_what_the_library_makes_of_them_one_by_one() {
        let noise: Vec<u8> =
            (0..MAX_LEN as u32 + 2).map(|at| (at.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
        let mut leaves = Leaves::default();
        // Neighbours differ in length, and each length comes with others like it.
        for len in (0..=MAX_LEN + 1).flat_map(|len| [len, len / 2, MAX_LEN / 3]) {
            let input = &noise[..len];
            assert_eq!(leaves.add(input, hash::leaf(input), len), Ok(()), "{len}");
        }
        assert_eq!(leaves.check(), Ok(()));
    }

    #[test]
    fn the_first_leaf_that_is_another_is_named_and_nothing_is_left_behind() {
        let inputs: Vec<Vec<u8>> = (0..40_u8).map(|at| vec![at; 50 * usize::from(at)]).collect();
        for wrong in 0..inputs.len() {
            let mut leaves = Leaves::default();
            for (at, input) in inputs.iter().enumerate() {
                let leaf = hash::leaf(input);
                let stated = if at >= wrong && at % 3 == wrong % 3 { Digest::ZERO } else { leaf };
                leaves.add(input, stated, at).unwrap();
            }
            assert_eq!(leaves.check(), Err(wrong));
            assert_eq!((leaves.check(), leaves.bytes.len()), (Ok(()), 0));
        }
    }
}
