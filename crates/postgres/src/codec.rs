//! Messages as bytes: headers read with their lengths checked, fields walked in place, messages written.
//!
//! A message is a tag, an `i32` length that counts itself but not the tag, and the body. Startup packets have no tag.
//! Lengths are only ever computed here, never repeated from a peer.

use bytes::{BufMut, BytesMut};

/// A tag and a length.
pub(crate) const HEADER_BYTES: usize = 5;

/// Tag and length of a message whose header is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) tag: u8,
    /// Tag, length field and body together.
    pub(crate) total: usize,
}

/// A length below 4, or negative.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BadLength;

/// The header at the front of `input`; `None` while fewer than five bytes are there.
pub(crate) fn header(input: &[u8]) -> Result<Option<Header>, BadLength> {
    let [tag, a, b, c, d, ..] = *input else { return Ok(None) };
    let length = usize::try_from(i32::from_be_bytes([a, b, c, d])).map_err(|_| BadLength)?;
    if length < 4 {
        return Err(BadLength);
    }
    Ok(Some(Header { tag, total: length + 1 }))
}

/// The body of the message of `total` bytes at the front of `input`, once all of it is there.
pub(crate) fn body(input: &[u8], total: usize) -> Option<&[u8]> {
    input.get(HEADER_BYTES..total)
}

/// A body read field by field. Each read fails where the field is not there whole.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fields<'a>(pub(crate) &'a [u8]);

impl<'a> Fields<'a> {
    pub(crate) fn bytes(&mut self, len: usize) -> Option<&'a [u8]> {
        let (head, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(head)
    }

    pub(crate) fn u8(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    pub(crate) fn i16(&mut self) -> Option<i16> {
        let (head, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(i16::from_be_bytes(*head))
    }

    /// A count, which is never negative.
    pub(crate) fn count(&mut self) -> Option<usize> {
        usize::try_from(self.i16()?).ok()
    }

    pub(crate) fn i32(&mut self) -> Option<i32> {
        let (head, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(i32::from_be_bytes(*head))
    }

    pub(crate) fn u32(&mut self) -> Option<u32> {
        let (head, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(u32::from_be_bytes(*head))
    }

    /// Text up to its NUL, which is consumed and not part of it.
    pub(crate) fn cstr(&mut self) -> Option<&'a [u8]> {
        let end = self.0.iter().position(|byte| *byte == 0)?;
        let text = self.bytes(end)?;
        self.0 = self.0.get(1..)?;
        Some(text)
    }

    /// A value with its length before it: `Some(None)` is NULL.
    #[expect(clippy::option_option, reason = "absent and NULL are different things here")]
    pub(crate) fn value(&mut self) -> Option<Option<&'a [u8]>> {
        match self.i32()? {
            -1 => Some(None),
            len => self.bytes(usize::try_from(len).ok()?).map(Some),
        }
    }

    /// Passes over `count` values.
    #[inline]
    pub(crate) fn skip(&mut self, count: usize) -> Option<()> {
        for _ in 0..count {
            self.value()?;
        }
        Some(())
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Appends a message, its length computed from what `fill` appends.
pub(crate) fn message(out: &mut BytesMut, tag: u8, fill: impl FnOnce(&mut BytesMut)) {
    out.put_u8(tag);
    sized(out, fill);
}

/// Appends an untagged packet: a length that counts itself, and what `fill` appends.
pub(crate) fn sized(out: &mut BytesMut, fill: impl FnOnce(&mut BytesMut)) {
    let at = out.len();
    out.put_i32(0);
    fill(out);
    let length = i32::try_from(out.len() - at).unwrap_or(i32::MAX);
    if let Some(field) = out.get_mut(at..at + 4) {
        field.copy_from_slice(&length.to_be_bytes());
    }
}

/// Appends text and its NUL. A NUL inside would end it early for the reader, so the rest is left out.
pub(crate) fn put_cstr(out: &mut BytesMut, text: &[u8]) {
    let end = text.iter().position(|byte| *byte == 0).unwrap_or(text.len());
    out.extend_from_slice(text.get(..end).unwrap_or_default());
    out.put_u8(0);
}

/// A complete message of a fixed shape.
pub(crate) fn put_empty(out: &mut BytesMut, tag: u8) {
    message(out, tag, |_| {});
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_tells_length_and_refuses_lies() {
        for (bytes, expected) in [
            (&b"Q\0\0\0\x04"[..], Ok(Some(Header { tag: b'Q', total: 5 }))),
            (b"Q\0\0\0", Ok(None)),
            (b"", Ok(None)),
            (b"Q\0\0\0\x03", Err(BadLength)),
            (b"Q\0\0\0\0", Err(BadLength)),
            (b"Q\xff\xff\xff\xff", Err(BadLength)),
            (b"Q\x80\0\0\0", Err(BadLength)),
            (b"D\x7f\xff\xff\xff", Ok(Some(Header { tag: b'D', total: 0x8000_0000 }))),
        ] {
            assert_eq!(header(bytes), expected, "{bytes:?}");
        }
    }

    #[test]
    fn a_written_message_reads_back() {
        let mut out = BytesMut::from(&b"before"[..]);
        message(&mut out, b'S', |out| {
            put_cstr(out, b"a\0hidden");
            put_cstr(out, b"b");
        });
        assert_eq!(&out[6..], b"S\0\0\0\x08a\0b\0");
        let mut fields = Fields(body(&out[6..], 9).unwrap());
        assert_eq!((fields.cstr(), fields.cstr(), fields.cstr()), (Some(&b"a"[..]), Some(&b"b"[..]), None));
        assert!(fields.is_empty());
    }
}
