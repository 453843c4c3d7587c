//! Verification with public keys alone: every byte, the order, the tree, the signatures, missing segments.
//!
//! It names the first place that is wrong and what kind of tampering or damage that is. One thing it cannot see: a cut
//! at the very end of the list, between two segments or in an open one; checkpoints kept elsewhere show that.

use std::collections::HashMap;
use std::fmt;
use std::io::Read;

use foldhash::fast::RandomState;

use crate::body::{Body, Kind};
use crate::frame::FrameType;
use crate::hash::{Digest, IndexHash, Salts};
use crate::merkle::Tree;
use crate::reader::{Frame, Reader};
use crate::seal::{Seal, Statement};
use crate::{Damage, Error, Header, RingId, Sequence, SessionId};

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
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// 0 where not even the header could be read.
    pub number: u64,
    pub events: u64,
    /// Bytes that were read.
    pub bytes: u64,
    /// What its seal states; `None` where it has none or did not get there.
    pub seal: Option<Statement>,
    /// The first fault. `None`: all is well.
    pub finding: Option<Finding>,
}

/// Verifies the segments of one node in their order.
#[derive(Debug)]
pub struct Verifier<'k> {
    trusted: &'k [[u8; 32]],
    rings: HashMap<RingId, Sequence, RandomState>,
    previous: Option<Previous>,
    /// Every segment since the first went by whole, so that a ring not met yet must begin at 1.
    complete: bool,
    scratch: Vec<u8>,
}

/// The segment before.
#[derive(Clone, Copy, Debug)]
struct Previous {
    number: u64,
    /// Its root and when it was sealed; `None` where that could not be established.
    seal: Option<(Digest, i64)>,
}

/// State while one segment goes by.
struct Walk {
    genesis: Digest,
    previous_root: Digest,
    salts: Salts,
    tree: Tree,
    chains: HashMap<SessionId, Digest, RandomState>,
    index: IndexHash,
    index_offset: Option<u64>,
    /// Earliest and latest wall clock, and the byte sums.
    earliest: i64,
    latest: i64,
    to_upstream_bytes: u64,
    to_client_bytes: u64,
    /// What the gap record just before says is the last recorded of a ring.
    excused: Option<(RingId, Sequence)>,
}

impl<'k> Verifier<'k> {
    /// `trusted` are the Ed25519 public keys that may have sealed.
    #[must_use]
    pub fn new(trusted: &'k [[u8; 32]]) -> Self {
        Self { trusted, rings: HashMap::default(), previous: None, complete: false, scratch: Vec::new() }
    }

    /// Verifies the next segment. `may_be_open`: it is the last one, and its recorder may still be writing it, so
    /// neither a missing seal nor a last frame that is not whole yet is a fault.
    ///
    /// # Errors
    /// The input cannot be read at all. Everything else is a finding.
    pub fn segment(&mut self, input: impl Read, may_be_open: bool) -> Result<Report, Error> {
        let mut report = Report { number: 0, events: 0, bytes: 0, seal: None, finding: None };
        let outcome = self.check(input, may_be_open, &mut report);
        match outcome {
            Ok(()) => {}
            Err(Stop::Found(finding)) => {
                report.finding.get_or_insert(finding);
            }
            Err(Stop::Io(error)) => return Err(error),
        }
        let seal = report.seal.map(|seal| (seal.root, seal.sealed_unix_us));
        self.previous = Some(Previous { number: report.number, seal });
        if report.finding.is_some() {
            // What follows is judged by itself, or one fault would show as many.
            self.rings.clear();
            self.complete = false;
        }
        Ok(report)
    }

    fn check(&mut self, input: impl Read, may_be_open: bool, report: &mut Report) -> Result<(), Stop> {
        let mut reader = Reader::new(input).map_err(|error| Stop::of(error, 0))?;
        report.number = reader.header().number;
        if may_be_open && !self.trusted.contains(&reader.header().public_key) {
            let public_key = reader.header().public_key;
            return Err(found(0, Fault::UntrustedKey { public_key }));
        }
        self.complete |= self.previous.is_none() && report.number == 1;
        report.finding =
            self.place_fault(reader.header()).map(|fault| Finding { offset: 0, event: None, fault });
        if report.finding.is_some() {
            self.rings.clear();
            self.complete = false;
        }
        let mut walk = Walk::new(&reader);
        loop {
            let offset = reader.offset();
            let next = reader.next();
            report.bytes = offset;
            let mut frame = match next {
                Ok(Some(frame)) => frame,
                Ok(None) if may_be_open && walk.index_offset.is_none() => return Ok(()),
                Ok(None) => return Err(found(offset, Fault::Unsealed)),
                Err(Error::Frame { damage: Damage::Cut, .. }) if may_be_open => return Ok(()),
                Err(error) => return Err(Stop::of(error, offset)),
            };
            match frame.frame {
                FrameType::Padding if walk.index_offset.is_none() => {}
                FrameType::Event if walk.index_offset.is_none() => {
                    self.check_event(&mut walk, &mut frame)?;
                    report.events += 1;
                }
                FrameType::Index => {
                    walk.index_offset.get_or_insert(offset);
                    walk.index.update(frame.payload());
                }
                FrameType::Seal => {
                    let seal = Seal::read(frame.payload()).map_err(|_| found(offset, Fault::Forged))?;
                    report.seal = Some(self.check_seal(&walk, &seal, offset, report.number)?);
                    let end = reader.offset();
                    report.bytes = end;
                    return match reader.next() {
                        Ok(None) => Ok(()),
                        Ok(Some(_)) | Err(_) => Err(found(end, Fault::Misplaced)),
                    };
                }
                FrameType::Padding | FrameType::Event => return Err(found(offset, Fault::Misplaced)),
            }
        }
    }

