//! What a writer remembers while a segment grows, and carries to the next: rings, sessions, sums, blocks.
//!
//! Bounded by what is alive: closed sessions and retired rings leave at the next seal.

use std::collections::HashMap;

use foldhash::fast::RandomState;

use crate::body::{Kind, Verdict};
use crate::event::Head;
use crate::hash::Digest;
use crate::index::{Block, Index, Intent, Posting, RingEntry, SessionEntry, Span};
use crate::seal::Statement;
use crate::{RingId, Sequence, SessionId};

/// Bytes of frames that one entry of the block table stands for, at least.
const BLOCK_LEN: u64 = 64 << 10;
/// Intents remembered a session; the oldest go first. More can only come from a broken producer.
const MAX_INTENTS: usize = 4096;

#[derive(Clone, Debug, Default)]
pub(crate) struct Session {
    entry: SessionEntry,
    /// Its number among those with events in this segment, and one more than the last block that was noted of it;
    /// meaningless as that.
    number: u32,
    noted: u32,
    open: bool,
    intents: Vec<(u64, u32)>,
}

/// The state that goes from a sealed segment to the next one.
#[derive(Clone, Debug, Default)]
pub struct Carry {
    /// Number and root of the last segment; zeros before the first.
    pub number: u64,
    pub root: Digest,
    /// When that one was sealed: the next begins no earlier, whatever the clock says.
    pub sealed_unix_us: i64,
    /// Its latest event; zero where there was none.
    pub latest_unix_us: i64,
    pub(crate) rings: Vec<RingEntry>,
    pub(crate) sessions: Vec<(SessionEntry, Vec<(u64, u32)>)>,
}

impl Carry {
    /// Follows a segment of which nothing else is known.
    #[must_use]
    pub fn after(number: u64, root: Digest) -> Self {
        Self { number, root, ..Self::default() }
    }

    /// What a sealed segment carries on, from its seal and its index.
    #[must_use]
    pub fn from_index(sealed: &Statement, index: &Index) -> Self {
        let &Statement { number, root, sealed_unix_us, latest_unix_us, .. } = sealed;
        let mut intents: HashMap<SessionId, Vec<(u64, u32)>> = HashMap::new();
        for intent in &index.intents {
            intents.entry(intent.session).or_default().push((intent.ordinal, intent.lane));
        }
        let open = index.sessions.iter().filter(|session| session.open_at_end);
        let sessions = open.map(|&entry| (entry, intents.remove(&entry.session).unwrap_or_default()));
        let (rings, sessions) = (index.rings.clone(), sessions.collect());
        Self { number, root, sealed_unix_us, latest_unix_us, rings, sessions }
    }
}

/// Where an event stands: its session's number among those with events in this segment, in the order they came, and its block's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Met {
    pub(crate) session: u32,
    pub(crate) block: u32,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Ledger {
    rings: Vec<RingEntry>,
    sessions: HashMap<SessionId, Session, RandomState>,
    blocks: Vec<Block>,
    /// Sessions by their numbers, and which of them has events in which block.
    numbered: Vec<SessionId>,
    met: Vec<(u32, u32)>,
    pub(crate) events: u64,
    /// Allowed requests among them.
    pub(crate) commands: u64,
    pub(crate) to_upstream_bytes: u64,
    pub(crate) to_client_bytes: u64,
    pub(crate) earliest_unix_us: i64,
    pub(crate) latest_unix_us: i64,
}

impl Ledger {
    pub(crate) fn resume(carry: &Carry) -> Self {
        let rings = carry.rings.iter();
        let rings = rings.map(|ring| RingEntry { first: Sequence(0), events: 0, ..*ring }).collect();
        let sessions = carry.sessions.iter().map(|(entry, intents)| {
            let &SessionEntry { session, ring, .. } = entry;
            let entry = SessionEntry { session, ring, ..SessionEntry::default() };
            (session, Session { entry, open: true, intents: intents.clone(), ..Session::default() })
        });
        Self { rings, sessions: sessions.collect(), ..Self::default() }
    }

    /// Takes an event into account, whose frame begins at `offset`.
    pub(crate) fn add(&mut self, head: &Head, offset: u64) -> Met {
        let begins = self.blocks.last().is_none_or(|block| offset - block.offset >= BLOCK_LEN);
        let blocks = self.blocks.len() as u32 + u32::from(begins);
        let session = self.sessions.entry(head.session).or_default();
        if session.entry.events == 0 {
            session.number = self.numbered.len() as u32;
            self.numbered.push(head.session);
        }
        if session.noted != blocks {
            session.noted = blocks;
            self.met.push((session.number, blocks - 1));
        }
        let met = Met { session: session.number, block: blocks - 1 };
        session.add(head, offset);
        self.add_to_block(head.wall_unix_us, offset, begins);
        self.add_to_ring(head);
        self.events += 1;
        let is_command = head.kind() == Some(Kind::Request) && head.mark == Verdict::Allow as u8;
        self.commands += u64::from(is_command);
        self.to_upstream_bytes = self.to_upstream_bytes.saturating_add(head.to_upstream_bytes.into());
        self.to_client_bytes = self.to_client_bytes.saturating_add(head.to_client_bytes.into());
        met
    }

