//! JSON's escapes: what a text with them stands for, and where in the text each part of that stands.
//!
//! It parses no JSON: an escape is one wherever it stands, so text that holds JSON is read as JSON is. JSON within JSON is
//! one layer more.

use std::ops::Range;

use bytes::{BufMut as _, BytesMut};

/// Layers that are looked into. What has more is not understood.
pub const LAYERS: usize = 4;

/// One character as it stands in a text, and what it stands for.
struct Unit {
    raw: Range<usize>,
    bytes: [u8; 4],
    len: usize,
}

/// Longest escape: two units of UTF-16.
pub(crate) const LONGEST: usize = 12;

/// The characters of a text; those without an escape byte by byte.
struct Units<'a> {
    text: &'a [u8],
    at: usize,
}

impl Iterator for Units<'_> {
    type Item = Unit;

    fn next(&mut self) -> Option<Unit> {
        let start = self.at;
        let rest = self.text.get(start..)?;
        let first = *rest.first()?;
        let (len, ch) = if first == b'\\' { escape(rest) } else { (1, None) };
        self.at += len;
        let mut bytes = [first, 0, 0, 0];
        let decoded = ch.map_or(1, |ch| ch.encode_utf8(&mut bytes).len());
        Some(Unit { raw: start..self.at, bytes, len: decoded })
    }
}

/// The escape at the front of `rest`: its length and what it stands for. A backslash that begins none is itself.
pub(crate) fn escape(rest: &[u8]) -> (usize, Option<char>) {
    let simple = match rest.get(1) {
        Some(b'b') => '\x08',
        Some(b'f') => '\x0c',
        Some(b'n') => '\n',
        Some(b'r') => '\r',
        Some(b't') => '\t',
        Some(literal @ (b'"' | b'/' | b'\\')) => char::from(*literal),
        Some(b'u') => return unicode(rest),
        _ => return (1, None),
    };
    (2, Some(simple))
}

fn unicode(rest: &[u8]) -> (usize, Option<char>) {
    let unit = |at: usize| {
        let digits = rest.get(at..at + 6)?.strip_prefix(b"\\u")?;
        let digits = std::str::from_utf8(digits).ok().filter(|_| digits.iter().all(u8::is_ascii_hexdigit))?;
        u32::from_str_radix(digits, 16).ok()
    };
    let Some(first) = unit(0) else { return (1, None) };
    if let (0xd800..0xdc00, Some(second @ 0xdc00..0xe000)) = (first, unit(6)) {
        return (12, char::from_u32(0x1_0000 + ((first - 0xd800) << 10) + (second - 0xdc00)));
    }
    (6, Some(char::from_u32(first).unwrap_or(char::REPLACEMENT_CHARACTER)))
}

/// Whether there may be an escape in it.
pub fn may_hide(value: &[u8]) -> bool {
    memchr::memchr(b'\\', value).is_some()
}

/// Appends what `text` stands for. False where that is the text itself.
pub fn decode(text: &[u8], out: &mut Vec<u8>) -> bool {
    let before = out.len();
    for unit in (Units { text, at: 0 }) {
        out.extend_from_slice(unit.bytes.get(..unit.len).unwrap_or_default());
    }
    out.len() - before != text.len()
}

/// Makes ranges of what `below` decodes to, in order and apart, ranges of `below`.
pub fn lower(below: &[u8], ranges: &mut [Range<usize>]) {
    let mut units = Units { text: below, at: 0 };
    let (mut unit, mut end) = (units.next(), 0);
    for range in ranges {
        let mut start = None;
        while let Some(here) = &unit {
            if end + here.len > range.start {
                start.get_or_insert(here.raw.start);
            }
            if end + here.len >= range.end {
                *range = start.unwrap_or(here.raw.start)..here.raw.end;
                break;
            }
            end += here.len;
            unit = units.next();
        }
    }
}

/// Appends text as it stands inside a JSON string.
pub fn put_escaped(text: &[u8], out: &mut BytesMut) {
    use std::fmt::Write as _;
    for byte in text {
        match byte {
            b'"' | b'\\' => out.extend_from_slice(&[b'\\', *byte]),
            0..=0x1f => {
                // Writing into a buffer that grows cannot fail.
                let _ = write!(out, "\\u{byte:04x}");
            }
            _ => out.put_u8(*byte),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_found_again_in_what_they_were_decoded_from() {
        // Decoded: `a1\n2e` with a two-byte e.
        let below = "a\\u0031\\n2\u{e9}".as_bytes();
        let mut ranges = [0..1, 1..2, 2..4, 5..6];
        lower(below, &mut ranges);
        assert_eq!(ranges, [0..1, 1..7, 7..10, 11..12]);
    }
}
