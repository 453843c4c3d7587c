//! What a value's type allows: how it reads as text for a scan, and what can stand in its place.
//!
//! Text-like types take any replacement, JSON takes a JSON string, every other type can only become NULL.

use std::fmt::Write as _;

use bytes::{BufMut, BytesMut};
use weir_mask::{Found, Gather, MaskKey, Replacement, mask_cell, replace};
use weir_policy::{MaskMethod, MaskPlan};

use crate::codec::Fields;
use crate::escapes::{self, Decoded, may_hide, put_escaped};

/// What counts about a type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Family {
    /// Holds no pattern: not scanned.
    Bool,
    /// Two's complement, big endian in binary; OIDs count as well.
    Integer,
    Json,
    /// A version byte before the text in binary.
    Jsonb,
    Numeric,
    Other,
    /// The same bytes in text and binary.
    Text,
}

impl Family {
    /// By the type's OID, which is fixed for built-in types.
    pub(crate) const fn of(oid: u32) -> Self {
        match oid {
            16 => Self::Bool,
            20 | 21 | 23 | 26 => Self::Integer,
            114 => Self::Json,
            3802 => Self::Jsonb,
            1700 => Self::Numeric,
            // "char", name, text, xml, unknown, bpchar, varchar, cstring
            18 | 19 | 25 | 142 | 705 | 1042 | 1043 | 2275 => Self::Text,
            _ => Self::Other,
        }
    }
}

/// How one column's values are sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Shape {
    pub(crate) family: Family,
    pub(crate) binary: bool,
}

const JSONB_VERSION: u8 = 1;

/// Memory that reading values uses again.
#[derive(Debug, Default)]
pub(crate) struct Scratch {
    number: String,
    pub(crate) decoded: Decoded,
}

/// Appends the texts of `value` that patterns are looked for in. False where it hides more than is looked for.
pub(crate) fn push_texts(shape: Shape, value: &[u8], scratch: &mut Scratch, cells: &mut Gather<'_>) -> bool {
    let Scratch { number: scratch, decoded } = scratch;
    match (shape.family, shape.binary) {
        (Family::Bool, _) => {}
        (_, false) | (Family::Text | Family::Json, true) => return escapes::push(value, decoded, cells),
        (Family::Jsonb, true) => {
            return escapes::push(value.strip_prefix(&[JSONB_VERSION]).unwrap_or(value), decoded, cells);
        }
        (Family::Integer, true) => cells.push(decimal(integer(value), &mut [0; 20])),
        (Family::Numeric, true) => {
            scratch.clear();
            match write_numeric(value, scratch) {
                Some(()) => cells.push(scratch.as_bytes()),
                None => cells.push(value),
            }
        }
        (Family::Other, true) => return push_unknown(value, decoded, cells, 0),
    }
    true
}

/// Two's complement of any width, the sign in the first byte.
fn integer(value: &[u8]) -> i64 {
    let sign = if value.first().is_some_and(|byte| *byte >= 0x80) { -1 } else { 0 };
    value.iter().fold(sign, |number, byte| (number << 8) | i64::from(*byte))
}

/// As `Display` writes it, which takes several times as long. The longest has 20 characters.
fn decimal(number: i64, text: &mut [u8; 20]) -> &[u8] {
    let (mut rest, mut at) = (number.unsigned_abs(), text.len());
    let mut put = |byte| {
        at -= 1;
        if let Some(to) = text.get_mut(at) {
            *to = byte;
        }
    };
    loop {
        put(b'0' + (rest % 10) as u8);
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    if number < 0 {
        put(b'-');
    }
    text.get(at..).unwrap_or_default()
}

/// A type without a place here: text if it reads like text, the parts of an array or row if it is one, else its bytes.
fn push_unknown(value: &[u8], decoded: &mut Decoded, cells: &mut Gather<'_>, depth: u32) -> bool {
    const DEPTH: u32 = 8;
    let textual = value.iter().all(|byte| *byte >= b' ' || matches!(byte, b'\t' | b'\n' | b'\r'));
    let parts = if textual || depth >= DEPTH { None } else { array(value).or_else(|| record(value)) };
    match parts {
        Some(mut parts) => {
            let mut seen = true;
            while let Some(part) = parts.next_part() {
                if let Some(part) = part {
                    seen &= push_unknown(part, decoded, cells, depth + 1);
                }
            }
            seen
        }
        None => escapes::push(value.strip_prefix(&[JSONB_VERSION]).unwrap_or(value), decoded, cells),
    }
}

/// The parts of an array (`with_oid` false) or a row (each with its type before it).
#[derive(Clone, Copy)]
struct Parts<'a> {
    fields: Fields<'a>,
    left: usize,
    with_oid: bool,
}

impl<'a> Parts<'a> {
    #[expect(clippy::option_option, reason = "the end and NULL are different things here")]
    fn next_part(&mut self) -> Option<Option<&'a [u8]>> {
        self.left = self.left.checked_sub(1)?;
        if self.with_oid {
            self.fields.u32()?;
        }
        self.fields.value()
    }

    /// Whether the parts fill the value exactly.
    fn fits(mut self) -> bool {
        while self.left > 0 {
            if self.next_part().is_none() {
                return false;
            }
        }
        self.fields.is_empty()
    }
}

