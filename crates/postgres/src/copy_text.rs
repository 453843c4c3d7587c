//! One row of COPY's text and CSV formats, field by field, and a field written back.
//!
//! The server sends one row a CopyData message; a message that is not exactly one row is not understood.

use bytes::{BufMut, BytesMut};
use memchr::{memchr, memchr2, memchr3};

use crate::copy_shape::TextFormat;

/// One field as it stands in a row.
struct Field<'a> {
    /// Its length in the row.
    len: usize,
    quoted: bool,
    value: &'a [u8],
}

/// Calls `each(raw, value)` for every field of `row`: its bytes as they stand, and its value (`None`: NULL), which is
/// part of `row` where no escape is in it.
/// False where the row is not well formed; what was seen until then must not be used.
pub(crate) fn fields(
    format: &TextFormat,
    row: &[u8],
    scratch: &mut Vec<u8>,
    mut each: impl FnMut(&[u8], Option<&[u8]>) -> bool,
) -> bool {
    let Some(row) = row.strip_suffix(b"\n") else { return false };
    let row = if format.csv { row.strip_suffix(b"\r").unwrap_or(row) } else { row };
    let mut rest = row;
    loop {
        scratch.clear();
        let field =
            if format.csv { csv_field(format, rest, scratch) } else { text_field(format, rest, scratch) };
        let Some(Field { len, quoted, value }) = field else { return false };
        let (raw, behind) = rest.split_at_checked(len).unwrap_or_default();
        let null = !quoted && raw == format.null;
        if !each(raw, (!null).then_some(value)) {
            return false;
        }
        match behind.split_first() {
            None => return true,
            Some((_, behind)) => rest = behind,
        }
    }
}

/// A row whose values are all its own bytes, without its end. `None` where they may be others, or it is not well formed.
pub(crate) fn plain<'a>(format: &TextFormat, row: &'a [u8]) -> Option<&'a [u8]> {
    row.strip_suffix(b"\n").filter(|row| !format.csv && memchr2(b'\\', b'\n', row).is_none())
}

/// The fields of a row whose values are all its own bytes, and these (`None`: NULL). `None` where they may be others, or
/// the row is not well formed.
pub(crate) fn plain_fields<'a>(
    format: &'a TextFormat,
    row: &'a [u8],
) -> Option<impl Iterator<Item = (&'a [u8], Option<&'a [u8]>)>> {
    let row = plain(format, row)?;
    let mut from = 0;
    Some(Positions::new(format.delimiter, row).map(move |end| {
        let field = row.get(from..end).unwrap_or_default();
        from = end + 1;
        (field, (field != format.null).then_some(field))
    }))
}

/// Where a byte stands in a text, and the text's end. Many bytes at a time: fields are short, so that a search begun
/// anew for each costs more than what is between them.
struct Positions<'a> {
    needle: u8,
    /// What is not looked at yet; `None`: the end was seen.
    rest: Option<&'a [u8]>,
    /// Where the present block begins, and a bit for each byte in it that is one and was not given yet.
    begin: usize,
    found: u64,
}

const BLOCK: usize = 64;

impl<'a> Positions<'a> {
    fn new(needle: u8, text: &'a [u8]) -> Self {
        let mut positions = Self { needle, rest: Some(text), begin: 0, found: 0 };
        positions.look();
        positions
    }

    /// Looks at the next block; false where there is none.
    fn look(&mut self) -> bool {
        let Some(rest) = self.rest else { return false };
        match rest.split_first_chunk::<BLOCK>() {
            Some((block, rest)) => {
                self.found = self.equal(block);
                self.rest = Some(rest);
            }
            None => {
                // The end is the first byte that is filled up.
                let mut block = [self.needle; BLOCK];
                block.iter_mut().zip(rest).for_each(|(to, from)| *to = *from);
                self.found = self.equal(&block) & (u64::MAX >> (BLOCK - 1 - rest.len()));
                self.rest = None;
            }
        }
        true
    }

    /// A bit for each byte that is the one.
    fn equal(&self, block: &[u8; BLOCK]) -> u64 {
        const LOW: u64 = u64::from_ne_bytes([0x7f; 8]);
        let needles = u64::from_ne_bytes([self.needle; 8]);
        block.as_chunks().0.iter().rev().fold(0, |bits, word| {
            // Zero where the byte is one; no sum carries over into the next byte.
            let other = u64::from_le_bytes(*word) ^ needles;
            let found = !(((other & LOW) + LOW) | other | LOW);
            // The topmost bit of each byte, gathered in the topmost byte of the product.
            bits << 8 | (found >> 7).wrapping_mul(0x0102_0408_1020_4080) >> 56
        })
    }
}

