//! Verification with public keys alone: every byte, the order, the tree, the signatures, missing segments. With an
//! auditor's key also that each leaf of an encrypted segment is its event.
//!
//! It names the first place that is wrong and what kind of tampering or damage that is, in the order that FORMAT.md,
//! "Verification", gives. One thing it cannot see by itself: a cut at the very end of the list, between two segments or
//! in an open one. A [`Checkpoint`] kept elsewhere shows that.

use std::collections::{BTreeMap, HashMap};
use std::io::Read;

use foldhash::fast::RandomState;

use crate::auditor::AuditorKey;
use crate::body::{Body, Kind};
use crate::checkpoint::Checkpoint;
use crate::fault::{Fault, Finding, Report};
use crate::frame::FrameType;
use crate::hash::{Digest, IndexHash, SALT_LEN, Salts, StoredHash};
use crate::leaves::Leaves;
use crate::merkle::Tree;
use crate::payload::is_plain;
use crate::reader::{Frame, Reader};
use crate::seal::{Seal, Statement};
use crate::tombstone::Tombstone;
use crate::{Damage, Error, Header, RingId, Sequence, SessionId};

/// Verifies the segments of one node in their order.
#[derive(Debug)]
pub struct Verifier<'k> {
    trusted: &'k [[u8; 32]],
    auditors: &'k [AuditorKey],
    rings: HashMap<RingId, Sequence, RandomState>,
    previous: Option<Previous>,
    /// Number that the first must have.
    first: Option<u64>,
    /// Roots of segments that must be there, by number.
    remembered: BTreeMap<u64, Digest>,
    newest: Option<Checkpoint>,
    /// Every segment since the first went by whole, so that a ring not met yet must begin at 1.
    complete: bool,
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
    encrypted: bool,
    /// `None`: encrypted to others.
    salts: Option<Salts>,
    stored: Option<Stored>,
    /// Events whose leaves are not computed yet. The next event of a session needs but the stated one.
    leaves: Leaves<Place>,
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

/// Where an event is: its frame's offset, how many are before it in the segment, ring and sequence.
#[derive(Clone, Copy, Debug)]
struct Place {
    offset: u64,
    before: u64,
    event: (RingId, Sequence),
}

impl<'k> Verifier<'k> {
    /// `trusted` are the Ed25519 public keys that may have sealed.
    #[must_use]
    pub fn new(trusted: &'k [[u8; 32]]) -> Self {
        Self {
            trusted,
            auditors: &[],
            rings: HashMap::default(),
            previous: None,
            first: None,
            remembered: BTreeMap::new(),
            newest: None,
            complete: false,
        }
    }

    /// Encrypted segments are opened with these keys where they can be, and their leaves held against their events.
    #[must_use]
    pub const fn opening_with(mut self, auditors: &'k [AuditorKey]) -> Self {
        self.auditors = auditors;
        self
    }

    /// The first segment must have this number: without it, segments taken away from the front are not missed.
    #[must_use]
    pub const fn starting_at(mut self, number: u64) -> Self {
        self.first = Some(number);
        self
    }

    /// The list goes on behind what a tombstone's file says was removed. Before the first segment, and after the settings.
    ///
    /// # Errors
    /// The file is no tombstone that a trusted key signed, or not of the segment that the checkpoint names.
    pub fn following(&mut self, file: &[u8]) -> Result<Tombstone, Fault> {
        let tombstone = Tombstone::read(file).map_err(|_| Fault::Forged)?;
        let Tombstone { number, root, sealed_unix_us, public_key, .. } = tombstone;
        if !self.trusted.contains(&public_key) {
            return Err(Fault::UntrustedKey { public_key });
        }
        // Of the removed, only the last is known.
        let covered = self.remembered.remove(&number);
        self.remembered.retain(|&remembered, _| remembered > number);
        if covered.is_some_and(|remembered| remembered != root) {
            return Err(Fault::SetBack { remembered: number });
        }
        self.previous = Some(Previous { number, seal: Some((root, sealed_unix_us)) });
        Ok(tombstone)
    }

