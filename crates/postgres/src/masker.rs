//! Masks rows, a batch at a time: one scanner call a batch, and only rows with something to hide are written anew.
//!
//! It knows three row formats (DataRow, COPY text or CSV, COPY binary) and nothing of whose answer they are.

use std::sync::Arc;

use bytes::{Buf as _, BufMut, BytesMut};
use weir_mask::{Cells, Finder, Found, Ledger, MaskKey, Replacement};
use weir_policy::MaskPlan;

use crate::Error;
use crate::codec::{Fields, body, header, message};
use crate::copy_shape::TextFormat;
use crate::copy_text;
use crate::layout::Layout;
use crate::values::{Scratch, mask_by_column, mask_by_pattern, push_texts};

/// Cell text that one scanner call sees at most, unless a single row has more.
const BATCH_BYTES: usize = 64 * 1024;

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
struct Span {
    /// The cells pushed up to and with it.
    until: usize,
    /// It hides more than is looked for.
    hides: bool,
}

/// The buffers of masking. In steady state it allocates nothing.
#[derive(Debug, Default)]
pub(crate) struct Masker {
    pub(crate) layout: Layout,
    pub(crate) ledger: Ledger,
    pub(crate) finder: Finder,
    cells: Cells,
    spans: Vec<Span>,
    /// Some value of the batch hides more than is looked for.
    hides: bool,
    scratch: Scratch,
    field: Vec<u8>,
    value: BytesMut,
    /// Bytes of the largest batch since the last trim.
    held: usize,
}

const MALFORMED: Error = Error::Unmaskable("a row is not what was described");

impl Masker {
    /// Begins an answer whose layout is resolved.
    pub(crate) fn begin(&mut self, plan: &MaskPlan) {
        self.ledger.begin(plan, &self.layout.columns);
    }

    /// Gives back what a large answer made it hold: an idle session keeps little.
    pub(crate) fn trim(&mut self) {
        const KEPT_BYTES: usize = 2 * 1024;
        if self.held > KEPT_BYTES {
            let Self { layout, ledger, .. } = std::mem::take(self);
            *self = Self { layout, ledger, ..Self::default() };
        }
    }

    /// Masks the complete `tag` messages at the front of `input`, of which there is at least one.
    pub(crate) fn batch(
        &mut self,
        plan: &Arc<MaskPlan>,
        key: &MaskKey,
        format: &mut Format,
        tag: u8,
        input: &[u8],
        out: &mut BytesMut,
    ) -> Result<Batch, Error> {
        let (len, header_first) = self.collect(format, tag, input)?;
        self.held = self.held.max(self.cells.bytes()).max(len);
        let Self { layout, ledger, finder, cells, spans, hides, field, value, .. } = self;
        let found = finder.find_cells(plan, cells).map_err(|_| Error::Unmaskable("scan failed"))?;
        if found.is_empty() && !*hides && !layout.columns.any() {
            return Ok(Batch::Pass(len));
        }
        let mut writer = Writer { plan, key, layout, ledger, spans, cell: 0, found, field, value };
        writer.write(format, tag, input.get(..len).unwrap_or_default(), header_first, out)?;
        Ok(Batch::Rewritten(len))
    }

