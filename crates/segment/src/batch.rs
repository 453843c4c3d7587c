//! Frames on their way to the file: one piece of memory, aligned for direct I/O, used again for every commit.
//!
//! It is zeroed when it grows and never again: who takes room writes all of it.

use std::ops::Deref;

use rkyv::util::AlignedVec;

/// Frames on their way to the file, aligned for direct I/O.
#[derive(Debug, Default)]
pub struct Batch {
    /// Longer than what is used: what lies behind was written out before.
    memory: AlignedVec<4096>,
    len: usize,
}

impl Batch {
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A batch that holds `capacity` bytes before it grows. Its memory is met when it is used.
    #[must_use]
    pub fn with_capacity(capacity: usize) -> Self {
        Self { memory: AlignedVec::with_capacity(capacity), len: 0 }
    }

    /// Begins anew. The memory stays.
    pub const fn clear(&mut self) {
        self.len = 0;
    }

    pub fn extend_from_slice(&mut self, bytes: &[u8]) {
        self.room(bytes.len()).copy_from_slice(bytes);
    }

    /// `len` more bytes at the end, whose content is arbitrary.
    pub(crate) fn room(&mut self, len: usize) -> &mut [u8] {
        let start = self.len;
        self.len += len;
        if self.memory.len() < self.len {
            self.memory.resize(self.len, 0);
        }
        self.memory.get_mut(start..self.len).unwrap_or_default()
    }
}

impl Deref for Batch {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.memory.get(..self.len).unwrap_or_default()
    }
}