    /// The segment that `checkpoint` names must still be there, the same, unless it is before the first one that must be. Of two
    /// checkpoints of one segment, the last counts.
    #[must_use]
    pub fn remembering(mut self, checkpoint: Checkpoint) -> Self {
        self.remembered.insert(checkpoint.number, checkpoint.root);
        self
    }

    /// After the last segment: what to remember of them, for the next time. `None`: not one was sealed and whole.
    ///
    /// # Errors
    /// The directory's: it did not hold the segment that was remembered.
    pub fn finish(&self) -> Result<Option<Checkpoint>, Fault> {
        match self.remembered.range(self.first.unwrap_or(0)..).next() {
            Some((&remembered, _)) => Err(Fault::SetBack { remembered }),
            None => Ok(self.newest),
        }
    }

    /// Verifies the next segment. `may_be_open`: it is the last one, and its recorder may still be writing it, so
    /// neither a missing seal nor a last frame that is not whole yet is a fault.
    ///
    /// # Errors
    /// The input cannot be read at all. Everything else is a finding.
    pub fn segment(&mut self, input: impl Read, may_be_open: bool) -> Result<Report, Error> {
        let mut report = Report::default();
        let outcome = self.check(input, may_be_open, &mut report);
        match outcome {
            Ok(()) => {}
            Err(Stop::Found(finding)) => {
                report.finding.get_or_insert(finding);
            }
            Err(Stop::Edited(Place { offset, event, before: _ })) => {
                let finding = Finding { offset, event: Some(event), fault: Fault::Edited };
                report.finding.get_or_insert(finding);
            }
            Err(Stop::Io(error)) => return Err(error),
        }
        let seal = report.seal.map(|seal| (seal.root, seal.sealed_unix_us));
        // Where not even the number could be read, it counts as the one that had to come.
        let number = if report.number == 0 { self.expected().unwrap_or(0) } else { report.number };
        self.previous = Some(Previous { number, seal });
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
        let opened = reader.unlock(self.auditors).map_err(|error| Stop::of(error, 0))?;
        (report.encrypted, report.opened) = (reader.header().is_encrypted(), opened);
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
        let outcome = self.walk(&mut reader, &mut walk, may_be_open, report);
        // Whatever ended it: an event that was edited before that is what comes first.
        match walk.check_leaves() {
            Ok(()) => outcome,
            Err(edited) => Err(edited),
        }
        .inspect_err(|stop| {
            if let Stop::Edited(place) = stop {
                (report.events, report.bytes) = (place.before, place.offset);
            }
        })
    }

    /// From the header to the seal.
    fn walk(
        &mut self,
        reader: &mut Reader<impl Read>,
        walk: &mut Walk,
        may_be_open: bool,
        report: &mut Report,
    ) -> Result<(), Stop> {
        loop {
            let offset = reader.offset();
            let next = reader.next();
            report.bytes = offset;
            let mut frame = match next {
                Ok(Some(frame)) => frame,
                Ok(None) if may_be_open => return Ok(()),
                Ok(None) => return Err(found(offset, Fault::Unsealed)),
                Err(Error::Frame { damage: Damage::Cut, .. }) if may_be_open => return Ok(()),
                Err(error) => return Err(Stop::of(error, offset)),
            };
            if let Some(stored) = walk.stored.as_mut().filter(|_| frame.frame != FrameType::Seal) {
                stored.add(frame.raw());
            }
            match frame.frame {
                FrameType::Padding if walk.index_offset.is_none() => {}
                FrameType::Event if walk.index_offset.is_none() => {
                    self.check_event(walk, &mut frame, report.events)?;
                    report.events += 1;
                }
                FrameType::Index => {
                    walk.index_offset.get_or_insert(offset);
                    walk.index.update(frame.payload());
                }
                FrameType::Seal => {
                    let seal = Seal::read(frame.payload()).map_err(|_| found(offset, Fault::Forged))?;
                    walk.check_leaves()?;
                    let statement = self.check_seal(walk, &seal, offset, report.number)?;
                    report.seal = Some(statement);
                    let end = reader.offset();
                    report.bytes = end;
                    return match reader.next() {
                        Ok(None) => self.recall(&statement, offset),
                        Ok(Some(_)) | Err(_) => Err(found(end, Fault::Misplaced)),
                    };
                }
                FrameType::Padding | FrameType::Event => return Err(found(offset, Fault::Misplaced)),
            }
        }
    }

