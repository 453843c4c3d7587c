//! A batch of messages copied with some of their values replaced: what stays goes in as few pieces as there are replacements,
//! across the borders of messages, and a message whose values were replaced gets its length anew.
//!
//! It knows no format of a row; where values begin and end is told to it.

use std::ops::Range;

use bytes::{BufMut as _, BytesMut};

use crate::masker::MALFORMED;
use crate::{Error, codec};

/// The batch and where it is copied to. Rows are begun, their values replaced in order, and ended.
pub(crate) struct Pieces<'a> {
    batch: &'a [u8],
    /// How much of the batch is copied, or left out.
    copied: usize,
    /// Where the present row's message begins in the batch.
    row: usize,
    /// Where it begins in `out`, once a value of it was replaced.
    rewritten: Option<usize>,
    out: &'a mut BytesMut,
}

/// The state before a row, for [`Pieces::undo`].
#[derive(Clone, Copy)]
pub(crate) struct Mark {
    copied: usize,
    len: usize,
}

impl<'a> Pieces<'a> {
    pub(crate) const fn new(batch: &'a [u8], out: &'a mut BytesMut) -> Self {
        Self { batch, copied: 0, row: 0, rewritten: None, out }
    }

    /// Begins the row whose message begins at `at` of the batch.
    pub(crate) fn begin(&mut self, at: usize) -> Mark {
        self.row = at;
        self.rewritten = None;
        Mark { copied: self.copied, len: self.out.len() }
    }

    /// Appends what `put` does in the place of these bytes of the row. They come after those replaced before.
    pub(crate) fn replace(
        &mut self,
        bytes: Range<usize>,
        put: impl FnOnce(&mut BytesMut),
    ) -> Result<(), Error> {
        self.out.extend_from_slice(self.batch.get(self.copied..bytes.start).ok_or(MALFORMED)?);
        if self.rewritten.is_none() {
            // All of the row before the value stands in `out` as it stood in the batch.
            self.rewritten = self.out.len().checked_sub(bytes.start - self.row);
        }
        put(self.out);
        self.copied = bytes.end;
        Ok(())
    }

    /// Ends the row, whose message ends at `at` of the batch.
    pub(crate) fn end(&mut self, at: usize) -> Result<(), Error> {
        let Some(begin) = self.rewritten.take() else { return Ok(()) };
        let rest = at.checked_sub(self.copied).ok_or(MALFORMED)?;
        // The length counts itself and not the tag.
        let length = i32::try_from(self.out.len() + rest - begin - 1).unwrap_or(i32::MAX);
        let field = self.out.get_mut(begin + 1..begin + codec::HEADER_BYTES).ok_or(MALFORMED)?;
        field.copy_from_slice(&length.to_be_bytes());
        Ok(())
    }

    /// Takes back what was done since the row was begun.
    pub(crate) fn undo(&mut self, mark: Mark) {
        self.out.truncate(mark.len);
        self.copied = mark.copied;
        self.rewritten = None;
    }

    /// Copies what is left of the batch's first `len` bytes.
    pub(crate) fn finish(self, len: usize) -> Result<(), Error> {
        self.out.extend_from_slice(self.batch.get(self.copied..len).ok_or(MALFORMED)?);
        Ok(())
    }
}

/// Appends a value of a tuple: its length and its bytes, or NULL.
pub(crate) fn put_value(out: &mut BytesMut, value: Option<&[u8]>) {
    match value {
        None => out.put_i32(-1),
        Some(value) => {
            out.put_i32(i32::try_from(value.len()).unwrap_or(i32::MAX));
            out.extend_from_slice(value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_replacement_changes_its_own_row_and_that_rows_length_alone() {
        let batch = b"D\0\0\0\x09aXXbcD\0\0\0\x05eD\0\0\0\x07fXX";
        let mut out = BytesMut::from(&b"before"[..]);
        let mut pieces = Pieces::new(batch, &mut out);
        pieces.begin(0);
        pieces.replace(6..8, |out| out.put_slice(b"longer")).unwrap();
        pieces.replace(9..10, |_| {}).unwrap();
        pieces.end(10).unwrap();
        pieces.begin(10);
        pieces.end(16).unwrap();
        let mark = pieces.begin(16);
        pieces.replace(22..23, |out| out.put_slice(b"taken back")).unwrap();
        pieces.undo(mark);
        pieces.finish(16).unwrap();
        assert_eq!(&out[..], b"beforeD\0\0\0\x0calongerbD\0\0\0\x05e");
    }

    #[test]
    fn values_out_of_order_are_refused() {
        let mut out = BytesMut::new();
        let mut pieces = Pieces::new(b"D\0\0\0\x08abcd", &mut out);
        pieces.begin(0);
        pieces.replace(7..8, |_| {}).unwrap();
        assert!(pieces.replace(5..6, |_| {}).is_err());
        assert!(pieces.finish(99).is_err());
    }
}
