//! Notes request bodies for the record as they go upstream, scrubbed by the mask rules, in bounded pieces.

use std::sync::Arc;

use bytes::BytesMut;
use weir_mask::{Ledger, MaskKey};
use weir_policy::MaskPlan;
use weir_wire::{NoteKind, Notes};

use crate::content::Content;
use crate::reply::{ContentKind, Format};

/// Bytes of one note.
const MAX_NOTE_BYTES: usize = 64 << 10;

const WITHHELD: &[u8] = b"[withheld: this body could not be scrubbed]";

/// The upload of one request.
#[derive(Debug, Default)]
pub(crate) struct Upload {
    how: How,
    scrubbed: BytesMut,
    ledger: Ledger,
}

#[derive(Debug, Default)]
enum How {
    /// No rule protects anything.
    #[default]
    Plain,
    Scrubbed(Box<Content>),
    /// It cannot be scrubbed, so none of it is noted; said once.
    Withheld {
        said: bool,
    },
}

impl Upload {
    /// Starts with the plan of the request's permit. An `encoded` body cannot be looked through.
    pub(crate) fn begin(&mut self, plan: Option<&Arc<MaskPlan>>, encoded: bool, kind: ContentKind) {
        let format = match kind {
            ContentKind::Text(format) => format,
            ContentKind::Binary | ContentKind::Illegible | ContentKind::Media => Format::Text,
        };
        self.how = match plan {
            None => How::Plain,
            Some(_) if encoded => How::Withheld { said: false },
            Some(plan) => match Content::new(format, None, Some(plan), None) {
                Ok(mask) => How::Scrubbed(Box::new(mask)),
                Err(_) => How::Withheld { said: false },
            },
        };
    }

    /// Whether everything is noted as it is.
    pub(crate) const fn is_plain(&self) -> bool {
        matches!(self.how, How::Plain)
    }

    /// Takes the next bytes of the body.
    pub(crate) fn take(&mut self, key: &MaskKey, bytes: &[u8], notes: &mut Notes) {
        if bytes.is_empty() {
            return;
        }
        match &mut self.how {
            How::Plain => note(bytes, notes),
            How::Scrubbed(mask) => {
                let pushed = mask.push(key, bytes, &mut self.ledger, &mut self.scrubbed);
                self.settle(pushed.is_err(), notes);
            }
            How::Withheld { said } => {
                if !std::mem::replace(said, true) {
                    withheld(notes);
                }
            }
        }
    }

    /// The body is complete.
    pub(crate) fn finish(&mut self, key: &MaskKey, notes: &mut Notes) {
        if let How::Scrubbed(mask) = &mut self.how {
            let finished = mask.finish(key, &mut self.ledger, &mut self.scrubbed);
            self.settle(finished.is_err(), notes);
        }
        self.how = How::Plain;
    }

    fn settle(&mut self, failed: bool, notes: &mut Notes) {
        note(&self.scrubbed, notes);
        self.scrubbed.clear();
        if failed {
            withheld(notes);
            self.how = How::Withheld { said: true };
        }
    }
}

fn withheld(notes: &mut Notes) {
    notes.note(NoteKind::Upload, |note| note.extend_from_slice(WITHHELD));
}

fn note(bytes: &[u8], notes: &mut Notes) {
    for piece in bytes.chunks(MAX_NOTE_BYTES) {
        notes.upload_piece(piece);
    }
}
