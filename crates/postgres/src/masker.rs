//! Masks rows, a batch at a time: one scanner call a batch, and only rows with something to hide are written anew.
//!
//! The first walk, which collects what is scanned, is here; `row_writer` has the second. It knows three row formats
//! (DataRow, COPY text or CSV, COPY binary) and nothing of whose answer they are.

use std::sync::Arc;

use bytes::BytesMut;
use weir_mask::{Cells, Finder, Gather, Ledger, MaskKey};
use weir_policy::MaskPlan;

use crate::Error;
use crate::codec::{Fields, body, header};
use crate::column_rows::{Columns, Tools};
use crate::copy_shape::TextFormat;
use crate::copy_text;
use crate::escapes;
use crate::layout::{Layout, Look};
use crate::row_writer::Writer;
use crate::values::{Scratch, push_texts};

/// Cell text that one scanner call sees at most, unless a single row has more.
pub(crate) const BATCH_BYTES: usize = 64 * 1024;

/// How rows are written.
#[derive(Debug)]
pub(crate) enum Format {
    Binary { header: bool },
    Row,
    Text(TextFormat),
}

/// Where a batch ended, and whether it has been written anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Batch {
    /// Nothing to hide in this many bytes: they may pass as they are.
    Pass(usize),
    /// This many bytes were replaced by what was appended.
    Rewritten(usize),
}

/// One scanned value of a batch.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Span {
    /// The cells pushed up to and with it.
    pub(crate) until: usize,
    /// It hides more than is looked for.
    pub(crate) hides: bool,
}

/// One row of a batch.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Row {
    /// Where its message ends in the batch.
    pub(crate) end: usize,
    /// Bytes of the body before its values: all of them where it has none.
    pub(crate) before: usize,
    /// The scanned values, and the cells, of all rows up to and with it.
    pub(crate) spans: usize,
    pub(crate) cells: usize,
    /// Some value hides more than is looked for.
    pub(crate) hides: bool,
}

/// The buffers of masking. In steady state it allocates nothing.
#[derive(Debug, Default)]
pub(crate) struct Masker {
    pub(crate) layout: Layout,
    pub(crate) ledger: Ledger,
    pub(crate) finder: Finder,
    cells: Cells,
    spans: Vec<Span>,
    rows: Vec<Row>,
    /// Rows of the last batch.
    count: u64,
    masked: Columns,
    scratch: Scratch,
    field: Vec<u8>,
    value: BytesMut,
    /// Bytes of the largest batch since the last trim.
    held: usize,
}

pub(crate) const MALFORMED: Error = Error::Unmaskable("a row is not what was described");

impl Masker {
    /// Begins an answer whose layout is resolved.
    pub(crate) fn begin(&mut self, plan: &MaskPlan) {
        self.ledger.begin(plan, &self.layout.columns);
        self.masked.begin(plan, &self.layout);
    }

    /// Gives back what a large answer made it hold: an idle session keeps little.
    pub(crate) fn trim(&mut self) {
        const KEPT_BYTES: usize = 2 * 1024;
        if self.held > KEPT_BYTES {
            let Self { layout, ledger, masked, .. } = std::mem::take(self);
            *self = Self { layout, ledger, masked, ..Self::default() };
        }
    }

    /// Masks the complete `tag` messages at the front of `input`, of which there is at least one; no more than `most`.
    pub(crate) fn batch(
        &mut self,
        plan: &Arc<MaskPlan>,
        key: &MaskKey,
        format: &mut Format,
        (tag, most): (u8, u64),
        input: &[u8],
        out: &mut BytesMut,
    ) -> Result<Batch, Error> {
        if plan.patterns.is_empty() {
            return self.columns_alone(key, format, (tag, most), input, out);
        }
        let len = self.collect(format, (tag, most), input)?;
        self.count = self.rows.len() as u64;
        self.held = self.held.max(self.cells.bytes()).max(len);
        let Self { layout, ledger, finder, cells, spans, rows, field, value, .. } = self;
        let found = finder.find_cells(plan, cells).map_err(|_| Error::Unmaskable("scan failed"))?;
        if found.is_empty() && !layout.columns.any() && !rows.iter().any(|row| row.hides) {
            return Ok(Batch::Pass(len));
        }
        let mut writer = Writer { plan, key, layout, ledger, spans, span: 0, cell: 0, found, field, value };
        writer.write(format, tag, input.get(..len).unwrap_or_default(), rows, out)?;
        Ok(Batch::Rewritten(len))
    }

    /// Masks whole columns where nothing is looked for.
    fn columns_alone(
        &mut self,
        key: &MaskKey,
        format: &mut Format,
        messages: (u8, u64),
        input: &[u8],
        out: &mut BytesMut,
    ) -> Result<Batch, Error> {
        let Self { layout, ledger, masked, field, value, .. } = self;
        let tools = Tools { key, field, value };
        let (len, rows) = masked.write(layout.columns.len(), format, messages, input, tools, out)?;
        masked.count(ledger);
        self.count = rows;
        self.held = self.held.max(self.field.capacity()).max(self.value.capacity());
        Ok(Batch::Rewritten(len))
    }