    /// Holds a whole segment against what is remembered of it.
    fn recall(&mut self, statement: &Statement, offset: u64) -> Result<(), Stop> {
        let checkpoint = Checkpoint { number: statement.number, root: statement.root };
        self.newest = Some(checkpoint);
        match self.remembered.remove(&checkpoint.number) {
            Some(root) if root != checkpoint.root => {
                Err(found(offset, Fault::SetBack { remembered: checkpoint.number }))
            }
            Some(_) | None => Ok(()),
        }
    }

    /// Number of the segment that must come next, if it is known.
    fn expected(&self) -> Option<u64> {
        self.previous.as_ref().map_or(self.first, |previous| Some(previous.number.saturating_add(1)))
    }

    fn place_fault(&self, header: &Header) -> Option<Fault> {
        let expected = self.expected()?;
        if header.number != expected {
            return Some(Fault::OutOfOrder { expected, found: header.number });
        }
        let (root, sealed) = self.previous.as_ref()?.seal?;
        if header.previous_root != root {
            return Some(Fault::Unlinked);
        }
        (header.begun_unix_us < sealed).then_some(Fault::TimeReversed)
    }

    fn check_event(&mut self, walk: &mut Walk, frame: &mut Frame<'_>, before: u64) -> Result<(), Stop> {
        let (head, offset) = (frame.head, frame.offset);
        let fail = |fault| {
            let event = Some((head.ring, head.sequence));
            Stop::Found(Finding { offset, event, fault })
        };
        let chain = walk.chains.entry(head.session).or_insert(walk.genesis);
        let salt = walk.salts.as_mut().map(Salts::next);
        let salt = if walk.encrypted && is_plain(&head) { Some([0; SALT_LEN]) } else { salt };
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
        let leaf = frame.leaf;
        if let Some(salt) = salt {
            // What does not open is no event that a recorder wrote here.
            let input = frame.leaf_input(&salt, chain).map_err(|_| fail(Fault::Edited))?;
            walk.leaves
                .add(input, leaf, Place { offset, before, event: (ring, found) })
                .map_err(Stop::Edited)?;
        }
        *chain = leaf;
        walk.add(leaf, &head);
        if frame.is_locked() {
            return Ok(());
        }
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
            ("digest of the stored bytes", statement.stored == walk.stored_digest()),
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
            encrypted: reader.header().is_encrypted(),
            salts: reader.secrets().map(|secrets| secrets.salts(0)),
            stored: reader.header().has_stored_digest().then(|| Stored::new(reader.header_bytes())),
            leaves: Leaves::default(),
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

    fn check_leaves(&mut self) -> Result<(), Stop> {
        self.leaves.check().map_err(Stop::Edited)
    }

    fn stored_digest(&self) -> Digest {
        self.stored.as_ref().map_or(Digest::ZERO, Stored::finish)
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

/// The stored bytes, hashed in pieces that are worth it.
struct Stored {
    hash: StoredHash,
    gathered: Vec<u8>,
}

impl Stored {
    const PIECE_LEN: usize = 64 << 10;

    fn new(header: &[u8]) -> Self {
        let mut gathered = Vec::with_capacity(2 * Self::PIECE_LEN);
        gathered.extend_from_slice(header);
        Self { hash: StoredHash::new(), gathered }
    }

    fn add(&mut self, bytes: &[u8]) {
        self.gathered.extend_from_slice(bytes);
        let whole = self.gathered.len() / Self::PIECE_LEN * Self::PIECE_LEN;
        if whole > 0 {
            self.hash.update(self.gathered.get(..whole).unwrap_or_default());
            self.gathered.drain(..whole);
        }
    }

    fn finish(&self) -> Digest {
        let mut hash = self.hash.clone();
        hash.update(&self.gathered);
        hash.finish()
    }
}

enum Stop {
    Found(Finding),
    /// An event is not what its leaf says; found after later ones were read.
    Edited(Place),
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
