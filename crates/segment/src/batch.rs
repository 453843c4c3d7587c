//! Frames on their way to the file: one piece of memory, aligned for direct I/O, used again for every commit; and the
//! digest of all bytes of a segment that went through it, hashed while they are still in the caches.
//!
//! It is zeroed when it grows and never again: who takes room writes all of it.

use std::ops::Deref;

use rkyv::util::AlignedVec;

use crate::Error;
use crate::hash::{Digest, StoredHash};

/// Bytes that are hashed together: enough to fill the widest vectors. Counted from the segment's beginning, since BLAKE3
/// joins subtrees that begin at multiples of their length.
const HASHED_LEN: usize = 64 << 10;

/// Frames of one segment on their way to the file, aligned for direct I/O.
#[derive(Debug, Default)]
pub struct Batch {
    /// Longer than what is used: what lies behind was written out before.
    memory: AlignedVec<4096>,
    len: usize,
    /// The open segment's, where it needs one.
    hash: Option<StoredHash>,
    /// How much of the memory it has.
    hashed: usize,
    /// Where frames begin that are not whole yet.
    unsettled: Option<usize>,
}

impl Batch {
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A batch that holds `capacity` bytes before it grows. Its memory is met when it is used.
    #[must_use]
    pub fn with_capacity(capacity: usize) -> Self {
        Self { memory: AlignedVec::with_capacity(capacity), ..Self::default() }
    }

    /// Begins anew, once what it holds was written. The memory stays.
    pub fn clear(&mut self) {
        self.hash_to(self.len);
        (self.len, self.hashed, self.unsettled) = (0, 0, None);
    }

    pub fn extend_from_slice(&mut self, bytes: &[u8]) {
        self.room(bytes.len()).copy_from_slice(bytes);
    }

    /// What follows belongs to a segment of which `hash` knows what there is already; `None`: it needs no digest.
    pub(crate) fn begin(&mut self, hash: Option<StoredHash>) {
        (self.hash, self.hashed) = (hash, self.len);
    }

    /// `len` more bytes at the end, whose content is arbitrary.
    pub(crate) fn room(&mut self, len: usize) -> &mut [u8] {
        let waiting = self.unsettled.unwrap_or(self.len).saturating_sub(self.hashed);
        if let Some(hash) = self.hash.as_ref().filter(|_| waiting >= HASHED_LEN) {
            let over = (hash.len() + waiting as u64) % HASHED_LEN as u64;
            self.hash_to(self.hashed + waiting - over as usize);
        }
        let start = self.len;
        self.len += len;
        if self.memory.len() < self.len {
            self.memory.resize(self.len, 0);
        }
        self.memory.get_mut(start..self.len).unwrap_or_default()
    }

    /// Room as [`Batch::room`] gives it, which is not hashed before [`Batch::settle`].
    pub(crate) fn unsettled_room(&mut self, len: usize) -> &mut [u8] {
        let start = self.len;
        self.unsettled.get_or_insert(start);
        self.room(len)
    }

    /// Everything that was not written yet.
    pub(crate) fn unsettled_bytes(&mut self) -> &mut [u8] {
        self.memory.get_mut(..self.len).unwrap_or_default()
    }

    /// All frames are whole.
    pub(crate) const fn settle(&mut self) {
        self.unsettled = None;
    }

    /// Gives back what is behind the first `len` bytes: at most what the last call of `room` gave.
    pub(crate) fn shrink(&mut self, len: usize) {
        self.len = self.len.min(len);
    }

    /// The digest of all bytes of the segment so far, which are `len`.
    ///
    /// # Errors
    /// The caller's: some went elsewhere.
    pub(crate) fn stored_digest(&mut self, len: u64) -> Result<Digest, Error> {
        self.hash_to(self.len);
        let found = self.hash.as_ref().map_or(0, StoredHash::len);
        let hash = self.hash.as_ref().filter(|_| found == len);
        hash.map(StoredHash::finish).ok_or(Error::Batch { found, len })
    }

    fn hash_to(&mut self, end: usize) {
        if let Some(hash) = &mut self.hash {
            hash.update(self.memory.get(self.hashed..end).unwrap_or_default());
        }
        self.hashed = end;
    }
}

impl Deref for Batch {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.memory.get(..self.len).unwrap_or_default()
    }
}
