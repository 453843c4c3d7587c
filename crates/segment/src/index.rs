//! The index: tables between the last event and the seal, so that a reader need not walk the file. FORMAT.md, "Index", has
//! their bytes.
//!
//! Together with the segment after it, the last sealed segment tells a restarted recorder where every ring and session
//! stood.

use crate::event::{put, take};
use crate::{Error, RingId, Sequence, SessionId};

/// Most bytes of one index frame's payload.
pub(crate) const PIECE_LEN: usize = 1 << 20;
const PIECE_HEADER_LEN: usize = 8;

/// Where about 64 KiB of events begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Block {
    pub offset: u64,
    pub first_event: u64,
    pub earliest_unix_us: i64,
    pub latest_unix_us: i64,
}

/// What the segment knows of one ring.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RingEntry {
    pub ring: RingId,
    /// 0: nothing of this ring here.
    pub first: Sequence,
    /// Last recorded so far, in this segment or an earlier one.
    pub last: Sequence,
    pub events: u64,
}

/// What the segment knows of one session.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SessionEntry {
    pub session: SessionId,
    pub ring: RingId,
    /// 0: nothing of this session here.
    pub first_offset: u64,
    pub events: u64,
    pub to_upstream_bytes: u64,
    pub to_client_bytes: u64,
    pub opened_here: bool,
    pub closed_here: bool,
    pub open_at_end: bool,
}

/// An allowed request that has no outcome yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Intent {
    pub session: SessionId,
    pub ordinal: u64,
    pub lane: u32,
}

/// A word that events here can be found by: `count` of the postings from `first` on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WordEntry {
    pub token: u64,
    pub first: u32,
    pub count: u32,
}

/// The blocks that events of a session stand in: `count` of the postings from `first` on. One for each entry of the sessions,
/// in their order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Span {
    pub first: u32,
    pub count: u32,
}

/// The number of an entry among the blocks, or, with the highest bit, among the sessions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Posting(pub u32);

impl Posting {
    pub(crate) const OF_A_SESSION: u32 = 1 << 31;
}

/// All tables of one segment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Index {
    pub blocks: Vec<Block>,
    pub rings: Vec<RingEntry>,
    pub sessions: Vec<SessionEntry>,
    pub intents: Vec<Intent>,
    /// In the order of their tokens; empty where the seal does not say that they are listed.
    pub words: Vec<WordEntry>,
    pub session_blocks: Vec<Span>,
    pub postings: Vec<Posting>,
}

pub(crate) trait Entry: Sized {
    const TABLE: u32;
    const LEN: usize;
    fn write(&self, out: &mut &mut [u8]);
    fn read(bytes: &mut &[u8]) -> Self;
}

impl Entry for Block {
    const TABLE: u32 = 1;
    const LEN: usize = 32;

    fn write(&self, out: &mut &mut [u8]) {
        put(out, &self.offset.to_le_bytes());
        put(out, &self.first_event.to_le_bytes());
        put(out, &self.earliest_unix_us.to_le_bytes());
        put(out, &self.latest_unix_us.to_le_bytes());
    }

    fn read(bytes: &mut &[u8]) -> Self {
        Self {
            offset: u64::from_le_bytes(take(bytes)),
            first_event: u64::from_le_bytes(take(bytes)),
            earliest_unix_us: i64::from_le_bytes(take(bytes)),
            latest_unix_us: i64::from_le_bytes(take(bytes)),
        }
    }
}

impl Entry for RingEntry {
    const TABLE: u32 = 2;
    const LEN: usize = 32;

    fn write(&self, out: &mut &mut [u8]) {
        put(out, &self.ring.0.to_le_bytes());
        put(out, &self.first.0.to_le_bytes());
        put(out, &self.last.0.to_le_bytes());
        put(out, &self.events.to_le_bytes());
    }

    fn read(bytes: &mut &[u8]) -> Self {
        Self {
            ring: RingId(u64::from_le_bytes(take(bytes))),
            first: Sequence(u64::from_le_bytes(take(bytes))),
            last: Sequence(u64::from_le_bytes(take(bytes))),
            events: u64::from_le_bytes(take(bytes)),
        }
    }
}

impl Entry for SessionEntry {
    const TABLE: u32 = 3;
    const LEN: usize = 64;

    fn write(&self, out: &mut &mut [u8]) {
        let flags = [self.opened_here, self.closed_here, self.open_at_end];
        let flags = flags.iter().zip(0..).fold(0, |bits, (&flag, bit)| bits | (u32::from(flag) << bit));
        put(out, &self.session.0.to_le_bytes());
        put(out, &self.ring.0.to_le_bytes());
        put(out, &self.first_offset.to_le_bytes());
        put(out, &self.events.to_le_bytes());
        put(out, &self.to_upstream_bytes.to_le_bytes());
        put(out, &self.to_client_bytes.to_le_bytes());
        put(out, &flags.to_le_bytes());
        put(out, &[0; 4]);
    }