fn array(value: &[u8]) -> Option<Parts<'_>> {
    let mut fields = Fields(value);
    let dimensions = fields.i32().filter(|dimensions| (1..=6).contains(dimensions))?;
    fields.i32().filter(|has_nulls| (0..=1).contains(has_nulls))?;
    fields.u32()?;
    let mut left = 1_usize;
    for _ in 0..dimensions {
        left = left.checked_mul(usize::try_from(fields.i32()?).ok()?)?;
        fields.i32()?;
    }
    let parts = Parts { fields, left: left.min(value.len()), with_oid: false };
    parts.fits().then_some(parts)
}

fn record(value: &[u8]) -> Option<Parts<'_>> {
    let mut fields = Fields(value);
    let left = usize::try_from(fields.i32()?).ok().filter(|count| (1..=1664).contains(count))?;
    let parts = Parts { fields, left, with_oid: true };
    parts.fits().then_some(parts)
}

/// `numeric` in binary: digits of base 10,000, the first worth 10,000^weight.
fn write_numeric(value: &[u8], out: &mut String) -> Option<()> {
    let mut fields = Fields(value);
    let count = i32::from(fields.i16()?);
    let weight = i32::from(fields.i16()?);
    let sign = fields.i16()?;
    let scale = usize::try_from(fields.i16()?).ok()?;
    // Not a number or infinite; or so wide that it is no value of this type.
    if !matches!(sign, 0 | 0x4000) || count < 0 || weight > 0x8000 {
        return None;
    }
    if sign != 0 {
        out.push('-');
    }
    // Digits as they come; those that were not sent, before the first or after the last, are zeros.
    let mut left = count;
    let mut digit = |place: i32| -> Option<i16> {
        if place > weight || left == 0 {
            return Some(0);
        }
        left -= 1;
        fields.i16()
    };
    let at = out.len();
    for place in (0..=weight.max(0)).rev() {
        let _ = write!(out, "{:04}", digit(place)?);
    }
    let zeros = out.get(at..)?.bytes().take_while(|byte| *byte == b'0').count().min(out.len() - at - 1);
    out.replace_range(at..at + zeros, "");
    if scale > 0 {
        out.push('.');
        let end = out.len() + scale;
        let mut place = -1;
        while out.len() < end {
            let _ = write!(out, "{:04}", digit(place)?);
            place -= 1;
        }
        out.truncate(end);
    }
    Some(())
}

/// Writes what a column's rule makes of a value.
pub(crate) fn mask_by_column(
    shape: Shape,
    method: &MaskMethod,
    key: &MaskKey,
    value: &[u8],
    out: &mut BytesMut,
) -> Replacement {
    shaped(shape, out, |out| replace(method, key, value, out))
}

/// What a column's rule makes of every value, where it does not depend on the value; `Some(None)` is NULL.
#[expect(clippy::option_option, reason = "not the same for all and NULL are different things here")]
pub(crate) fn same_for_all(shape: Shape, method: &MaskMethod) -> Option<Option<Box<[u8]>>> {
    let mut out = BytesMut::new();
    let replacement = shaped(shape, &mut out, |out| match method {
        MaskMethod::Fixed(text) => {
            out.extend_from_slice(text.as_bytes());
            Replacement::Written
        }
        MaskMethod::Format
        | MaskMethod::Hash
        | MaskMethod::Null
        | MaskMethod::Partial { .. }
        | MaskMethod::Token => Replacement::Null,
    });
    let is_same = matches!(method, MaskMethod::Fixed(_) | MaskMethod::Null)
        || !matches!(shape.family, Family::Json | Family::Jsonb | Family::Text);
    is_same.then(|| match replacement {
        Replacement::Null => None,
        Replacement::Written => Some(Box::from(&*out)),
    })
}

/// Writes the text that `write` appends in the form that the column's type takes: NULL for a type that takes no text.
fn shaped(shape: Shape, out: &mut BytesMut, write: impl FnOnce(&mut BytesMut) -> Replacement) -> Replacement {
    match shape.family {
        Family::Text => write(out),
        Family::Json | Family::Jsonb => {
            let mut text = BytesMut::new();
            match write(&mut text) {
                Replacement::Null => Replacement::Null,
                Replacement::Written => {
                    if shape.family == Family::Jsonb && shape.binary {
                        out.put_u8(JSONB_VERSION);
                    }
                    out.put_u8(b'"');
                    put_escaped(&text, out);
                    out.put_u8(b'"');
                    Replacement::Written
                }
            }
        }
        Family::Bool | Family::Integer | Family::Numeric | Family::Other => Replacement::Null,
    }
}

