//! Rows in which nothing is looked for: whole columns are masked, in one walk that reads each row and writes it at once.
//!
//! Where patterns are looked for too, `masker` and `row_writer` walk twice instead.

use bytes::BytesMut;
use memchr::memchr;
use weir_mask::{Ledger, MaskKey, Replacement};
use weir_policy::{MaskMethod, MaskPlan};

use crate::Error;
use crate::codec::{Fields, body, header};
use crate::copy_shape::TextFormat;
use crate::copy_text;
use crate::layout::Layout;
use crate::masker::{BATCH_BYTES, Format, MALFORMED, before_values};
use crate::pieces::{Pieces, put_value};
use crate::values::{Shape, mask_by_column, same_for_all};

/// The masked columns of one answer, in order.
#[derive(Debug, Default)]
pub(crate) struct Columns(Vec<Column>);

#[derive(Debug)]
struct Column {
    /// 0-based, of the answer.
    position: usize,
    shape: Shape,
    method: MaskMethod,
    /// What every value becomes, where it is the same for all: `Some(None)` is NULL.
    constant: Option<Option<Box<[u8]>>>,
    /// That, as the present format writes it; empty where it is not the same for all.
    written: BytesMut,
    /// Values of the batch that were replaced.
    cells: u64,
}

/// What masking a value takes beside its column.
pub(crate) struct Tools<'a> {
    pub(crate) key: &'a MaskKey,
    /// Scratch for a decoded field, and for a value's replacement.
    pub(crate) field: &'a mut Vec<u8>,
    pub(crate) value: &'a mut BytesMut,
}

impl Columns {
    pub(crate) fn begin(&mut self, plan: &MaskPlan, layout: &Layout) {
        self.0.clear();
        for (position, shape) in layout.shapes.iter().enumerate() {
            let Some(method) = layout.columns.method(plan, position) else { continue };
            let constant = same_for_all(*shape, method);
            self.0.push(Column {
                position,
                shape: *shape,
                method: method.clone(),
                constant,
                written: BytesMut::new(),
                cells: 0,
            });
        }
    }

    /// Masks the complete `tag` messages at the front of `input`, of which there is at least one, and no more than `most`.
    /// Bytes read, and rows among them.
    ///
    /// # Errors
    ///
    /// The upstream's fault: the first of them is not what was described.
    pub(crate) fn write(
        &mut self,
        columns: usize,
        format: &mut Format,
        (tag, most): (u8, u64),
        input: &[u8],
        mut tools: Tools<'_>,
        out: &mut BytesMut,
    ) -> Result<(usize, u64), Error> {
        self.0.iter_mut().for_each(|column| column.prepare(format));
        let (mut len, mut rows) = (0, 0);
        let mut pieces = Pieces::new(input, out);
        while len < BATCH_BYTES && rows < most {
            let rest = input.get(len..).unwrap_or_default();
            let row = match header(rest) {
                Ok(Some(row)) if row.tag == tag => row,
                // What stands behind good rows is looked at once they are gone.
                Err(_) if len == 0 => return Err(Error::UpstreamLength),
                _ => break,
            };
            let (Some(body), end) = (body(rest, row.total), len + row.total) else { break };
            let mark = pieces.begin(len);
            let before = before_values(format, body);
            let values = before.and_then(|before| body.get(before..));
            let written = match (&*format, values) {
                (_, None) => Err(MALFORMED),
                (_, Some([])) => Ok(()),
                (Format::Binary { .. } | Format::Row, Some(values)) => {
                    self.tuple(columns, values, end, &mut tools, &mut pieces)
                }
                (Format::Text(text), Some(values)) => {
                    self.text(columns, text, values, end, &mut tools, &mut pieces)
                }
            };
            if let Err(error) = written.and_then(|()| pieces.end(end)) {
                pieces.undo(mark);
                if len == 0 {
                    return Err(error);
                }
                break;
            }
            len = end;
            rows += 1;
        }
        pieces.finish(len)?;
        Ok((len, rows))
    }

    /// A row of lengths and bytes, which ends at `end` of the batch.
    #[inline]
    fn tuple(
        &mut self,
        columns: usize,
        values: &[u8],
        end: usize,
        tools: &mut Tools<'_>,
        pieces: &mut Pieces<'_>,
    ) -> Result<(), Error> {
        let mut fields = Fields(values);
        if fields.count() != Some(columns) {
            return Err(MALFORMED);
        }
        let mut position = 0;
        for column in &mut self.0 {
            fields.skip(column.position - position).ok_or(MALFORMED)?;
            position = column.position + 1;
            let begin = end - fields.0.len();
            let Some(value) = fields.value().ok_or(MALFORMED)? else { continue };
            pieces.replace(begin..end - fields.0.len(), |out| column.put(value, tools, out, put_value))?;
        }
        fields.skip(columns - position).ok_or(MALFORMED)?;
        if fields.is_empty() { Ok(()) } else { Err(MALFORMED) }
    }

