//! Values that hide text behind JSON's escapes: `\u0031` is a digit to whoever parses it, and the `n` of `\n` makes the
//! word behind it one that no pattern knows. What is inside is scanned as well, and what is found there is replaced
//! where it stands in the value.
//!
//! It parses no JSON: an escape is one wherever it stands, so text that holds JSON is read as JSON is. JSON within JSON is
//! one layer more.

use std::ops::Range;

use bytes::{BufMut as _, BytesMut};
use weir_mask::{Found, Gather, MaskKey, Replacement, replace, strictness};
use weir_policy::{MaskMethod, MaskPlan};

/// Layers that are looked into. A value with more is masked whole.
const LAYERS: usize = 4;

/// Memory that decoding uses again.
#[derive(Debug, Default)]
pub(crate) struct Decoded {
    layer: Vec<u8>,
    next: Vec<u8>,
}

/// One character as it stands in a text, and what it stands for.
struct Unit {
    raw: Range<usize>,
    bytes: [u8; 4],
    len: usize,
}

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
fn escape(rest: &[u8]) -> (usize, Option<char>) {
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
pub(crate) fn may_hide(value: &[u8]) -> bool {
    memchr::memchr(b'\\', value).is_some()
}

/// Appends what `text` stands for. False where that is the text itself.
fn decode(text: &[u8], out: &mut Vec<u8>) -> bool {
    let before = out.len();
    for unit in (Units { text, at: 0 }) {
        out.extend_from_slice(unit.bytes.get(..unit.len).unwrap_or_default());
    }
    out.len() - before != text.len()
}

/// Adds a value and every layer inside it to what is scanned. False where it has more layers than are looked into.
pub(crate) fn push(value: &[u8], decoded: &mut Decoded, cells: &mut Gather<'_>) -> bool {
    cells.push(value);
    if !may_hide(value) {
        return true;
    }
    let Decoded { layer, next } = decoded;
    layer.clear();
    layer.extend_from_slice(value);
    for _ in 0..LAYERS {
        next.clear();
        if !decode(layer, next) {
            return true;
        }
        cells.push(next);
        std::mem::swap(layer, next);
    }
    next.clear();
    !decode(layer, next)
}

/// A range of the value to replace.
struct Piece {
    range: Range<usize>,
    mask: usize,
    layer: usize,
    /// As it was found, in its layer.
    text: Vec<u8>,
}

/// Where everything that was found in a value and its layers stands in the value, in order, nothing twice.
/// `first`: the cell of the value itself.
fn pieces(plan: &MaskPlan, value: &[u8], first: usize, found: &[Found]) -> Vec<Piece> {
    let mut layers = vec![value.to_vec()];
    let mut pieces = Vec::new();
    for of_layer in found.chunk_by(|one, other| one.cell == other.cell) {
        let Some(layer) = of_layer.first().and_then(|each| each.cell.checked_sub(first)) else { continue };
        while layers.len() <= layer {
            let mut next = Vec::new();
            decode(layers.last().map(Vec::as_slice).unwrap_or_default(), &mut next);
            layers.push(next);
        }
        let mut ranges: Vec<_> = of_layer.iter().map(|each| each.start..each.end).collect();
        for below in layers.get(..layer).unwrap_or_default().iter().rev() {
            lower(below, &mut ranges);
        }
        let texts = layers.get(layer).map(Vec::as_slice).unwrap_or_default();
        pieces.extend(of_layer.iter().zip(ranges).map(|(each, range)| {
            let text = texts.get(each.start..each.end).unwrap_or_default().to_vec();
            Piece { range, mask: each.mask, layer, text }
        }));
    }
    pieces.sort_by_key(|piece| (piece.range.start, std::cmp::Reverse(piece.range.end)));
    let mut merged: Vec<Piece> = Vec::new();
    for piece in pieces {
        match merged.last_mut().filter(|last| piece.range.start < last.range.end) {
            None => merged.push(piece),
            Some(last) => {
                let range = last.range.start..last.range.end.max(piece.range.end);
                if rank(plan, piece.mask) > rank(plan, last.mask) {
                    *last = piece;
                }
                last.range = range;
            }
        }
    }
    merged
}

fn rank(plan: &MaskPlan, mask: usize) -> u16 {
    plan.patterns.get(mask).map_or(u16::MAX, |rule| strictness(&rule.method))
}

/// Makes ranges of what `below` decodes to, in order and apart, ranges of `below`.
fn lower(below: &[u8], ranges: &mut [Range<usize>]) {
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

/// Appends `value` with everything replaced that was found in it or in its layers.
/// `first` is the cell of the value itself.
pub(crate) fn mask(
    plan: &MaskPlan,
    key: &MaskKey,
    value: &[u8],
    first: usize,
    found: &[Found],
    out: &mut BytesMut,
) -> Replacement {
    let pieces = pieces(plan, value, first, found);
    let mut done = 0;
    for piece in &pieces {
        let Some(rule) = plan.patterns.get(piece.mask) else { return Replacement::Null };
        if rule.method == MaskMethod::Null {
            return Replacement::Null;
        }
        out.extend_from_slice(value.get(done..piece.range.start).unwrap_or_default());
        let mut text = BytesMut::new();
        match replace(&rule.method, key, &piece.text, &mut text) {
            Replacement::Null => return Replacement::Null,
            Replacement::Written => {}
        }
        for _ in 0..piece.layer {
            let mut outer = BytesMut::new();
            put_escaped(&text, &mut outer);
            text = outer;
        }
        out.extend_from_slice(&text);
        done = piece.range.end;
    }
    out.extend_from_slice(value.get(done..).unwrap_or_default());
    Replacement::Written
}

/// Appends text as it stands inside a JSON string.
pub(crate) fn put_escaped(text: &[u8], out: &mut BytesMut) {
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
    use weir_mask::Cells;

    use super::*;

    fn layers(value: &[u8]) -> (Vec<String>, bool) {
        let mut cells = Cells::default();
        let whole = push(value, &mut Decoded::default(), &mut cells.gather(value));
        let texts =
            (0..cells.len()).map(|cell| String::from_utf8_lossy(cells.get(cell).unwrap()).into_owned());
        (texts.collect(), whole)
    }

    #[test]
    fn every_layer_is_scanned() {
        for (value, expected) in [
            (&b"plain"[..], vec!["plain"]),
            (br"a\u0031\n2", vec![r"a\u0031\n2", "a1\n2"]),
            (br"\ud83d\ude00\ud83d", vec![r"\ud83d\ude00\ud83d", "\u{1f600}\u{fffd}"]),
            (br"\x41\u12", vec![r"\x41\u12"]),
            (br#"{\"a\":\"\\u0031\"}"#, vec![r#"{\"a\":\"\\u0031\"}"#, r#"{"a":"\u0031"}"#, r#"{"a":"1"}"#]),
        ] {
            assert_eq!(layers(value), (expected.into_iter().map(String::from).collect(), true));
        }
        let deep = br"\u005cu005cu005cu005cu005cu0031";
        assert!(!layers(deep).1);
        assert!(layers(&deep[15..]).1);
    }

    #[test]
    fn ranges_are_found_again_in_what_they_were_decoded_from() {
        // Decoded: `a1\n2e` with a two-byte e.
        let below = "a\\u0031\\n2\u{e9}".as_bytes();
        let mut ranges = [0..1, 1..2, 2..4, 5..6];
        lower(below, &mut ranges);
        assert_eq!(ranges, [0..1, 1..7, 7..10, 11..12]);
    }
}