/// Writes a value with what the patterns found in it replaced. `found` is not empty; `first` is the value's first cell.
pub(crate) fn mask_by_pattern(
    shape: Shape,
    plan: &MaskPlan,
    key: &MaskKey,
    value: &[u8],
    first: usize,
    found: &[Found],
    out: &mut BytesMut,
) -> Replacement {
    let mask = |text: &[u8], out: &mut BytesMut| {
        if may_hide(text) {
            escapes::mask(plan, key, text, first, found, out)
        } else {
            mask_cell(plan, key, text, found, out)
        }
    };
    match shape.family {
        Family::Text => mask(value, out),
        Family::Json | Family::Jsonb => {
            let prefix = usize::from(
                shape.family == Family::Jsonb && shape.binary && value.first() == Some(&JSONB_VERSION),
            );
            let start = out.len();
            out.extend_from_slice(value.get(..prefix).unwrap_or_default());
            let text = value.get(prefix..).unwrap_or_default();
            let replacement = mask(text, out);
            let valid = match replacement {
                Replacement::Written => is_json(out.get(start + prefix..).unwrap_or_default()),
                Replacement::Null => false,
            };
            if valid {
                return Replacement::Written;
            }
            out.truncate(start);
            Replacement::Null
        }
        Family::Bool | Family::Integer | Family::Numeric | Family::Other => Replacement::Null,
    }
}

fn is_json(text: &[u8]) -> bool {
    serde_json::from_slice::<serde::de::IgnoredAny>(text).is_ok()
}

#[cfg(test)]
mod tests {
    use weir_mask::Cells;

    use super::*;

    fn texts(oid: u32, binary: bool, value: &[u8]) -> Vec<String> {
        let mut cells = Cells::default();
        let shape = Shape { family: Family::of(oid), binary };
        push_texts(shape, value, &mut Scratch::default(), &mut cells.gather(value));
        (0..cells.len()).map(|cell| String::from_utf8_lossy(cells.get(cell).unwrap()).into_owned()).collect()
    }

    fn numeric(weight: i16, sign: i16, scale: i16, digits: &[i16]) -> Vec<u8> {
        let count = i16::try_from(digits.len()).unwrap();
        [&[count, weight, sign, scale], digits].concat().iter().flat_map(|word| word.to_be_bytes()).collect()
    }

    #[test]
    fn binary_numbers_are_scanned_as_people_write_them() {
        for (oid, value, expected) in [
            (20, 4_111_111_111_111_111_i64.to_be_bytes().to_vec(), "4111111111111111"),
            (20, i64::MIN.to_be_bytes().to_vec(), "-9223372036854775808"),
            (20, i64::MAX.to_be_bytes().to_vec(), "9223372036854775807"),
            (20, vec![0; 8], "0"),
            (23, (-5_i32).to_be_bytes().to_vec(), "-5"),
            (21, 300_i16.to_be_bytes().to_vec(), "300"),
            (1700, numeric(3, 0, 0, &[4111, 1111, 1111, 1111]), "4111111111111111"),
            (1700, numeric(0, 0x4000, 2, &[12, 3400]), "-12.34"),
            (1700, numeric(-1, 0, 4, &[5]), "0.0005"),
            (1700, numeric(-2, 0, 8, &[7]), "0.00000007"),
            (1700, numeric(1, 0, 0, &[5]), "50000"),
            (1700, numeric(0, 0, 0, &[]), "0"),
        ] {
            assert_eq!(texts(oid, true, &value), [expected]);
        }
    }

    #[test]
    fn arrays_and_rows_are_scanned_part_by_part() {
        let part = |text: &[u8]| [&u32::try_from(text.len()).unwrap().to_be_bytes(), text].concat();
        let array = [
            [0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 25, 0, 0, 0, 2, 0, 0, 0, 1].to_vec(),
            part(b"123-45-6789"),
            part(b"b"),
        ]
        .concat();
        assert_eq!(texts(1009, true, &array), ["123-45-6789", "b"]);
        let row =
            [[0, 0, 0, 2, 0, 0, 0, 25].to_vec(), part(b"x"), vec![0, 0, 0, 25, 255, 255, 255, 255]].concat();
        assert_eq!(texts(2249, true, &row), ["x"]);
        assert_eq!(texts(90_000, true, b"enum label"), ["enum label"]);
        assert_eq!(texts(16, true, b"\x01"), [""; 0]);
        // Lengths that lie make it no array: its bytes are scanned as they are.
        assert_eq!(texts(1009, true, &array[..array.len() - 1]).len(), 1);
    }

    #[test]
    fn json_stays_json_and_other_types_become_null() {
        let key = MaskKey::new(1, [1; 32]);
        let fixed = MaskMethod::Fixed("a\"b".into());
        for (oid, binary, expected) in [
            (25, true, Some(&b"a\"b"[..])),
            (114, false, Some(b"\"a\\\"b\"")),
            (3802, true, Some(b"\x01\"a\\\"b\"")),
            (23, false, None),
            (2950, true, None),
        ] {
            let mut out = BytesMut::new();
            let shape = Shape { family: Family::of(oid), binary };
            let replacement = mask_by_column(shape, &fixed, &key, b"secret", &mut out);
            assert_eq!((replacement == Replacement::Written).then_some(&out[..]), expected, "{oid}");
        }
    }
}