impl Iterator for Positions<'_> {
    type Item = usize;

    #[inline]
    fn next(&mut self) -> Option<usize> {
        while self.found == 0 {
            self.begin += BLOCK;
            if !self.look() {
                return None;
            }
        }
        let at = self.begin + self.found.trailing_zeros() as usize;
        self.found &= self.found - 1;
        Some(at)
    }
}

/// The field at the front of `rest`; `scratch` is empty. Nothing in text format is quoted.
fn text_field<'a>(format: &TextFormat, rest: &'a [u8], scratch: &'a mut Vec<u8>) -> Option<Field<'a>> {
    let plain = memchr3(b'\\', b'\n', format.delimiter, rest).unwrap_or(rest.len());
    let before = rest.get(..plain)?;
    match rest.get(plain) {
        Some(b'\\') => {
            scratch.extend_from_slice(before);
            let len = escaped_text(format, rest, plain, scratch)?;
            Some(Field { len, quoted: false, value: scratch })
        }
        Some(b'\n') => None,
        Some(_) | None => Some(Field { len: plain, quoted: false, value: before }),
    }
}

/// The length of the field at the front of `rest`, whose value from `at` on is appended.
fn escaped_text(format: &TextFormat, rest: &[u8], mut at: usize, value: &mut Vec<u8>) -> Option<usize> {
    while let Some(byte) = rest.get(at).copied() {
        match byte {
            b'\n' => return None,
            b'\\' => {
                at += 1;
                // Read, never written, by the server.
                if let Some((len, byte)) = numbered(rest.get(at..)?) {
                    value.push(byte);
                    at += len;
                    continue;
                }
                value.push(match *rest.get(at)? {
                    b'b' => b'\x08',
                    b'f' => b'\x0c',
                    b'n' => b'\n',
                    b'r' => b'\r',
                    b't' => b'\t',
                    b'v' => b'\x0b',
                    literal => literal,
                });
            }
            _ if byte == format.delimiter => break,
            _ => value.push(byte),
        }
        at += 1;
    }
    Some(at)
}

/// A byte by its number: up to three octal digits, or `x` and up to two hexadecimal ones.
fn numbered(rest: &[u8]) -> Option<(usize, u8)> {
    let (digits, radix, most) = match rest.split_first()? {
        (b'x', digits) => (digits, 16, 2),
        _ => (rest, 8, 3),
    };
    let digit = |byte: &u8| char::from(*byte).to_digit(radix);
    let count = digits.iter().take(most).take_while(|byte| digit(byte).is_some()).count();
    let number =
        digits.iter().take(count).filter_map(digit).fold(0_u32, |number, digit| number * radix + digit);
    let [.., byte] = number.to_be_bytes();
    (count > 0).then_some((count + usize::from(radix == 16), byte))
}

fn csv_field<'a>(format: &TextFormat, rest: &'a [u8], scratch: &'a mut Vec<u8>) -> Option<Field<'a>> {
    let Some(inner) = rest.strip_prefix(&[format.quote]) else {
        let len = memchr(format.delimiter, rest).unwrap_or(rest.len());
        let value = rest.get(..len)?;
        // The server quotes a field that holds one of these.
        let well_formed = memchr3(b'\n', b'\r', format.quote, value).is_none();
        return well_formed.then_some(Field { len, quoted: false, value });
    };
    let plain = memchr2(format.quote, format.escape, inner)?;
    let ends = |next: Option<&u8>| next.is_none_or(|next| *next == format.delimiter);
    if inner.get(plain) == Some(&format.quote) && ends(inner.get(plain + 1)) {
        return Some(Field { len: plain + 2, quoted: true, value: inner.get(..plain)? });
    }
    scratch.extend_from_slice(inner.get(..plain)?);
    let mut at = plain;
    loop {
        let byte = *inner.get(at)?;
        let next = inner.get(at + 1).copied();
        if byte == format.escape && next.is_some_and(|next| next == format.quote || next == format.escape) {
            scratch.extend(next);
            at += 2;
        } else if byte == format.quote {
            return ends(next.as_ref()).then_some(Field { len: at + 2, quoted: true, value: scratch });
        } else {
            scratch.push(byte);
            at += 1;
        }
    }
}