    fn place_fault(&self, header: &Header) -> Option<Fault> {
        let previous = self.previous.as_ref()?;
        let expected = previous.number + 1;
        if header.number != expected {
            return Some(Fault::OutOfOrder { expected, found: header.number });
        }
        let (root, sealed) = previous.seal?;
        if header.previous_root != root {
            return Some(Fault::Unlinked);
        }
        (header.begun_unix_us < sealed).then_some(Fault::TimeReversed)
    }

    fn check_event(&mut self, walk: &mut Walk, frame: &mut Frame<'_>) -> Result<(), Stop> {
        let head = frame.head;
        let fail = |fault| {
            let event = Some((head.ring, head.sequence));
            Stop::Found(Finding { offset: frame.offset, event, fault })
        };
        let chain = walk.chains.entry(head.session).or_insert(walk.genesis);
        let leaf = frame.leaf_of(&walk.salts.next(), chain, &mut self.scratch);
        let (ring, found) = (head.ring, head.sequence);
        let after = self.rings.insert(ring, found);
        if let Some(after) = after.or(self.complete.then_some(Sequence(0))) {
            if found <= after {
                return Err(fail(Fault::Disordered { ring, after, found }));
            }
            let excused = walk.excused == Some((ring, after));
            if found.0 != after.0 + 1 && !excused {
                return Err(fail(Fault::Missing { ring, after, found }));
            }
        }
        if leaf != frame.leaf {
            return Err(fail(Fault::Edited));
        }
        *chain = leaf;
        walk.add(leaf, &head);
        let malformed = fail(Fault::Malformed);
        match frame.body() {
            Ok(Body::Gap(gap)) if head.ring.core() == RingId::RECORDER_CORE => {
                walk.excused = Some((RingId(gap.ring), Sequence(gap.last_sequence)));
                Ok(())
            }
            Ok(_) => Ok(()),
            // A later Weir's events are still whole, in order and signed.
            Err(Error::Unknown { .. }) => Ok(()),
            Err(_) => Err(malformed),
        }
    }

    fn check_seal(&self, walk: &Walk, seal: &Seal, offset: u64, number: u64) -> Result<Statement, Stop> {
        let statement = seal.open().map_err(|_| found(offset, Fault::Forged))?;
        if !self.trusted.contains(&statement.public_key) {
            return Err(found(offset, Fault::UntrustedKey { public_key: statement.public_key }));
        }
        let index_offset = walk.index_offset.unwrap_or(offset);
        let claims = [
            ("number", statement.number == number),
            ("header", statement.header == walk.genesis),
            ("number of events", statement.events == walk.tree.len()),
            ("Merkle root", statement.root == walk.tree.root()),
            ("index", statement.index == walk.index.finish()),
            ("place", statement.seal_offset == offset && statement.index_offset == index_offset),
            ("byte count to upstreams", statement.to_upstream_bytes == walk.to_upstream_bytes),
            ("byte count to clients", statement.to_client_bytes == walk.to_client_bytes),
            (
                "time range",
                (statement.earliest_unix_us, statement.latest_unix_us) == (walk.earliest, walk.latest),
            ),
            ("previous root", statement.previous_root == walk.previous_root),
        ];
        match claims.into_iter().find(|(_, holds)| !holds) {
            Some((what, _)) => Err(found(offset, Fault::Mismatch(what))),
            None => Ok(statement),
        }
    }
}

impl Walk {
    fn new<R: Read>(reader: &Reader<R>) -> Self {
        Self {
            genesis: reader.genesis(),
            previous_root: reader.header().previous_root,
            salts: Salts::new(&reader.header().salt_secret, 0),
            tree: Tree::default(),
            chains: HashMap::default(),
            index: IndexHash::new(),
            index_offset: None,
            earliest: 0,
            latest: 0,
            to_upstream_bytes: 0,
            to_client_bytes: 0,
            excused: None,
        }
    }

    fn add(&mut self, leaf: Digest, head: &crate::Head) {
        if self.tree.len() == 0 {
            (self.earliest, self.latest) = (head.wall_unix_us, head.wall_unix_us);
        }
        self.earliest = self.earliest.min(head.wall_unix_us);
        self.latest = self.latest.max(head.wall_unix_us);
        self.to_upstream_bytes = self.to_upstream_bytes.saturating_add(head.to_upstream_bytes.into());
        self.to_client_bytes = self.to_client_bytes.saturating_add(head.to_client_bytes.into());
        self.tree.push(leaf);
        if head.kind() != Some(Kind::Gap) && self.excused.is_some_and(|excuse| excuse.0 == head.ring) {
            self.excused = None;
        }
    }
}

enum Stop {
    Found(Finding),
    Io(Error),
}

impl Stop {
    fn of(error: Error, offset: u64) -> Self {
        if let Error::Frame { damage, .. } = error {
            return found(offset, Fault::Damaged(damage));
        }
        if let Error::Io(_) = error {
            return Self::Io(error);
        }
        found(offset, Fault::Unreadable(error.to_string()))
    }
}

fn found(offset: u64, fault: Fault) -> Stop {
    Stop::Found(Finding { offset, event: None, fault })
}
