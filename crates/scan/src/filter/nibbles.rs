//! Sets of bytes as two shuffles tell them: by low and by high half-byte, each alone. Such a set may hold more bytes
//! than it was made of, never fewer.

use super::shape::ByteSet;

/// Bit `n` stands for the half-byte `n`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Nibbles {
    pub(super) low: u16,
    pub(super) high: u16,
}

impl Nibbles {
    pub(super) const ALL: Self = Self { low: u16::MAX, high: u16::MAX };

    pub(super) const fn contains(self, byte: u8) -> bool {
        self.low >> (byte & 15) & self.high >> (byte >> 4) & 1 == 1
    }

    pub(super) const fn union(self, other: Self) -> Self {
        Self { low: self.low | other.low, high: self.high | other.high }
    }
}

impl From<ByteSet> for Nibbles {
    fn from(set: ByteSet) -> Self {
        let mut nibbles = Self::default();
        for byte in (0..=u8::MAX).filter(|byte| set.contains(*byte)) {
            nibbles.low |= 1 << (byte & 15);
            nibbles.high |= 1 << (byte >> 4);
        }
        nibbles
    }
}