    fn read(bytes: &mut &[u8]) -> Self {
        let mut entry = Self {
            session: SessionId(u128::from_le_bytes(take(bytes))),
            ring: RingId(u64::from_le_bytes(take(bytes))),
            first_offset: u64::from_le_bytes(take(bytes)),
            events: u64::from_le_bytes(take(bytes)),
            to_upstream_bytes: u64::from_le_bytes(take(bytes)),
            to_client_bytes: u64::from_le_bytes(take(bytes)),
            ..Self::default()
        };
        let flags = u32::from_le_bytes(take(bytes));
        let _zero: [u8; 4] = take(bytes);
        entry.opened_here = flags & 1 != 0;
        entry.closed_here = flags & 2 != 0;
        entry.open_at_end = flags & 4 != 0;
        entry
    }
}

impl Entry for Intent {
    const TABLE: u32 = 4;
    const LEN: usize = 32;

    fn write(&self, out: &mut &mut [u8]) {
        put(out, &self.session.0.to_le_bytes());
        put(out, &self.ordinal.to_le_bytes());
        put(out, &self.lane.to_le_bytes());
        put(out, &[0; 4]);
    }

    fn read(bytes: &mut &[u8]) -> Self {
        let entry = Self {
            session: SessionId(u128::from_le_bytes(take(bytes))),
            ordinal: u64::from_le_bytes(take(bytes)),
            lane: u32::from_le_bytes(take(bytes)),
        };
        let _zero: [u8; 4] = take(bytes);
        entry
    }
}

impl Entry for WordEntry {
    const TABLE: u32 = 5;
    const LEN: usize = 16;

    fn write(&self, out: &mut &mut [u8]) {
        put(out, &self.token.to_le_bytes());
        put(out, &self.first.to_le_bytes());
        put(out, &self.count.to_le_bytes());
    }

    fn read(bytes: &mut &[u8]) -> Self {
        Self {
            token: u64::from_le_bytes(take(bytes)),
            first: u32::from_le_bytes(take(bytes)),
            count: u32::from_le_bytes(take(bytes)),
        }
    }
}

impl Entry for Span {
    const TABLE: u32 = 6;
    const LEN: usize = 8;

    fn write(&self, out: &mut &mut [u8]) {
        put(out, &self.first.to_le_bytes());
        put(out, &self.count.to_le_bytes());
    }

    fn read(bytes: &mut &[u8]) -> Self {
        Self { first: u32::from_le_bytes(take(bytes)), count: u32::from_le_bytes(take(bytes)) }
    }
}

impl Entry for Posting {
    const TABLE: u32 = 7;
    const LEN: usize = 4;

    fn write(&self, out: &mut &mut [u8]) {
        put(out, &self.0.to_le_bytes());
    }

    fn read(bytes: &mut &[u8]) -> Self {
        Self(u32::from_le_bytes(take(bytes)))
    }
}

impl Index {
    /// Sessions that opened here with the word of this token.
    pub fn sessions_with(&self, token: u64) -> impl Iterator<Item = &SessionEntry> {
        let places = self.postings_of(token).filter(|posting| posting.0 & Posting::OF_A_SESSION != 0);
        places.filter_map(|posting| self.sessions.get((posting.0 & !Posting::OF_A_SESSION) as usize))
    }

    /// Numbers of the blocks in which a request has the word of this token, ascending.
    pub fn blocks_with(&self, token: u64) -> impl Iterator<Item = u32> {
        let places = self.postings_of(token).filter(|posting| posting.0 & Posting::OF_A_SESSION == 0);
        places.map(|posting| posting.0)
    }

    /// Numbers of the blocks that hold events of a session, ascending.
    pub fn blocks_of(&self, session: SessionId) -> impl Iterator<Item = u32> {
        let place = self.sessions.binary_search_by_key(&session, |entry| entry.session).ok();
        let span = place.and_then(|place| self.session_blocks.get(place)).copied().unwrap_or_default();
        self.span(span.first, span.count).map(|posting| posting.0)
    }

    fn postings_of(&self, token: u64) -> impl Iterator<Item = Posting> {
        let from = self.words.partition_point(|word| word.token < token);
        let found = self.words.get(from..).unwrap_or_default();
        // Two words may have one token: whoever searches asks the events in the end.
        let found = found.iter().take_while(move |word| word.token == token);
        found.flat_map(|word| self.span(word.first, word.count))
    }

    fn span(&self, first: u32, count: u32) -> impl Iterator<Item = Posting> {
        let (first, end) = (first as usize, first as usize + count as usize);
        self.postings.get(first..end).unwrap_or_default().iter().copied()
    }

