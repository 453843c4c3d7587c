//! Where a machine leaves what it wants sent and noted: bytes for each peer, and notes for the record.
//!
//! The outbox sends nothing and bounds nothing by itself: the driver drains it after every step, and stops reading
//! from a side whose destination is over its bound.

use bytes::BytesMut;

use crate::{Lane, Side};

#[derive(Debug)]
pub struct Outbox {
    /// Application bytes for the client, exactly as the client will see them. What is recorded as the answer.
    pub client: BytesMut,
    /// Application bytes for the upstream.
    pub upstream: BytesMut,
    pub notes: Notes,
    /// Rows of answers that may still pass. The driver sets it before a step; a machine that passes rows takes one off for
    /// each, ends its step where none is left, and fails where a row comes and none was given.
    pub row_allowance: u64,
}

impl Default for Outbox {
    fn default() -> Self {
        Self {
            client: BytesMut::new(),
            upstream: BytesMut::new(),
            notes: Notes::default(),
            row_allowance: u64::MAX,
        }
    }
}

impl Outbox {
    pub const fn queue(&mut self, to: Side) -> &mut BytesMut {
        match to {
            Side::Client => &mut self.client,
            Side::Upstream => &mut self.upstream,
        }
    }

    pub fn is_empty(&self) -> bool {
        self.client.is_empty() && self.upstream.is_empty() && self.notes.is_empty()
    }
}

/// What a note is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoteKind {
    /// One result's masking ledger, as JSON.
    MaskLedger,
    /// Client data on its way upstream inside an allowed command (COPY, a request body), scrubbed.
    Upload,
    /// Something that people should look at, as JSON: a protected column that was renamed.
    Alarm,
    /// How a command ended (command tag, row count, SQLSTATE, HTTP status, exit status), as JSON.
    Outcome,
    /// What the client is sent, from a machine that seals it.
    Answer,
    /// Something of the protocol that is no command and no data (a terminal's size, a signal), as JSON.
    Event,
}

/// Notes for the record in one reused buffer: no allocation a note in steady state.
#[derive(Debug, Default)]
pub struct Notes {
    bytes: Vec<u8>,
    ends: Vec<(Lane, NoteKind, usize)>,
    /// The last note is data that the next piece of its kind continues.
    open: bool,
    /// Bytes that a machine which seals has passed: to the upstream, and to the client.
    passed: (u64, u64),
}

impl Notes {
    /// Appends one note, written by `fill`.
    pub fn note(&mut self, kind: NoteKind, fill: impl FnOnce(&mut Vec<u8>)) {
        self.note_on(Lane::default(), kind, fill);
    }

    /// Appends one note about `lane`.
    pub fn note_on(&mut self, lane: Lane, kind: NoteKind, fill: impl FnOnce(&mut Vec<u8>)) {
        fill(&mut self.bytes);
        self.ends.push((lane, kind, self.bytes.len()));
        self.open = false;
    }

    /// Appends a piece of a client's data. Neighbouring pieces become one upload note: a line of the record for each,
    /// which may be a dozen bytes, would cost more than the data. What is said *about* data is a note of its own, so
    /// that no client can write it.
    pub fn upload_piece(&mut self, piece: &[u8]) {
        self.piece_on(Lane::default(), NoteKind::Upload, piece);
    }

    /// Appends a piece of the data that passes on `lane`: as [`Notes::upload_piece`], for [`NoteKind::Answer`] too.
    pub fn piece_on(&mut self, lane: Lane, kind: NoteKind, piece: &[u8]) {
        self.bytes.extend_from_slice(piece);
        match self.ends.last_mut().filter(|(on, of, _)| self.open && *on == lane && *of == kind) {
            Some((_, _, end)) => *end = self.bytes.len(),
            None => self.ends.push((lane, kind, self.bytes.len())),
        }
        self.open = true;
    }

    /// From a machine that seals: so many of a peer's own bytes pass, told or not.
    pub const fn count(&mut self, to: Side, bytes: usize) {
        match to {
            Side::Client => self.passed.1 += bytes as u64,
            Side::Upstream => self.passed.0 += bytes as u64,
        }
    }

    /// What was counted since the last time: to the upstream, and to the client.
    pub fn take_passed(&mut self) -> (u64, u64) {
        std::mem::take(&mut self.passed)
    }

    /// Bytes of all notes.
    pub const fn len_bytes(&self) -> usize {
        self.bytes.len()
    }

    pub const fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// The notes in order.
    pub fn iter(&self) -> impl Iterator<Item = (NoteKind, &[u8])> {
        self.with_lanes().map(|(_, kind, note)| (kind, note))
    }

    /// The notes in order, with what they are about.
    pub fn with_lanes(&self) -> impl Iterator<Item = (Lane, NoteKind, &[u8])> {
        let mut start = 0;
        self.ends.iter().map(move |&(lane, kind, end)| {
            let note = self.bytes.get(start..end).unwrap_or_default();
            start = end;
            (lane, kind, note)
        })
    }

    pub fn clear(&mut self) {
        self.bytes.clear();
        self.ends.clear();
        self.open = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbouring_pieces_are_one_note_and_everything_else_keeps_its_place() {
        let mut notes = Notes::default();
        notes.upload_piece(b"a");
        notes.upload_piece(b"b");
        notes.note(NoteKind::Upload, |note| note.extend_from_slice(b"[withheld]"));
        notes.upload_piece(b"c");
        notes.note(NoteKind::Outcome, |note| note.extend_from_slice(b"d"));
        notes.upload_piece(b"e");
        let told: Vec<_> = notes.iter().collect();
        let expected: [(NoteKind, &[u8]); 5] = [
            (NoteKind::Upload, b"ab"),
            (NoteKind::Upload, b"[withheld]"),
            (NoteKind::Upload, b"c"),
            (NoteKind::Outcome, b"d"),
            (NoteKind::Upload, b"e"),
        ];
        assert_eq!((told.as_slice(), notes.len_bytes()), (expected.as_slice(), 15));
        notes.clear();
        assert!(notes.is_empty());
    }

    #[test]
    fn pieces_of_two_lanes_or_two_directions_are_never_joined() {
        let mut notes = Notes::default();
        notes.piece_on(Lane(4), NoteKind::Answer, b"a");
        notes.piece_on(Lane(4), NoteKind::Answer, b"b");
        notes.piece_on(Lane(5), NoteKind::Answer, b"c");
        notes.piece_on(Lane(5), NoteKind::Upload, b"d");
        let told: Vec<_> = notes.with_lanes().collect();
        let expected: [(Lane, NoteKind, &[u8]); 3] = [
            (Lane(4), NoteKind::Answer, b"ab"),
            (Lane(5), NoteKind::Answer, b"c"),
            (Lane(5), NoteKind::Upload, b"d"),
        ];
        assert_eq!(told, expected);
    }
}
