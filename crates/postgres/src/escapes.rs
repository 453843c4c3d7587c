//! Values that hide text behind JSON's escapes: `\u0031` is a digit to whoever parses it, and the `n` of `\n` makes the
//! word behind it one that no pattern knows. What is inside is scanned as well, and what is found there is replaced
//! where it stands in the value.
//!
//! It parses no JSON, and knows no escape itself: `weir_mask::escapes` does.

use std::ops::Range;

use bytes::BytesMut;
use weir_mask::escapes::{LAYERS, decode, lower};
pub(crate) use weir_mask::escapes::{may_hide, put_escaped};
use weir_mask::{Found, Gather, MaskKey, Replacement, replace, strictness};
use weir_policy::{MaskMethod, MaskPlan};

/// Memory that decoding uses again.
#[derive(Debug, Default)]
pub(crate) struct Decoded {
    layer: Vec<u8>,
    next: Vec<u8>,
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
}
