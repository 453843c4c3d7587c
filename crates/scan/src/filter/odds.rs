//! How often a shape is met by chance, in several kinds of text. It steers what is filtered and by which offsets: a bad
//! guess costs time, never a match.

use super::nibbles::Nibbles;
use super::shape::Before;

const KINDS: usize = 5;
/// The chance of a position in each kind of text.
pub(super) type Odds = [f32; KINDS];

/// How likely each byte is in each kind of text. Columns of one table differ more than whole tables do, so the kinds
/// are pure: prose, numbers with their separators, long numbers, random letters and digits, and any bytes.
pub(super) struct Texts([Odds; 256]);

impl Texts {
    pub(super) fn new() -> Self {
        let mut bytes = [[0.0; KINDS]; 256];
        for (odds, byte) in bytes.iter_mut().zip(0..=u8::MAX) {
            let prose = match byte {
                b'a'..=b'z' => 0.78 / 26.0,
                b' ' => 0.14,
                b'A'..=b'Z' => 0.03 / 26.0,
                b'0'..=b'9' => 0.02 / 10.0,
                b'.' | b',' | b'-' | b'\n' | 0 => 0.005,
                _ => 0.005 / 188.0,
            };
            let numbers = match byte {
                b'0'..=b'9' => 0.07,
                b'-' | b':' | b' ' | b'.' | b',' | 0 => 0.04,
                b'+' | b'/' | b'(' | b')' | b'\n' | b'\t' => 0.01,
                _ => 0.0,
            };
            let long_numbers = if byte.is_ascii_digit() { 0.096 } else { 0.04 / 246.0 };
            let letters_and_digits = if byte.is_ascii_alphanumeric() { 1.0 / 62.0 } else { 0.0 };
            *odds = [prose, numbers, long_numbers, letters_and_digits, 1.0 / 256.0];
        }
        Self(bytes)
    }

    /// The chance that one byte is in the set.
    pub(super) fn of(&self, set: Nibbles) -> Odds {
        self.sum(|byte| set.contains(byte))
    }

    /// The chance that such a byte stands before a match.
    pub(super) fn before(&self, before: Before) -> Odds {
        let is_word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
        match before {
            Before::Any => CERTAIN,
            Before::NoWord => self.sum(|byte| !is_word(byte)),
            Before::Word => self.sum(is_word),
        }
    }

    fn sum(&self, has: impl Fn(u8) -> bool) -> Odds {
        let mut sum = [0.0; KINDS];
        for (odds, _) in self.0.iter().zip(0..=u8::MAX).filter(|(_, byte)| has(*byte)) {
            for (sum, odds) in sum.iter_mut().zip(odds) {
                *sum += odds;
            }
        }
        sum
    }
}

pub(super) const CERTAIN: Odds = [1.0; KINDS];

/// Both at once.
pub(super) fn both(one: Odds, other: Odds) -> Odds {
    let mut both = one;
    for (both, other) in both.iter_mut().zip(other) {
        *both *= other;
    }
    both
}

/// Over all kinds of text, each as likely as the next.
pub(super) fn mean(odds: Odds) -> f32 {
    odds.iter().sum::<f32>() / KINDS as f32
}