    /// Hands out the payload of each index frame in order.
    ///
    /// # Errors
    /// What `emit` answers.
    pub(crate) fn write<E>(&self, mut emit: impl FnMut(&[u8]) -> Result<(), E>) -> Result<(), E> {
        write_table(&self.blocks, &mut emit)?;
        write_table(&self.rings, &mut emit)?;
        write_table(&self.sessions, &mut emit)?;
        write_table(&self.intents, &mut emit)?;
        write_table(&self.words, &mut emit)?;
        write_table(&self.session_blocks, &mut emit)?;
        write_table(&self.postings, &mut emit)
    }

    /// Adds the piece in one index frame's payload.
    ///
    /// # Errors
    /// The recording's: not a piece of a table that this version knows.
    pub(crate) fn read_piece(&mut self, payload: &[u8]) -> Result<(), Error> {
        let mut rest = payload;
        let table = u32::from_le_bytes(take(&mut rest));
        let count = u32::from_le_bytes(take(&mut rest)) as usize;
        match table {
            Block::TABLE => read_table(&mut self.blocks, count, rest),
            RingEntry::TABLE => read_table(&mut self.rings, count, rest),
            SessionEntry::TABLE => read_table(&mut self.sessions, count, rest),
            Intent::TABLE => read_table(&mut self.intents, count, rest),
            WordEntry::TABLE => read_table(&mut self.words, count, rest),
            Span::TABLE => read_table(&mut self.session_blocks, count, rest),
            Posting::TABLE => read_table(&mut self.postings, count, rest),
            _ => Err(Error::Index("a table is not known to this version of Weir")),
        }
    }
}

fn write_table<T: Entry, E>(entries: &[T], emit: &mut impl FnMut(&[u8]) -> Result<(), E>) -> Result<(), E> {
    for piece in entries.chunks((PIECE_LEN - PIECE_HEADER_LEN) / T::LEN) {
        let mut payload = vec![0; PIECE_HEADER_LEN + piece.len() * T::LEN];
        let mut out = payload.as_mut_slice();
        put(&mut out, &T::TABLE.to_le_bytes());
        put(&mut out, &(piece.len() as u32).to_le_bytes());
        piece.iter().for_each(|entry| entry.write(&mut out));
        emit(&payload)?;
    }
    Ok(())
}

fn read_table<T: Entry>(entries: &mut Vec<T>, count: usize, mut bytes: &[u8]) -> Result<(), Error> {
    if count.checked_mul(T::LEN) != Some(bytes.len()) {
        return Err(Error::Index("a table's length does not match its count"));
    }
    entries.extend((0..count).map(|_| T::read(&mut bytes)));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_index_of_several_frames_reads_back_as_it_was() {
        let index = Index {
            blocks: (0..40_000)
                .map(|n| Block { offset: n, first_event: n, earliest_unix_us: -1, latest_unix_us: 1 })
                .collect(),
            rings: vec![RingEntry { ring: RingId(7), first: Sequence(2), last: Sequence(9), events: 8 }],
            sessions: vec![SessionEntry {
                session: SessionId(3),
                ring: RingId(7),
                first_offset: 4096,
                events: 8,
                to_upstream_bytes: 1,
                to_client_bytes: 2,
                opened_here: true,
                closed_here: false,
                open_at_end: true,
            }],
            intents: vec![Intent { session: SessionId(3), ordinal: 12, lane: 1 }],
            words: [7, 9, 9, 12].map(|token| WordEntry { token, first: 1, count: 2 }).to_vec(),
            session_blocks: vec![Span { first: 0, count: 1 }],
            postings: [4, 5, Posting::OF_A_SESSION].map(Posting).to_vec(),
        };
        let (mut back, mut pieces) = (Index::default(), 0);
        index
            .write(|payload| {
                pieces += 1;
                assert!(payload.len() <= PIECE_LEN);
                back.read_piece(payload)
            })
            .unwrap();
        assert_eq!(back, index);
        assert_eq!(pieces, 8);
        assert_eq!(back.blocks_with(9).collect::<Vec<_>>(), [5, 5], "both words of one token");
        assert_eq!(back.blocks_with(8).count() + back.sessions_with(8).count(), 0);
        assert_eq!(back.sessions_with(7).map(|entry| entry.session).collect::<Vec<_>>(), [SessionId(3)]);
        assert_eq!(back.blocks_of(SessionId(3)).collect::<Vec<_>>(), [4]);
        assert_eq!(back.blocks_of(SessionId(4)).count(), 0);
        for bad in [&[][..], &[9, 0, 0, 0, 0, 0, 0, 0], &[1, 0, 0, 0, 255, 255, 255, 255, 0]] {
            assert!(back.read_piece(bad).is_err());
        }
    }
}
