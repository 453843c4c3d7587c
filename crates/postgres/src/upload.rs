//! COPY data on its way upstream: noted for the record before it is forwarded, protected values replaced in the note.
//!
//! What the note still holds back at the end of a message is noted no later than CopyDone, without which the
//! upstream keeps nothing.

use std::sync::Arc;

use bytes::{BufMut as _, BytesMut};
use weir_mask::{Ledger, MaskKey, StreamMask, same_name};
use weir_policy::{CopyDirection, CopyEnd, Facts, MaskPlan, Place, StatementFacts};
use weir_wire::{NoteKind, Outbox};

use crate::codec::put_cstr;
use crate::copy_shape::CopyShape;
use crate::layout::Formats;
use crate::lineage::{Doubt, Lineage};
use crate::masker::{Format, Masker};
use crate::upload_rows::{Lost, Rows};

/// How the data of one COPY is noted.
#[derive(Debug)]
pub(crate) enum Upload {
    /// As it is.
    Plain,
    /// Row by row, masked by column and by pattern.
    Rows(Box<Rows>),
    /// What the patterns find is replaced.
    Scrubbed(Box<StreamMask>),
    /// By its size only.
    Withheld,
}

/// What is known of an upload when the upstream is ready for it.
pub(crate) struct Began<'a> {
    /// Of the text that started it.
    pub(crate) facts: Option<&'a Facts>,
    /// How its rows are written, where the text was understood.
    pub(crate) shape: Option<CopyShape>,
    /// A RowDescription of the table, where the text names no columns.
    pub(crate) described: &'a [u8],
    /// CopyInResponse's.
    pub(crate) binary: bool,
    /// CopyInResponse's.
    pub(crate) columns: usize,
}

impl Upload {
    pub(crate) fn new(
        plan: Option<&Arc<MaskPlan>>,
        lineage: &Lineage,
        began: Began<'_>,
        masker: &mut Masker,
    ) -> Self {
        let Some(plan) = plan else { return Self::Plain };
        if !plan.columns.is_empty() && !began.facts.is_some_and(|facts| is_clear(plan, lineage, facts)) {
            return began
                .rows(plan, lineage, masker)
                .map_or(Self::Withheld, |rows| Self::Rows(Box::new(rows)));
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
    pub(crate) fn push(
        &mut self,
        masker: &mut Masker,
        key: &MaskKey,
        piece: &[u8],
        scratch: &mut BytesMut,
        out: &mut Outbox,
    ) {
        scratch.clear();
        match self {
            Self::Plain => note(piece, out),
            Self::Rows(rows) => {
                let pushed = rows.push(masker, key, piece, scratch);
                note(scratch, out);
                if let Err(Lost(len)) = pushed {
                    *self = Self::Withheld;
                    withheld(len, out);
                }
            }
            Self::Scrubbed(mask) => {
                if mask.push(key, piece, &mut Ledger::default(), scratch).is_err() {
                    *self = Self::Withheld;
                    withheld(piece.len(), out);
                } else {
                    note(scratch, out);
                }
            }
            Self::Withheld => withheld(piece.len(), out),
        }
    }

    /// Notes what was held back.
    pub(crate) fn finish(
        &mut self,
        masker: &mut Masker,
        key: &MaskKey,
        scratch: &mut BytesMut,
        out: &mut Outbox,
    ) {
        scratch.clear();
        match self {
            Self::Plain | Self::Withheld => {}
            Self::Rows(rows) => {
                let finished = rows.finish(masker, key, scratch);
                note(scratch, out);
                if let Err(Lost(len)) = finished {
                    withheld(len, out);
                }
            }
            Self::Scrubbed(mask) => {
                let held = mask.held();
                if mask.finish(key, &mut Ledger::default(), scratch).is_err() {
                    withheld(held, out);
                } else {
                    note(scratch, out);
                }
            }
        }
    }
}

fn note(bytes: &[u8], out: &mut Outbox) {
    if !bytes.is_empty() {
        out.notes.upload_piece(bytes);
    }
}

fn withheld(len: usize, out: &mut Outbox) {
    out.notes.note(NoteKind::Upload, |note| {
        use std::io::Write as _;
        // Writing into a vector cannot fail.
        let _ = write!(note, "[{len} bytes withheld: they may hold protected columns]");
    });
}

impl Began<'_> {
    /// `None` where it is not certain what the rows' columns are.
    fn rows(self, plan: &Arc<MaskPlan>, lineage: &Lineage, masker: &mut Masker) -> Option<Rows> {
        let shape = self.shape?;
        let format = match shape.text {
            None => self.binary.then_some(Format::Binary { header: true })?,
            Some(text) => (!self.binary).then_some(Format::Text(text))?,
        };
        let named = named_columns(self.facts?);
        let mut description = BytesMut::new();
        let description = if named.is_empty() {
            self.described
        } else {
            describe(&named, self.binary, &mut description);
            &description
        };
        let binary = self.binary;
        // Where a name is that of a protected column and no rule's, columns were renamed: any may be it.
        let renamed = |name: &&str| lineage.protects_name(plan, name) && !is_ruled(plan, name);
        let doubt = Doubt { expressions: named.iter().any(renamed), catalog: false };
        let origins = lineage.origins(plan, doubt);
        let resolved = masker.layout.resolve(plan, origins, description, Formats::All { binary });
        // A generated column is described and not uploaded: then nothing is certain.
        if !resolved || masker.layout.shapes.len() != self.columns {
            return None;
        }
        masker.begin(plan);
        Some(Rows::new(Arc::clone(plan), format))
    }
}

/// Body of a RowDescription with these names; the types are not known, so text is taken for text and the rest for bytes.
fn describe(names: &[&str], binary: bool, out: &mut BytesMut) {
    out.put_i16(i16::try_from(names.len()).unwrap_or(i16::MAX));
    for name in names {
        put_cstr(out, name.as_bytes());
        out.put_bytes(0, 6);
        out.put_u32(if binary { 0 } else { 25 });
        out.put_bytes(0, 8);
    }
}

/// Whether the text uploads rows, alone.
pub(crate) fn copies_in(facts: &Facts) -> bool {
    upload(facts).is_some()
}

fn upload(facts: &Facts) -> Option<&StatementFacts> {
    let [statement] = &*facts.statements else { return None };
    let copy = statement.copy?;
    (copy.direction == CopyDirection::From && copy.end == CopyEnd::Client).then_some(statement)
}

/// The columns that the text names, in order.
pub(crate) fn named_columns(facts: &Facts) -> Vec<&str> {
    let columns = upload(facts).into_iter().flat_map(|statement| &statement.columns);
    columns.filter(|column| column.place == Place::Assigned).map(|column| column.name.as_str()).collect()
}

/// Whether the COPY names its columns and none of them is protected.
fn is_clear(plan: &Arc<MaskPlan>, lineage: &Lineage, facts: &Facts) -> bool {
    let named = named_columns(facts);
    let protected = |name: &&str| is_ruled(plan, name) || lineage.protects_name(plan, name);
    !named.is_empty() && !named.iter().any(protected)
}

fn is_ruled(plan: &MaskPlan, name: &str) -> bool {
    plan.columns.iter().any(|rule| same_name(&rule.column, name.as_bytes()))
}
