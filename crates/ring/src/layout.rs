//! What lies where in the memfd. Both ends of one ring may be different releases: [`VERSION`] guards that.
//!
//! The file is one page of header and then `capacity` bytes of records. Each header word has cache lines of its own:
//!
//! | at | bytes | what | written by |
//! |---|---|---|---|
//! | 0 | 8 | magic | producer, once |
//! | 8 | 8 | layout version | producer, once |
//! | 16 | 8 | capacity in bytes, a power of two | producer, once |
//! | 24 | 8 | ring id | producer, once |
//! | 128 | 8 | `head`: position past the last published record | producer |
//! | 256 | 8 | `written`: position below which space is free again | consumer |
//! | 384 | 8 | `durable`: sequence of the last record that the disk has acknowledged | consumer |
//! | 512 | 8 | `nap`: whether the consumer is awake, dozing, asleep, or done with this ring | consumer |
//! | 640 | 8 | `wanted`: highest sequence whose durability somebody waits for | producer |
//! | 768 | 8 | `space_wanted`: 1 while the producer waits for space | both |
//! | 896 | 8 | `pressure`: how the recorder's disk is: 0 ok, 1 low, 2 critical, 3 failed | consumer |
//!
//! A position counts bytes since the ring was made and never wraps; its place in the file is `position % capacity`. A
//! record is 16 bytes (length u32, mark u32, sequence u64) and its payload, padded to 16. Little-endian.

use std::fmt;

/// 32 MiB: twice the longest message, and seconds of a busy core's statements while the recorder is away. A larger one
/// costs more a push, because a push meets memory that has left the caches.
pub const DEFAULT_CAPACITY_BYTES: usize = 32 << 20;
/// Sixteen pages.
pub const MIN_CAPACITY_BYTES: usize = 64 << 10;
/// What may gather while a consumer dozes: worth a write of its own, and still in the processor's cache.
const GATHERING_BYTES: usize = 1 << 20;
/// More is a mistake in somebody's configuration or a hostile header.
pub(crate) const MAX_CAPACITY_BYTES: usize = 1 << 36;

pub(crate) const MAGIC: u64 = u64::from_le_bytes(*b"WEIRRING");
pub(crate) const VERSION: u64 = 1;
pub(crate) const HEADER_LEN: usize = 4096;

/// Bytes in front of each record's payload.
pub const RECORD_HEADER_LEN: usize = 16;
/// Alignment of records, and so the unit of space.
pub(crate) const GRAIN: usize = 16;
/// Second word of every record: tells a record from stale payload.
pub(crate) const RECORD_MARK: u32 = u32::from_le_bytes(*b"wrec");

/// A header word, by its offset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub(crate) enum Word {
    Magic = 0,
    Version = 8,
    Capacity = 16,
    Ring = 24,
    Head = 128,
    Written = 256,
    Durable = 384,
    Nap = 512,
    Wanted = 640,
    SpaceWanted = 768,
    Pressure = 896,
}

/// Place of a record in its ring: the first is 1, without holes; 0 is "none yet".
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Sequence(pub u64);

impl fmt::Display for Sequence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Bytes a record with `len` bytes of payload takes up in the ring. `None`: more than a ring can address.
pub(crate) fn record_span(len: usize) -> Option<usize> {
    len.checked_add(RECORD_HEADER_LEN)?.checked_next_multiple_of(GRAIN)
}

/// Bytes of records that end a consumer's doze.
pub(crate) const fn gathering(capacity: usize) -> u64 {
    let quarter = capacity / 4;
    (if quarter < GATHERING_BYTES { quarter } else { GATHERING_BYTES }) as u64
}

/// How the recorder's disk is: what the producing process may still begin.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Pressure {
    #[default]
    Ok,
    /// Begin no new recorded session.
    Low,
    /// End sessions in order, while their closing records still fit.
    Critical,
    /// Nothing will be acknowledged any more.
    Failed,
}

impl Pressure {
    pub(crate) const fn code(self) -> u64 {
        match self {
            Self::Ok => 0,
            Self::Low => 1,
            Self::Critical => 2,
            Self::Failed => 3,
        }
    }

    /// What is not known counts as the worst.
    pub(crate) const fn from_code(code: u64) -> Self {
        match code {
            0 => Self::Ok,
            1 => Self::Low,
            2 => Self::Critical,
            _ => Self::Failed,
        }
    }
}