    /// Walks rows until the batch is full; leaves the texts to scan in `cells`.
    fn collect(&mut self, format: &mut Format, tag: u8, input: &[u8]) -> Result<(usize, bool), Error> {
        self.cells.clear();
        self.spans.clear();
        self.hides = false;
        let mut len = 0;
        let mut starts_header = false;
        while self.cells.bytes() < BATCH_BYTES {
            let rest = input.get(len..).unwrap_or_default();
            let row = match header(rest) {
                Ok(Some(row)) if row.tag == tag => row,
                // What stands behind good rows is looked at once they are gone.
                Err(_) if len == 0 => return Err(Error::UpstreamLength),
                _ => break,
            };
            let Some(body) = body(rest, row.total) else { break };
            let Self { layout, cells, spans, hides, scratch, field, .. } = self;
            let mut index = 0;
            let mut each = |_: &[u8], value: Option<&[u8]>| {
                let Some(shape) = layout.shapes.get(index) else { return false };
                if let Some(value) = value
                    && layout.columns.rule(index).is_none()
                {
                    let seen = push_texts(*shape, value, scratch, cells);
                    spans.push(Span { until: cells.len(), hides: !seen });
                    *hides |= !seen;
                }
                index += 1;
                true
            };
            let whole = match format {
                Format::Row => tuple(body, &mut each) == Some(true),
                Format::Binary { header } => {
                    let (rows, skipped) = binary_rows(body, *header);
                    if skipped {
                        starts_header = true;
                        *header = false;
                    }
                    match rows {
                        BinaryRows::Tuple(rows) => tuple(rows, &mut each) == Some(true),
                        BinaryRows::None => {
                            index = layout.shapes.len();
                            true
                        }
                        BinaryRows::Malformed => false,
                    }
                }
                Format::Text(text) if text.header => {
                    // The header row: names, not values. It stands alone, so that what follows is looked at.
                    text.header = false;
                    return Ok((len + row.total, true));
                }
                Format::Text(text) => copy_text::fields(text, body, field, &mut each),
            };
            if !whole || index != layout.shapes.len() {
                if len == 0 {
                    return Err(MALFORMED);
                }
                break;
            }
            len += row.total;
        }
        Ok((len, starts_header))
    }
}

/// Calls `each` for every value of a tuple: count, then length and bytes each. `Some(true)`: all of it, to the end.
fn tuple(body: &[u8], each: &mut impl FnMut(&[u8], Option<&[u8]>) -> bool) -> Option<bool> {
    let mut fields = Fields(body);
    for _ in 0..fields.count()? {
        let value = fields.value()?;
        if !each(value.unwrap_or_default(), value) {
            return Some(false);
        }
    }
    Some(fields.is_empty())
}

enum BinaryRows<'a> {
    Malformed,
    /// The trailer, or a header that stands alone.
    None,
    Tuple(&'a [u8]),
}

/// What a CopyData message of COPY binary holds; the first has the file header before it. Whether it had.
fn binary_rows(body: &[u8], header: bool) -> (BinaryRows<'_>, bool) {
    let rest = if header { binary_header(body).and_then(|len| body.get(len..)) } else { Some(body) };
    let rows = match rest {
        None => BinaryRows::Malformed,
        Some([] | [0xff, 0xff]) => BinaryRows::None,
        Some(rows) => BinaryRows::Tuple(rows),
    };
    (rows, header)
}

/// Length of the signature, the flags and the header's extension.
pub(crate) fn binary_header(body: &[u8]) -> Option<usize> {
    let mut fields = Fields(body.strip_prefix(b"PGCOPY\n\xff\r\n\0")?);
    fields.u32()?;
    let extension = usize::try_from(fields.i32()?).ok()?;
    fields.bytes(extension)?;
    Some(body.len() - fields.0.len())
}

/// The second walk: writes what the first one found.
struct Writer<'a> {
    plan: &'a MaskPlan,
    key: &'a MaskKey,
    layout: &'a Layout,
    ledger: &'a mut Ledger,
    /// Of the scanned values still to come.
    spans: &'a [Span],
    /// The first cell of the next scanned value.
    cell: usize,
    /// In what is still to come.
    found: &'a [Found],
    field: &'a mut Vec<u8>,
    value: &'a mut BytesMut,
}

/// What became of one value.
enum Became {
    Null,
    Same,
    Written,
}

impl<'a> Writer<'a> {
    fn write(
        &mut self,
        format: &Format,
        tag: u8,
        rows: &[u8],
        mut header_first: bool,
        out: &mut BytesMut,
    ) -> Result<(), Error> {
        let mut rest = rows;
        while let Some(row) = header(rest).map_err(|_| MALFORMED)? {
            let body = body(rest, row.total).ok_or(MALFORMED)?;
            let mut whole = Ok(());
            message(out, tag, |out| whole = self.row(format, body, header_first, out));
            whole?;
            header_first = false;
            rest.advance(row.total);
        }
        Ok(())
    }