    fn add_to_block(&mut self, wall: i64, offset: u64, begins: bool) {
        if self.events == 0 {
            (self.earliest_unix_us, self.latest_unix_us) = (wall, wall);
        }
        self.earliest_unix_us = self.earliest_unix_us.min(wall);
        self.latest_unix_us = self.latest_unix_us.max(wall);
        match self.blocks.last_mut().filter(|_| !begins) {
            Some(block) => {
                block.earliest_unix_us = block.earliest_unix_us.min(wall);
                block.latest_unix_us = block.latest_unix_us.max(wall);
            }
            None => self.blocks.push(Block {
                offset,
                first_event: self.events,
                earliest_unix_us: wall,
                latest_unix_us: wall,
            }),
        }
    }

    fn add_to_ring(&mut self, head: &Head) {
        let place = self.rings.iter().position(|ring| ring.ring == head.ring);
        let place = place.unwrap_or_else(|| {
            self.rings.push(RingEntry { ring: head.ring, ..RingEntry::default() });
            self.rings.len() - 1
        });
        if let Some(ring) = self.rings.get_mut(place) {
            if ring.events == 0 {
                ring.first = head.sequence;
            }
            ring.last = head.sequence;
            ring.events += 1;
        }
    }

    /// Last recorded sequence of a ring; 0: none.
    pub(crate) fn last_sequence(&self, ring: RingId) -> Sequence {
        self.rings.iter().find(|entry| entry.ring == ring).map_or(Sequence(0), |entry| entry.last)
    }

    /// Rings known here, with the last sequence of each.
    pub(crate) fn rings(&self) -> impl Iterator<Item = (RingId, Sequence)> {
        self.rings.iter().map(|ring| (ring.ring, ring.last))
    }

    /// Sessions of `ring` that have begun and not ended, in the order of their ids.
    pub(crate) fn open_sessions(&self, ring: RingId) -> Vec<SessionId> {
        let open = self.sessions.iter().filter(|(_, session)| session.open && session.entry.ring == ring);
        let mut open: Vec<_> = open.map(|(&id, _)| id).collect();
        open.sort_unstable();
        open
    }

    /// Allowed requests of a session that have no outcome: ordinal and lane.
    pub(crate) fn intents(&self, session: SessionId) -> Vec<(u64, u32)> {
        self.sessions.get(&session).map(|session| session.intents.clone()).unwrap_or_default()
    }

    /// The tables of the index, but for the words.
    pub(crate) fn index(&self) -> Index {
        let mut sessions: Vec<_> = self.sessions.values().collect();
        sessions.sort_unstable_by_key(|session| session.entry.session);
        let intents = sessions.iter().filter(|session| session.open).flat_map(|known| {
            let session = known.entry.session;
            known.intents.iter().map(move |&(ordinal, lane)| Intent { session, ordinal, lane })
        });
        let entries = sessions.iter().filter(|session| session.open || session.entry.events > 0);
        let entries = entries.map(|session| SessionEntry { open_at_end: session.open, ..session.entry });
        let sessions: Vec<_> = entries.filter(|entry| entry.session != SessionId::NONE).collect();
        let (session_blocks, postings) = self.session_blocks(&sessions);
        Index {
            blocks: self.blocks.clone(),
            rings: self.rings.clone(),
            intents: intents.collect(),
            sessions,
            words: Vec::new(),
            session_blocks,
            postings,
        }
    }

    fn session_blocks(&self, sessions: &[SessionEntry]) -> (Vec<Span>, Vec<Posting>) {
        let mut met = self.met.clone();
        met.sort_unstable();
        let mut spans: HashMap<SessionId, Span, RandomState> = HashMap::default();
        for (place, (number, _)) in (0..).zip(&met) {
            let session = self.numbered.get(*number as usize).copied().unwrap_or_default();
            spans.entry(session).or_insert(Span { first: place, count: 0 }).count += 1;
        }
        let spans = sessions.iter().map(|entry| spans.get(&entry.session).copied().unwrap_or_default());
        (spans.collect(), met.into_iter().map(|(_, block)| Posting(block)).collect())
    }

    /// Forgets rings that nothing will come from any more: they are not listed in the index either.
    pub(crate) fn forget_rings(&mut self, is_retired: impl Fn(RingId) -> bool) {
        self.rings.retain(|ring| ring.events > 0 || !is_retired(ring.ring));
    }
}

impl Session {
    fn add(&mut self, head: &Head, offset: u64) {
        let entry = &mut self.entry;
        if entry.events == 0 {
            entry.first_offset = offset;
        }
        entry.session = head.session;
        if head.ring.core() != RingId::RECORDER_CORE {
            entry.ring = head.ring;
        }
        entry.events += 1;
        entry.to_upstream_bytes = entry.to_upstream_bytes.saturating_add(head.to_upstream_bytes.into());
        entry.to_client_bytes = entry.to_client_bytes.saturating_add(head.to_client_bytes.into());
        match head.kind() {
            Some(Kind::SessionOpen) => (self.open, entry.opened_here) = (true, true),
            Some(Kind::SessionClose) => {
                (self.open, entry.closed_here) = (false, true);
                self.intents.clear();
            }
            Some(Kind::Request) if head.mark == Verdict::Allow as u8 => {
                if self.intents.len() >= MAX_INTENTS {
                    self.intents.remove(0);
                }
                self.intents.push((head.ordinal, head.lane));
            }
            Some(Kind::Outcome) => self.intents.retain(|&intent| intent != (head.ordinal, head.lane)),
            Some(_) | None => {}
        }
    }
}
