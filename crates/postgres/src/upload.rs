//! COPY data on its way upstream: noted for the record before it is forwarded, protected values replaced in the note.
//!
//! What the note still holds back at the end of a message is noted no later than CopyDone, without which the
//! upstream keeps nothing.

use std::sync::Arc;

use bytes::BytesMut;
use weir_mask::{Ledger, MaskKey, StreamMask};
use weir_policy::{CopyDirection, CopyEnd, Facts, MaskPlan, Place};
use weir_wire::{NoteKind, Outbox};

/// How the data of one COPY is noted.
#[derive(Debug)]
pub(crate) enum Upload {
    /// As it is.
    Plain,
    Scrubbed(Box<StreamMask>),
    /// By its size only.
    Withheld,
}

impl Upload {
    /// `facts` are those of the text that started it.
    pub(crate) fn new(plan: Option<&Arc<MaskPlan>>, facts: Option<&Facts>) -> Self {
        let Some(plan) = plan else { return Self::Plain };
        if !plan.columns.is_empty() && !facts.is_some_and(|facts| is_clear(plan, facts)) {
            return Self::Withheld;
        }
        if plan.patterns.is_empty() {
            return Self::Plain;
        }
        match StreamMask::new(Some(Arc::clone(plan)), None) {
            Ok(mask) => Self::Scrubbed(Box::new(mask)),
            Err(_) => Self::Withheld,
        }
    }

    /// Notes a piece of data.
    pub(crate) fn push(&mut self, key: &MaskKey, piece: &[u8], scratch: &mut BytesMut, out: &mut Outbox) {
        match self {
            Self::Plain => out.notes.note(NoteKind::Upload, |note| note.extend_from_slice(piece)),
            Self::Scrubbed(mask) => {
                scratch.clear();
                if mask.push(key, piece, &mut Ledger::default(), scratch).is_err() {
                    *self = Self::Withheld;
                    withheld(piece.len(), out);
                } else if !scratch.is_empty() {
                    out.notes.note(NoteKind::Upload, |note| note.extend_from_slice(scratch));
                }
            }
            Self::Withheld => withheld(piece.len(), out),
        }
    }

    /// Notes what was held back.
    pub(crate) fn finish(&mut self, key: &MaskKey, scratch: &mut BytesMut, out: &mut Outbox) {
        if let Self::Scrubbed(mask) = self {
            scratch.clear();
            let held = mask.held();
            if mask.finish(key, &mut Ledger::default(), scratch).is_err() {
                withheld(held, out);
            } else if !scratch.is_empty() {
                out.notes.note(NoteKind::Upload, |note| note.extend_from_slice(scratch));
            }
        }
    }
}

fn withheld(len: usize, out: &mut Outbox) {
    out.notes.note(NoteKind::Upload, |note| {
        use std::io::Write as _;
        // Writing into a vector cannot fail.
        let _ = write!(note, "[{len} bytes withheld: they may hold protected columns]");
    });
}

/// Whether the COPY names its columns and none of them is protected.
fn is_clear(plan: &MaskPlan, facts: &Facts) -> bool {
    let [statement] = facts.statements.as_slice() else { return false };
    let uploads = statement
        .copy
        .is_some_and(|copy| copy.direction == CopyDirection::From && copy.end == CopyEnd::Client);
    let mut named = statement.columns.iter().filter(|column| column.place == Place::Assigned).peekable();
    uploads
        && named.peek().is_some()
        && named.all(|column| {
            plan.columns.iter().all(|rule| rule.column.to_lowercase() != column.name.to_lowercase())
        })
}