    fn row(
        &mut self,
        format: &Format,
        body: &[u8],
        header_first: bool,
        out: &mut BytesMut,
    ) -> Result<(), Error> {
        match format {
            Format::Row => self.tuple(body, out),
            Format::Binary { .. } => {
                let (rows, _) = binary_rows(body, header_first);
                match rows {
                    BinaryRows::Tuple(rows) => {
                        out.extend_from_slice(body.get(..body.len() - rows.len()).unwrap_or_default());
                        self.tuple(rows, out)
                    }
                    BinaryRows::None => {
                        out.extend_from_slice(body);
                        Ok(())
                    }
                    BinaryRows::Malformed => Err(MALFORMED),
                }
            }
            Format::Text(text) if header_first => {
                let _ = text;
                out.extend_from_slice(body);
                Ok(())
            }
            Format::Text(text) => self.text(text, body, out),
        }
    }

    fn tuple(&mut self, rows: &[u8], out: &mut BytesMut) -> Result<(), Error> {
        out.extend_from_slice(rows.get(..2).ok_or(MALFORMED)?);
        let mut index = 0;
        let whole = tuple(rows, &mut |_, value| {
            let became = value.map_or(Became::Null, |value| self.value(index, value));
            index += 1;
            let value = match became {
                Became::Null => None,
                Became::Same => value,
                Became::Written => Some(&**self.value),
            };
            match value {
                None => out.put_i32(-1),
                Some(value) => {
                    out.put_i32(i32::try_from(value.len()).unwrap_or(i32::MAX));
                    out.extend_from_slice(value);
                }
            }
            true
        });
        if whole == Some(true) { Ok(()) } else { Err(MALFORMED) }
    }

    fn text(&mut self, format: &TextFormat, row: &[u8], out: &mut BytesMut) -> Result<(), Error> {
        let mut scratch = std::mem::take(self.field);
        let mut index = 0;
        let whole = copy_text::fields(format, row, &mut scratch, |raw, value| {
            if index > 0 {
                out.put_u8(format.delimiter);
            }
            let became = value.map_or(Became::Same, |value| self.value(index, value));
            index += 1;
            match became {
                Became::Null => copy_text::put_field(format, None, out),
                Became::Same => out.extend_from_slice(raw),
                Became::Written => copy_text::put_field(format, Some(self.value), out),
            }
            true
        });
        *self.field = scratch;
        out.extend_from_slice(if row.ends_with(b"\r\n") && format.csv { b"\r\n" } else { b"\n" });
        if whole { Ok(()) } else { Err(MALFORMED) }
    }

    /// Leaves the replacement of a value that is not NULL in `value`.
    fn value(&mut self, index: usize, value: &[u8]) -> Became {
        let Some(shape) = self.layout.shapes.get(index).copied() else { return Became::Null };
        self.value.clear();
        let replacement = if let Some(rule) = self.layout.columns.get(self.plan, index) {
            self.ledger.cell(index);
            mask_by_column(shape, &rule.method, self.key, value, self.value)
        } else {
            let first = self.cell;
            let (found, hides) = self.found_here();
            self.ledger.found(found);
            match (hides, found) {
                (true, _) => {
                    self.ledger.withheld();
                    Replacement::Null
                }
                (false, []) => return Became::Same,
                (false, _) => mask_by_pattern(shape, self.plan, self.key, value, first, found, self.value),
            }
        };
        match replacement {
            Replacement::Null => Became::Null,
            Replacement::Written => Became::Written,
        }
    }

    /// What was found in the next scanned value, and whether it hides more.
    fn found_here(&mut self) -> (&'a [Found], bool) {
        let last = Span { until: usize::MAX, hides: true };
        let (span, spans) = self.spans.split_first().map_or((last, &[][..]), |(span, rest)| (*span, rest));
        self.spans = spans;
        self.cell = span.until;
        let count = self.found.iter().take_while(|each| each.cell < span.until).count();
        let (found, rest) = self.found.split_at_checked(count).unwrap_or_default();
        self.found = rest;
        (found, span.hides)
    }
}