    /// Of the last batch.
    pub(crate) const fn row_count(&self) -> u64 {
        self.count
    }

    /// Walks rows until the batch is full; leaves the texts to scan in `cells`. How far it came.
    fn collect(&mut self, format: &mut Format, (tag, most): (u8, u64), input: &[u8]) -> Result<usize, Error> {
        let Self { layout, cells, spans, rows, scratch, field, .. } = self;
        spans.clear();
        rows.clear();
        let cells = cells.gather(input);
        let mut seen =
            Seen { looks: &layout.looks, values: 0, may_hide: false, hides: false, cells, spans, scratch };
        let mut len = 0;
        while seen.cells.bytes() < BATCH_BYTES && (rows.len() as u64) < most {
            let rest = input.get(len..).unwrap_or_default();
            let row = match header(rest) {
                Ok(Some(row)) if row.tag == tag => row,
                // What stands behind good rows is looked at once they are gone.
                Err(_) if len == 0 => return Err(Error::UpstreamLength),
                _ => break,
            };
            let Some(body) = body(rest, row.total) else { break };
            seen.values = 0;
            seen.hides = false;
            seen.may_hide = escapes::may_hide(body);
            let before = before_values(format, body);
            let whole = match (&mut *format, before.and_then(|before| body.get(before..))) {
                (_, None) => false,
                (_, Some([])) => true,
                (Format::Binary { .. } | Format::Row, Some(values)) => {
                    tuple(values, |value| seen.value(value)) == Some(true) && seen.is_whole()
                }
                (Format::Text(text), Some(values)) => {
                    let all = match copy_text::plain_fields(text, values) {
                        Some(mut fields) => fields.all(|(_, value)| seen.value(value)),
                        None => copy_text::fields(text, values, field, |_, value| seen.value(value)),
                    };
                    all && seen.is_whole()
                }
            };
            if !whole {
                if len == 0 {
                    return Err(MALFORMED);
                }
                break;
            }
            len += row.total;
            let (before, hides) = (before.unwrap_or_default(), seen.hides);
            rows.push(Row { end: len, before, spans: seen.spans.len(), cells: seen.cells.len(), hides });
        }
        Ok(len)
    }
}

/// What the first walk has seen.
struct Seen<'a> {
    looks: &'a [Look],
    /// Of the present row.
    values: usize,
    /// Whether a value of the row may stand for more than its bytes, and whether one does that is not looked into.
    may_hide: bool,
    hides: bool,
    cells: Gather<'a>,
    spans: &'a mut Vec<Span>,
    scratch: &'a mut Scratch,
}

impl Seen<'_> {
    /// False where the row has more values than the answer has columns.
    #[inline]
    fn value(&mut self, value: Option<&[u8]>) -> bool {
        let Some(look) = self.looks.get(self.values) else { return false };
        self.values += 1;
        let Some(value) = value else { return true };
        let all = match look {
            Look::Nothing => return true,
            Look::AsIs if self.may_hide => escapes::push(value, &mut self.scratch.decoded, &mut self.cells),
            Look::AsIs => {
                self.cells.push(value);
                true
            }
            Look::Read(shape) => push_texts(*shape, value, self.scratch, &mut self.cells),
        };
        self.spans.push(Span { until: self.cells.len(), hides: !all });
        self.hides |= !all;
        true
    }

    const fn is_whole(&self) -> bool {
        self.values == self.looks.len()
    }
}

/// Calls `each` for every value of a tuple: count, then length and bytes each. `Some(true)`: all of it, to the end.
#[inline]
fn tuple(body: &[u8], mut each: impl FnMut(Option<&[u8]>) -> bool) -> Option<bool> {
    let mut fields = Fields(body);
    for _ in 0..fields.count()? {
        if !each(fields.value()?) {
            return Some(false);
        }
    }
    Some(fields.is_empty())
}

/// How much of a message's body comes before the values of its row: all of it where it holds none, as COPY's header
/// and trailer do. `None`: it is malformed. The first message of COPY is its header, or has it before its row.
pub(crate) fn before_values(format: &mut Format, body: &[u8]) -> Option<usize> {
    match format {
        Format::Binary { header } => {
            let before = if std::mem::take(header) { binary_header(body)? } else { 0 };
            let is_trailer = body.get(before..) == Some(&[0xff, 0xff]);
            Some(if is_trailer { body.len() } else { before })
        }
        Format::Row => (!body.is_empty()).then_some(0),
        Format::Text(text) => {
            let is_header = std::mem::take(&mut text.header);
            if is_header { Some(body.len()) } else { (!body.is_empty()).then_some(0) }
        }
    }
}

/// Length of the signature, the flags and the header's extension.
pub(crate) fn binary_header(body: &[u8]) -> Option<usize> {
    let mut fields = Fields(body.strip_prefix(b"PGCOPY\n\xff\r\n\0")?);
    fields.u32()?;
    let extension = usize::try_from(fields.i32()?).ok()?;
    fields.bytes(extension)?;
    Some(body.len() - fields.0.len())
}