/// Writes one field; `None` is NULL.
pub(crate) fn put_field(format: &TextFormat, value: Option<&[u8]>, out: &mut BytesMut) {
    let Some(value) = value else {
        out.extend_from_slice(&format.null);
        return;
    };
    let mut rest = value;
    if format.csv {
        // Quoted always: a masked field is never mistaken for NULL, a number or the end of data.
        out.put_u8(format.quote);
        while let Some(at) = memchr2(format.quote, format.escape, rest) {
            let (plain, behind) = rest.split_at_checked(at).unwrap_or_default();
            out.extend_from_slice(plain);
            out.put_u8(format.escape);
            out.extend_from_slice(behind.get(..1).unwrap_or_default());
            rest = behind.get(1..).unwrap_or_default();
        }
        out.extend_from_slice(rest);
        out.put_u8(format.quote);
        return;
    }
    let is_special = |byte: &u8| matches!(*byte, 0x08..=0x0d | b'\\') || *byte == format.delimiter;
    while let Some(at) = rest.iter().position(is_special) {
        let (plain, behind) = rest.split_at_checked(at).unwrap_or_default();
        let Some((byte, behind)) = behind.split_first() else { break };
        let letter = match *byte {
            b'\x08' => b'b',
            b'\x0c' => b'f',
            b'\n' => b'n',
            b'\r' => b'r',
            b'\t' => b't',
            b'\x0b' => b'v',
            literal => literal,
        };
        out.extend_from_slice(plain);
        out.extend_from_slice(&[b'\\', letter]);
        rest = behind;
    }
    out.extend_from_slice(rest);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn format(csv: bool) -> TextFormat {
        TextFormat {
            csv,
            delimiter: if csv { b',' } else { b'\t' },
            quote: b'"',
            escape: b'"',
            null: if csv { Vec::new() } else { b"\\N".to_vec() },
            header: false,
        }
    }

    fn read(format: &TextFormat, row: &[u8]) -> Option<Vec<Option<Vec<u8>>>> {
        let mut out = Vec::new();
        let plain = plain_fields(format, row)
            .map(|fields| fields.map(|(_, value)| value.map(<[u8]>::to_vec)).collect::<Vec<_>>());
        let whole = fields(format, row, &mut Vec::new(), |_, value| {
            out.push(value.map(<[u8]>::to_vec));
            true
        });
        assert!(plain.is_none_or(|plain| whole && plain == out));
        whole.then_some(out)
    }

    fn values(values: &[Option<&str>]) -> Option<Vec<Option<Vec<u8>>>> {
        Some(values.iter().map(|value| value.map(|value| value.as_bytes().to_vec())).collect())
    }

    #[test]
    fn rows_are_read_as_the_server_wrote_them() {
        for (csv, row, expected) in [
            (false, &b"1\ta\\tb\\\\\\n\t\\N\t\n"[..], values(&[Some("1"), Some("a\tb\\\n"), None, Some("")])),
            (false, b"\n", values(&[Some("")])),
            (false, b"1\t\t\xc3\xa9\n", values(&[Some("1"), Some(""), Some("\u{e9}")])),
            (false, b"a\\\nb\tc\n", values(&[Some("a\nb"), Some("c")])),
            (true, b"1,\"a\"\"b,\nc\",,\"\"\n", values(&[Some("1"), Some("a\"b,\nc"), None, Some("")])),
            (true, b"x\r\n", values(&[Some("x")])),
            (true, b"\"a,\"\"\",\"b\",\"\"\"\"\n", values(&[Some("a,\""), Some("b"), Some("\"")])),
            (false, b"no end", None),
            (false, b"two\nrows\n", None),
            (false, b"open\\\n", None),
            (true, b"\"open\n", None),
            (true, b"\"a\"b\n", None),
            (true, b"a\nb\n", None),
            (true, b"a\"b\n", None),
            (true, b"\"\"\"\n", None),
        ] {
            assert_eq!(read(&format(csv), row), expected, "{}", String::from_utf8_lossy(row));
        }
    }

    #[test]
    fn a_byte_is_found_wherever_it_stands_and_the_end_last() {
        for length in 0..200 {
            for pattern in 0..100_usize {
                let byte = |at: usize| [b',', b'a', 0xac, 0x2d, b','][(at * pattern + at / 3) % 5];
                let text: Vec<u8> = (0..length).map(byte).collect();
                let commas = (0..length).filter(|at| text[*at] == b',');
                let expected: Vec<usize> = commas.chain([length]).collect();
                assert_eq!(Positions::new(b',', &text).collect::<Vec<_>>(), expected, "{text:?}");
            }
        }
    }

    #[test]
    fn whatever_is_written_reads_back() {
        let nasty = [
            Some("plain"),
            None,
            Some(""),
            Some("\\N"),
            Some("\\."),
            Some("a\tb,c\"d\\e\nf\r\u{8}\u{b}\u{c}"),
        ];
        for csv in [false, true] {
            for escape in [b'"', b'\\'] {
                let format = TextFormat { escape, ..format(csv) };
                let mut row = BytesMut::new();
                for (index, value) in nasty.iter().enumerate() {
                    if index > 0 {
                        row.put_u8(format.delimiter);
                    }
                    put_field(&format, value.map(str::as_bytes), &mut row);
                }
                row.put_u8(b'\n');
                assert_eq!(read(&format, &row), values(&nasty), "csv {csv}");
            }
        }
    }
}
