//! Names of sessions, rings and places in a ring. Plain values: time and randomness are the caller's.

use std::fmt;
use std::str::FromStr;

use crate::Error;

/// Digits of Crockford's base 32: no I, L, O, U.
const DIGITS: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
/// 128 bits in base 32.
const TEXT_LEN: usize = 26;

/// A session, ordered by the time it began: 48 bits of Unix milliseconds, then 80 random bits (a ULID).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionId(pub u128);

impl SessionId {
    /// What belongs to no session: gaps and admin actions.
    pub const NONE: Self = Self(0);

    /// A new session's name. Only the low 80 bits of `random` are used.
    #[must_use]
    pub const fn new(unix_ms: u64, random: u128) -> Self {
        let time = (unix_ms as u128) << 80;
        Self(time | (random & ((1 << 80) - 1)))
    }

    /// When the session was named, Unix milliseconds.
    #[must_use]
    pub const fn unix_ms(self) -> u64 {
        (self.0 >> 80) as u64
    }
}

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = [b'0'; TEXT_LEN];
        for (place, digit) in text.iter_mut().rev().enumerate() {
            let value = (self.0 >> (place * 5)) & 31;
            *digit = DIGITS.get(value as usize).copied().unwrap_or(b'0');
        }
        f.pad(std::str::from_utf8(&text).unwrap_or_default())
    }
}

impl FromStr for SessionId {
    type Err = Error;

    /// Reads the 26 digits that `Display` writes; lower case and Crockford's look-alikes (I, L, O) are accepted.
    fn from_str(text: &str) -> Result<Self, Error> {
        if text.len() != TEXT_LEN {
            return Err(Error::SessionId);
        }
        let mut value: u128 = 0;
        for (place, byte) in text.bytes().enumerate() {
            let digit = digit_value(byte).ok_or(Error::SessionId)?;
            if place == 0 && digit > 7 {
                return Err(Error::SessionId);
            }
            value = (value << 5) | u128::from(digit);
        }
        Ok(Self(value))
    }
}

fn digit_value(byte: u8) -> Option<u8> {
    let canonical = match byte.to_ascii_uppercase() {
        b'O' => b'0',
        b'I' | b'L' => b'1',
        other => other,
    };
    DIGITS.iter().position(|&digit| digit == canonical).and_then(|place| u8::try_from(place).ok())
}

/// One ring's life: never reused, ordered by the time it was made. 48 bits of Unix milliseconds, 16 bits of core.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RingId(pub u64);

impl RingId {
    /// Core number under which the recorder writes what it says itself (gaps, closings of dead producers).
    pub const RECORDER_CORE: u16 = u16::MAX;

    #[must_use]
    pub const fn new(unix_ms: u64, core: u16) -> Self {
        Self((unix_ms << 16) | core as u64)
    }

    #[must_use]
    pub const fn core(self) -> u16 {
        (self.0 & 0xffff) as u16
    }
}

impl fmt::Display for RingId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:012x}-{}", self.0 >> 16, self.core())
    }
}

impl FromStr for RingId {
    type Err = Error;

    /// Reads what `Display` writes: 12 hexadecimal digits, a dash, the core.
    fn from_str(text: &str) -> Result<Self, Error> {
        let (time, core) = text.split_once('-').ok_or(Error::RingId)?;
        let digits = time.len() == 12 && time.bytes().all(|digit| digit.is_ascii_hexdigit());
        let time = u64::from_str_radix(time, 16).ok().filter(|_| digits).ok_or(Error::RingId)?;
        Ok(Self::new(time, core.parse().map_err(|_| Error::RingId)?))
    }
}

/// Place of a record in its ring: the first is 1, without holes; 0 is "none yet".
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Sequence(pub u64);

impl fmt::Display for Sequence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn session_ids_read_back_what_they_print_and_sort_by_time() {
        for id in [SessionId(0), SessionId(u128::MAX), SessionId::new(1_760_000_000_123, 0xdead_beef)] {
            assert_eq!(id.to_string().parse::<SessionId>().unwrap(), id);
            assert_eq!(id.to_string().to_lowercase().parse::<SessionId>().unwrap(), id);
        }
        let (early, late) = (SessionId::new(1_000, u128::MAX), SessionId::new(1_001, 0));
        assert!(early < late && early.to_string() < late.to_string());
        assert_eq!(late.unix_ms(), 1_001);
    }

    #[test]
    fn ring_ids_read_back_what_they_print_and_nothing_else_is_one() {
        for id in [RingId(0), RingId::new(1_760_000_000_123, 7), RingId(u64::MAX)] {
            assert_eq!(id.to_string().parse::<RingId>().unwrap(), id);
        }
        for text in [
            "",
            "-",
            "000000000000",
            "00000000000-1",
            "+00000000000-1",
            "000000000000-65536",
            "000000000000-x",
        ] {
            assert!(text.parse::<RingId>().is_err(), "{text}");
        }
    }

    #[test]
    fn what_is_not_a_session_id_is_refused() {
        for text in
            ["", "8ZZZZZZZZZZZZZZZZZZZZZZZZZ", "0000000000000000000000000U", "ä0000000000000000000000000"]
        {
            assert!(text.parse::<SessionId>().is_err(), "{text}");
        }
    }
}
