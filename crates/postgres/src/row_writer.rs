//! Writes a batch of rows anew with what was found in them replaced, and copies the rows between as they came.
//!
//! It looks for nothing: what to hide was found before, by `masker`.

use bytes::{BufMut as _, BytesMut};
use weir_mask::{Found, Ledger, MaskKey, Replacement};
use weir_policy::MaskPlan;

use crate::Error;
use crate::codec::{Fields, body, message};
use crate::copy_shape::TextFormat;
use crate::copy_text;
use crate::layout::{Layout, Look};
use crate::masker::{Format, MALFORMED, Row, Span};
use crate::values::{mask_by_column, mask_by_pattern};

/// The second walk: writes what the first one found.
pub(crate) struct Writer<'a> {
    pub(crate) plan: &'a MaskPlan,
    pub(crate) key: &'a MaskKey,
    pub(crate) layout: &'a Layout,
    pub(crate) ledger: &'a mut Ledger,
    /// Of the batch.
    pub(crate) spans: &'a [Span],
    /// The next scanned value, and its first cell.
    pub(crate) span: usize,
    pub(crate) cell: usize,
    /// In what is still to come.
    pub(crate) found: &'a [Found],
    pub(crate) field: &'a mut Vec<u8>,
    pub(crate) value: &'a mut BytesMut,
}

/// What became of one value.
enum Became {
    Null,
    Same,
    Written,
}

impl<'a> Writer<'a> {
    /// Appends a batch of messages; those with nothing to hide are copied as they came, as many at once as stand together.
    pub(crate) fn write(
        &mut self,
        format: &Format,
        tag: u8,
        batch: &[u8],
        rows: &[Row],
        out: &mut BytesMut,
    ) -> Result<(), Error> {
        let (mut written, mut begin, by_column) = (0, 0, self.layout.columns.any());
        for row in rows {
            let whole = batch.get(begin..row.end).ok_or(MALFORMED)?;
            let body = body(whole, whole.len()).ok_or(MALFORMED)?;
            let (before, values) = body.split_at_checked(row.before).ok_or(MALFORMED)?;
            if values.is_empty() || (!by_column && self.is_clear(row)) {
                (self.span, self.cell) = (row.spans, row.cells);
            } else {
                out.extend_from_slice(batch.get(written..begin).ok_or(MALFORMED)?);
                let mut whole = Ok(());
                message(out, tag, |out| {
                    out.extend_from_slice(before);
                    whole = self.row(format, values, out);
                });
                whole?;
                if self.span != row.spans {
                    return Err(MALFORMED);
                }
                written = row.end;
            }
            begin = row.end;
        }
        out.extend_from_slice(batch.get(written..begin).ok_or(MALFORMED)?);
        Ok(())
    }

    /// Whether no pattern hides a value of the next row.
    fn is_clear(&self, row: &Row) -> bool {
        !row.hides && self.found.first().is_none_or(|found| found.cell >= row.cells)
    }

    fn row(&mut self, format: &Format, values: &[u8], out: &mut BytesMut) -> Result<(), Error> {
        match format {
            Format::Binary { .. } | Format::Row => self.tuple(values, out),
            Format::Text(text) => self.text(text, values, out),
        }
    }

    /// Values that stay are copied as they came, as many at once as stand together; so are fields of text.
    fn tuple(&mut self, row: &[u8], out: &mut BytesMut) -> Result<(), Error> {
        let mut fields = Fields(row);
        let mut written = 0;
        for index in 0..fields.count().ok_or(MALFORMED)? {
            let begin = row.len() - fields.0.len();
            let Some(value) = fields.value().ok_or(MALFORMED)? else { continue };
            let replacement = match self.value(index, value) {
                Became::Same => continue,
                Became::Null => None,
                Became::Written => Some(&**self.value),
            };
            out.extend_from_slice(row.get(written..begin).ok_or(MALFORMED)?);
            match replacement {
                None => out.put_i32(-1),
                Some(value) => {
                    out.put_i32(i32::try_from(value.len()).unwrap_or(i32::MAX));
                    out.extend_from_slice(value);
                }
            }
            written = row.len() - fields.0.len();
        }
        out.extend_from_slice(row.get(written..).ok_or(MALFORMED)?);
        if fields.is_empty() { Ok(()) } else { Err(MALFORMED) }
    }

    fn text(&mut self, format: &TextFormat, row: &[u8], out: &mut BytesMut) -> Result<(), Error> {
        let mut scratch = std::mem::take(self.field);
        let (mut index, mut begin, mut written) = (0, 0, 0);
        let mut each = |raw: &[u8], value: Option<&[u8]>| {
            let end = begin + raw.len();
            let became = value.map_or(Became::Same, |value| self.value(index, value));
            let replacement = match became {
                Became::Same => None,
                Became::Null => Some(None),
                Became::Written => Some(Some(&**self.value)),
            };
            if let Some(value) = replacement {
                out.extend_from_slice(row.get(written..begin).unwrap_or_default());
                copy_text::put_field(format, value, out);
                written = end;
            }
            index += 1;
            begin = end + 1;
            true
        };
        let whole = match copy_text::plain_fields(format, row) {
            Some(mut fields) => fields.all(|(raw, value)| each(raw, value)),
            None => copy_text::fields(format, row, &mut scratch, each),
        };
        *self.field = scratch;
        out.extend_from_slice(row.get(written..).ok_or(MALFORMED)?);
        if whole { Ok(()) } else { Err(MALFORMED) }
    }

    /// Leaves the replacement of a value that is not NULL in `value`.
    fn value(&mut self, index: usize, value: &[u8]) -> Became {
        let Some(shape) = self.layout.shapes.get(index).copied() else { return Became::Null };
        self.value.clear();
        let replacement = if let Some(method) = self.layout.columns.method(self.plan, index) {
            self.ledger.cells(index, 1);
            mask_by_column(shape, method, self.key, value, self.value)
        } else if self.layout.looks.get(index) == Some(&Look::Nothing) {
            return Became::Same;
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
        let beyond = Span { until: usize::MAX, hides: true };
        let span = self.spans.get(self.span).copied().unwrap_or(beyond);
        self.span += 1;
        self.cell = span.until;
        let count = self.found.iter().take_while(|each| each.cell < span.until).count();
        let (found, rest) = self.found.split_at_checked(count).unwrap_or_default();
        self.found = rest;
        (found, span.hides)
    }
}
