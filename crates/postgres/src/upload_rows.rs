//! Uploaded rows made out in CopyData, which may be cut anywhere, and masked by column as rows to the client are.
//!
//! For the record only: what goes upstream is the client's own bytes. Whatever is not a row as the COPY's text promised
//! makes the rest of the upload one that is not shown.

use std::sync::Arc;

use bytes::{Buf as _, BufMut as _, BytesMut};
use weir_mask::MaskKey;
use weir_policy::MaskPlan;

use crate::codec::{Fields, body, header, message};
use crate::copy_shape::TextFormat;
use crate::masker::{Batch, Format, Masker, binary_header};

/// A longer row is not waited for.
const ROW_BYTES: usize = 1024 * 1024;

/// The rows of one upload; the masker's layout is theirs.
#[derive(Debug)]
pub(crate) struct Rows {
    plan: Arc<MaskPlan>,
    format: Format,
    /// What came and is no whole row yet.
    pending: BytesMut,
    quotes: Quotes,
    /// Whole rows, as CopyData messages.
    batch: BytesMut,
    masked: BytesMut,
}

/// How far into `pending` the end of a row was looked for, and what was open there.
#[derive(Debug, Default)]
struct Quotes {
    at: usize,
    quoted: bool,
    escaped: bool,
}

/// The rest cannot be shown: this much of it was waiting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Lost(pub(crate) usize);

impl Rows {
    pub(crate) fn new(plan: Arc<MaskPlan>, format: Format) -> Self {
        let empty = BytesMut::new;
        Self { plan, format, pending: empty(), quotes: Quotes::default(), batch: empty(), masked: empty() }
    }

    /// Takes a piece of data; appends the rows that are whole now.
    pub(crate) fn push(
        &mut self,
        masker: &mut Masker,
        key: &MaskKey,
        piece: &[u8],
        out: &mut BytesMut,
    ) -> Result<(), Lost> {
        self.pending.extend_from_slice(piece);
        let done = self.rows(masker, key, out);
        if done && self.pending.len() <= ROW_BYTES { Ok(()) } else { Err(self.lost()) }
    }

    /// The last row may lack its line's end.
    pub(crate) fn finish(
        &mut self,
        masker: &mut Masker,
        key: &MaskKey,
        out: &mut BytesMut,
    ) -> Result<(), Lost> {
        if self.pending.is_empty() {
            return Ok(());
        }
        let len = self.pending.len();
        if let Format::Text(_) = self.format {
            self.pending.put_u8(b'\n');
        }
        if self.rows(masker, key, out) && self.pending.is_empty() { Ok(()) } else { Err(Lost(len)) }
    }

    fn lost(&mut self) -> Lost {
        Lost(std::mem::take(&mut self.pending).len())
    }

    /// False where something is no row.
    fn rows(&mut self, masker: &mut Masker, key: &MaskKey, out: &mut BytesMut) -> bool {
        loop {
            let Some(len) = self.row() else { return false };
            if len == 0 {
                return true;
            }
            let row = self.pending.get(..len).unwrap_or_default();
            if self.is_trailer(row) {
                out.extend_from_slice(row);
            } else {
                self.batch.clear();
                message(&mut self.batch, b'd', |out| out.extend_from_slice(row));
                self.masked.clear();
                let Self { plan, format, batch, masked, .. } = self;
                match masker.batch(plan, key, format, (b'd', u64::MAX), batch, masked) {
                    Ok(Batch::Pass(_)) => out.extend_from_slice(row),
                    Ok(Batch::Rewritten(_)) => put_bodies(masked, out),
                    Err(_) => return false,
                }
            }
            self.pending.advance(len);
            self.quotes = Quotes::default();
        }
    }

    /// Length of the row at the front of `pending`; 0 while it is not whole, `None` where there is none.
    fn row(&mut self) -> Option<usize> {
        match &self.format {
            Format::Text(text) => Some(self.quotes.line(text, &self.pending)),
            Format::Binary { header: true } => Some(binary_header(&self.pending).unwrap_or(0)),
            Format::Binary { header: false } => Some(tuple(&self.pending)),
            Format::Row => None,
        }
    }

    fn is_trailer(&self, row: &[u8]) -> bool {
        match &self.format {
            Format::Text(_) => row.trim_ascii_end() == b"\\.",
            Format::Binary { .. } => row == [0xff, 0xff],
            Format::Row => false,
        }
    }
}

impl Quotes {
    /// Length of the line at the front of `text`, its end included; 0 while it has none. Quotes as the server counts
    /// them where it looks for a line's end.
    fn line(&mut self, format: &TextFormat, text: &[u8]) -> usize {
        while let Some(byte) = text.get(self.at).copied() {
            self.at += 1;
            if byte == b'\n' && !self.quoted && (format.csv || !self.escaped) {
                return self.at;
            }
            if !format.csv {
                self.escaped = byte == b'\\' && !self.escaped;
                continue;
            }
            let escape = format.escape != format.quote && byte == format.escape;
            if self.quoted && escape {
                self.escaped = !self.escaped;
            }
            if byte == format.quote && !self.escaped {
                self.quoted = !self.quoted;
            }
            self.escaped &= escape;
        }
        0
    }
}

/// Length of the tuple, or the trailer, at the front; 0 while it is not whole.
fn tuple(bytes: &[u8]) -> usize {
    if bytes.starts_with(&[0xff, 0xff]) {
        return 2;
    }
    let mut fields = Fields(bytes);
    let Some(count) = fields.count() else { return 0 };
    for _ in 0..count {
        if fields.value().is_none() {
            return 0;
        }
    }
    bytes.len() - fields.0.len()
}

fn put_bodies(mut messages: &[u8], out: &mut BytesMut) {
    while let Ok(Some(header)) = header(messages) {
        out.extend_from_slice(body(messages, header.total).unwrap_or_default());
        messages.advance(header.total.min(messages.len()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(csv: bool, escape: u8, text: &[u8]) -> Vec<usize> {
        let format =
            TextFormat { csv, delimiter: b',', quote: b'"', escape, null: Vec::new(), header: false };
        let (mut rest, mut out) = (text, Vec::new());
        loop {
            let len = Quotes::default().line(&format, rest);
            if len == 0 {
                return out;
            }
            out.push(len);
            rest = &rest[len..];
        }
    }

    #[test]
    fn a_line_ends_where_the_server_ends_it() {
        for (csv, escape, text, expected) in [
            (false, b'"', &b"a\nb\n"[..], vec![2, 2]),
            (false, b'"', b"a\\\nb\nc", vec![5]),
            (false, b'"', b"a\\\\\nb\n", vec![4, 2]),
            (true, b'"', b"\"a\nb\"\nc\n", vec![6, 2]),
            (true, b'"', b"\"a\"\"\n\"\n", vec![7]),
            (true, b'\\', b"\"a\\\"\n\"\nb\n", vec![7, 2]),
            (true, b'\\', b"\"a\\\\\"\nb\n", vec![6, 2]),
        ] {
            assert_eq!(lines(csv, escape, text), expected, "{}", String::from_utf8_lossy(text));
        }
    }
}