    /// A row as a line of text, which ends at `end` of the batch.
    fn text(
        &mut self,
        columns: usize,
        format: &TextFormat,
        values: &[u8],
        end: usize,
        tools: &mut Tools<'_>,
        pieces: &mut Pieces<'_>,
    ) -> Result<(), Error> {
        if let Some(row) = copy_text::plain(format, values) {
            return self.plain(columns, format, row, end - values.len(), tools, pieces);
        }
        let (mut position, mut begin) = (0, end - values.len());
        let mut masked = self.0.iter_mut().peekable();
        let mut scratch = std::mem::take(tools.field);
        let mut each = |raw: &[u8], value: Option<&[u8]>| {
            let bytes = begin..begin + raw.len();
            begin = bytes.end + 1;
            let column = masked.next_if(|column| column.position == position);
            position += 1;
            let (Some(column), Some(value)) = (column, value) else { return true };
            let put = |out: &mut BytesMut, value: Option<&[u8]>| copy_text::put_field(format, value, out);
            pieces.replace(bytes, |out| column.put(value, tools, out, put)).is_ok()
        };
        let whole = copy_text::fields(format, values, &mut scratch, &mut each);
        *tools.field = scratch;
        if whole && position == columns { Ok(()) } else { Err(MALFORMED) }
    }

    /// A line without its end whose fields are all their own bytes, and which begins at `begin` of the batch. What is
    /// behind its last masked field is counted, not walked.
    fn plain(
        &mut self,
        columns: usize,
        format: &TextFormat,
        row: &[u8],
        begin: usize,
        tools: &mut Tools<'_>,
        pieces: &mut Pieces<'_>,
    ) -> Result<(), Error> {
        let put = |out: &mut BytesMut, value: Option<&[u8]>| copy_text::put_field(format, value, out);
        let (mut position, mut at) = (0, 0);
        for column in &mut self.0 {
            for _ in position..column.position {
                let rest = row.get(at..).ok_or(MALFORMED)?;
                at += memchr(format.delimiter, rest).ok_or(MALFORMED)? + 1;
            }
            position = column.position + 1;
            let rest = row.get(at..).ok_or(MALFORMED)?;
            let len = memchr(format.delimiter, rest).unwrap_or(rest.len());
            let value = rest.get(..len).ok_or(MALFORMED)?;
            if value != format.null {
                pieces.replace(begin + at..begin + at + len, |out| column.put(value, tools, out, put))?;
            }
            at += len;
            if position < columns {
                at += 1;
            }
        }
        let rest = row.get(at..).ok_or(MALFORMED)?;
        let more = memchr::memchr_iter(format.delimiter, rest).count();
        if more + usize::from(position < columns) == columns - position { Ok(()) } else { Err(MALFORMED) }
    }

    /// Tells the ledger what was masked since it was told last.
    pub(crate) fn count(&mut self, ledger: &mut Ledger) {
        for column in &mut self.0 {
            ledger.cells(column.position, std::mem::take(&mut column.cells));
        }
    }
}

impl Column {
    fn prepare(&mut self, format: &Format) {
        self.written.clear();
        let Some(constant) = &self.constant else { return };
        match format {
            Format::Binary { .. } | Format::Row => put_value(&mut self.written, constant.as_deref()),
            Format::Text(text) => copy_text::put_field(text, constant.as_deref(), &mut self.written),
        }
    }

    /// Appends what a value becomes, as `put` writes it; `None` is NULL.
    #[inline]
    fn put(
        &mut self,
        value: &[u8],
        tools: &mut Tools<'_>,
        out: &mut BytesMut,
        put: impl FnOnce(&mut BytesMut, Option<&[u8]>),
    ) {
        self.cells += 1;
        if self.constant.is_some() {
            out.extend_from_slice(&self.written);
            return;
        }
        tools.value.clear();
        match mask_by_column(self.shape, &self.method, tools.key, value, tools.value) {
            Replacement::Null => put(out, None),
            Replacement::Written => put(out, Some(tools.value)),
        }
    }
}
