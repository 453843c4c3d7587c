//! What verification can find wrong, in words that FORMAT.md and other verifiers share.

use std::fmt;

use crate::seal::Statement;
use crate::{Damage, RingId, Sequence};

/// What is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fault {
    /// Not a segment that this version can read.
    Unreadable(String),
    /// Bytes changed, or a cut inside a frame.
    Damaged(Damage),
    /// An event's bytes were changed, replaced or moved, and its checksum made to match.
    Edited,
    /// Events of one ring are not in order: moved or repeated.
    Disordered { ring: RingId, after: Sequence, found: Sequence },
    /// Events of one ring are not there, and no gap record says why.
    Missing { ring: RingId, after: Sequence, found: Sequence },
    /// An event's body is malformed or contradicts its head.
    Malformed,
    /// Frames stand where they must not: events after the index, anything after the seal.
    Misplaced,
    /// The seal does not match what the file holds, by what it says of it.
    Mismatch(&'static str),
    /// The seal's signature is not the key's that it names.
    Forged,
    /// Sealed with a key that is not trusted: signed again by somebody else.
    UntrustedKey { public_key: [u8; 32] },
    /// No seal: cut off, or still open.
    Unsealed,
    /// The segment is not the one that must follow: removed, swapped, repeated or from elsewhere.
    OutOfOrder { expected: u64, found: u64 },
    /// It has the right number, but does not follow the segment before it: one of the two was replaced.
    Unlinked,
    /// An earlier time than the segment before it was sealed at: the clock, or the directory, was set back.
    TimeReversed,
    /// The segment that a checkpoint remembers is not there any more, or another stands in its place: the directory was
    /// set back to an earlier state, or written anew by the key's holder.
    SetBack { remembered: u64 },
}

impl Fault {
    /// The word that FORMAT.md has for it.
    #[must_use]
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Unreadable(_) => "unreadable",
            Self::Damaged(_) => "damaged",
            Self::Edited => "edited",
            Self::Disordered { .. } => "disordered",
            Self::Missing { .. } => "missing",
            Self::Malformed => "malformed",
            Self::Misplaced => "misplaced",
            Self::Mismatch(_) => "mismatch",
            Self::Forged => "forged",
            Self::UntrustedKey { .. } => "untrusted-key",
            Self::Unsealed => "unsealed",
            Self::OutOfOrder { .. } => "out-of-order",
            Self::Unlinked => "unlinked",
            Self::TimeReversed => "time-reversed",
            Self::SetBack { .. } => "set-back",
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreadable(why) => write!(f, "not readable as a segment: {why}"),
            Self::Damaged(damage) => write!(f, "damaged: {damage}"),
            Self::Edited => {
                f.write_str("edited: the event's bytes do not match its hash in the session's chain")
            }
            Self::Disordered { ring, after, found } => {
                write!(f, "reordered or repeated: event {found} of ring {ring} follows event {after}")
            }
            Self::Missing { ring, after, found } => {
                write!(f, "missing: event {found} of ring {ring} follows event {after}")
            }
            Self::Malformed => f.write_str("malformed: the event's body is not what its head says"),
            Self::Misplaced => f.write_str("inserted: a frame stands where none may"),
            Self::Mismatch(what) => write!(f, "the seal's {what} does not match the file's"),
            Self::Forged => f.write_str("forged: the seal's signature does not match"),
            Self::UntrustedKey { .. } => f.write_str("signed again: the seal's key is not a trusted one"),
            Self::Unsealed => f.write_str("cut short: the segment has no seal"),
            Self::OutOfOrder { expected, found } => {
                write!(
                    f,
                    "segment {found} stands where segment {expected} must: removed, swapped or repeated"
                )
            }
            Self::Unlinked => f.write_str("replaced: it does not follow the segment before it"),
            Self::TimeReversed => f.write_str("set back: it begins before the segment before it was sealed"),
            Self::SetBack { remembered } => {
                write!(f, "set back: segment {remembered} is not the one that the checkpoint remembers")
            }
        }
    }
}

/// A fault and its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Byte offset in the file.
    pub offset: u64,
    /// Ring and sequence of the event there, where it is one.
    pub event: Option<(RingId, Sequence)>,
    pub fault: Fault,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "at byte {}: {}", self.offset, self.fault)?;
        match self.event {
            Some((ring, sequence)) => write!(f, " (event {sequence} of ring {ring})"),
            None => Ok(()),
        }
    }
}

/// What a segment turned out to be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// 0 where not even the header could be read.
    pub number: u64,
    pub events: u64,
    /// Bytes that were read.
    pub bytes: u64,
    /// Its events are encrypted.
    pub encrypted: bool,
    /// Its events' contents were looked at: it is clear, or an auditor's key opened it.
    pub opened: bool,
    /// What its seal states; `None` where it has none or did not get there.
    pub seal: Option<Statement>,
    /// The first fault. `None`: all is well.
    pub finding: Option<Finding>,
}
