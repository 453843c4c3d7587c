//! Postgres answers of a recording as result tables: the wire bytes that the client saw, decoded.
//!
//! Recorded bytes are hostile: every length is checked, and whatever does not fit is shown as what it is.

use super::values;
use crate::table;

/// Longest message that is put together from chunks; a longer one is skipped over and counted.
const LONGEST: usize = 16 << 20;
/// Rows shown of one result.
const ROWS: usize = 1_000;
/// Characters shown of one value.
const VALUE: usize = 200;

/// One session's answers.
#[derive(Default)]
pub(super) struct Transcript {
    pending: Vec<u8>,
    /// Bytes of a message too long to put together that are still to come.
    skip: usize,
    columns: Vec<Column>,
    rows: Vec<Vec<String>>,
    more: u64,
    copied: u64,
}

struct Column {
    name: String,
    oid: u32,
    binary: bool,
}

impl Transcript {
    /// Takes more bytes; answers the lines that are complete now.
    pub(super) fn read(&mut self, bytes: &[u8]) -> Vec<String> {
        let skipped = self.skip.min(bytes.len());
        self.skip -= skipped;
        self.pending.extend_from_slice(bytes.get(skipped..).unwrap_or_default());
        let pending = std::mem::take(&mut self.pending);
        let mut rest = pending.as_slice();
        let mut lines = Vec::new();
        while let Some((tag, length)) = head(rest) {
            let Some(length) = length else {
                lines.push(format!("({} bytes that are no Postgres answer)", rest.len()));
                rest = &[];
                break;
            };
            let total = 1 + length;
            match rest.get(5..total) {
                Some(body) => {
                    self.message(tag, body, &mut lines);
                    rest = rest.get(total..).unwrap_or_default();
                }
                None if total > LONGEST => {
                    lines.push(format!("(a message of {length} bytes)"));
                    self.skip = total - rest.len();
                    rest = &[];
                }
                None => break,
            }
        }
        self.pending = rest.to_vec();
        lines
    }

    /// The result that was cut off, if one was.
    pub(super) fn flush(&mut self) -> Vec<String> {
        let mut lines = Vec::new();
        if !self.rows.is_empty() || self.copied > 0 {
            self.result("(cut off here)", &mut lines);
        }
        lines
    }

    fn message(&mut self, tag: u8, body: &[u8], lines: &mut Vec<String>) {
        match tag {
            b'T' => self.columns = columns(body),
            b'D' if self.rows.len() < ROWS => {
                let row = self.row(body);
                self.rows.push(row);
            }
            b'D' => self.more += 1,
            b'd' => {
                self.copied += 1;
                if self.rows.len() < ROWS {
                    self.rows.push(vec![copied(body.trim_ascii_end())]);
                }
            }
            b'G' | b'H' => self.columns.clear(),
            b'C' => self.result(&text(body), lines),
            b'I' => lines.push("(empty query)".into()),
            b's' => self.result("(portal suspended)", lines),
            b'E' => {
                self.result("", lines);
                lines.push(format!("ERROR {}", fields(body)));
            }
            b'N' => lines.push(format!("NOTICE {}", fields(body))),
            b'A' => lines.push("(notification)".into()),
            // Login, parameters, Parse/Bind/Close complete, ready for query: no part of a result.
            _ => {}
        }
    }

    fn row(&self, body: &[u8]) -> Vec<String> {
        let mut rest = body.get(2..).unwrap_or_default();
        let mut values = Vec::new();
        while let Some((length, tail)) = rest.split_first_chunk::<4>() {
            let length = i32::from_be_bytes(*length);
            rest = tail;
            let Ok(length) = usize::try_from(length) else {
                values.push("NULL".into());
                continue;
            };
            let Some((value, tail)) = rest.split_at_checked(length) else { break };
            rest = tail;
            values.push(match self.columns.get(values.len()) {
                Some(column) => column.show(value),
                None => shown(value),
            });
        }
        values
    }

    fn result(&mut self, tag: &str, lines: &mut Vec<String>) {
        let names: Vec<String> = self.columns.iter().map(|column| table::plain(&column.name)).collect();
        let rows = std::mem::take(&mut self.rows);
        if !rows.is_empty() {
            lines.extend(aligned(&names, &rows));
        }
        if self.more > 0 {
            lines.push(format!("({} more rows)", self.more));
        }
        self.more = 0;
        self.copied = 0;
        if !tag.is_empty() {
            lines.push(table::plain(tag));
        }
    }
}

/// Tag and length of the next message; length `None` where it cannot be one.
fn head(bytes: &[u8]) -> Option<(u8, Option<usize>)> {
    let (tag, rest) = bytes.split_first()?;
    let length = u32::from_be_bytes(*rest.first_chunk::<4>()?) as usize;
    Some((*tag, Some(length).filter(|length| *length >= 4 && *length <= 1 << 30)))
}

fn columns(body: &[u8]) -> Vec<Column> {
    let mut rest = body.get(2..).unwrap_or_default();
    let mut columns = Vec::new();
    while let Some(end) = rest.iter().position(|byte| *byte == 0) {
        let (name, tail) = rest.split_at(end);
        let Some((fixed, tail)) = tail.get(1..).and_then(|tail| tail.split_first_chunk::<18>()) else {
            break;
        };
        let [_, _, _, _, _, _, a, b, c, d, _, _, _, _, _, _, _, format] = *fixed;
        columns.push(Column {
            name: String::from_utf8_lossy(name).into_owned(),
            oid: u32::from_be_bytes([a, b, c, d]),
            binary: format == 1,
        });
        rest = tail;
    }
    columns
}

impl Column {
    /// A description made for a statement says "text" whatever format the portal then asks for, so the bytes decide:
    /// a number's text is digits, and its binary form has a fixed length and, nearly always, other bytes.
    fn show(&self, value: &[u8]) -> String {
        let printable = str::from_utf8(value)
            .is_ok_and(|text| !text.chars().any(|c| c.is_control() && !c.is_whitespace()));
        if !self.binary && printable {
            return shown(value);
        }
        values::text(self.oid, value).map_or_else(|| shown(value), |text| shown(text.as_bytes()))
    }
}

/// Text as text, anything else as hex.
fn shown(value: &[u8]) -> String {
    match str::from_utf8(value) {
        Ok(text) if text.chars().count() <= VALUE => table::plain(text),
        Ok(text) => format!(
            "{}… ({} bytes)",
            table::plain(&text.chars().take(VALUE).collect::<String>()),
            value.len()
        ),
        Err(_) => hexadecimal(value),
    }
}

/// A row of COPY. Its tabs part the columns (one inside a value is written `\\t` already), so they stay tabs.
fn copied(row: &[u8]) -> String {
    row.split(|byte| *byte == b'\t').map(shown).collect::<Vec<_>>().join("\t")
}

fn text(body: &[u8]) -> String {
    String::from_utf8_lossy(body.strip_suffix(&[0]).unwrap_or(body)).into_owned()
}

/// `SEVERITY 42501: message` of an error or notice.
fn fields(body: &[u8]) -> String {
    let mut parts = [String::new(), String::new(), String::new()];
    for field in body.split(|byte| *byte == 0) {
        let Some((code, value)) = field.split_first() else { continue };
        let place = match code {
            b'C' => 0,
            b'M' => 1,
            b'D' => 2,
            _ => continue,
        };
        if let Some(part) = parts.get_mut(place) {
            *part = table::plain(&String::from_utf8_lossy(value));
        }
    }
    let [code, message, detail] = parts;
    if detail.is_empty() { format!("{code}: {message}") } else { format!("{code}: {message} ({detail})") }
}

fn aligned(names: &[String], rows: &[Vec<String>]) -> Vec<String> {
    let count = rows.iter().map(Vec::len).max().unwrap_or(0).max(names.len());
    let widths: Vec<usize> = (0..count)
        .map(|at| {
            let cells = rows
                .iter()
                .chain(std::iter::once(&names.to_vec()))
                .filter_map(|row| row.get(at))
                .map(|cell| cell.chars().count())
                .max();
            cells.unwrap_or(0)
        })
        .collect();
    let line = |cells: &[String]| {
        let padded: Vec<String> =
            cells.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        padded.join(" | ").trim_end().to_owned()
    };
    let mut lines = Vec::with_capacity(rows.len() + 2);
    if !names.is_empty() {
        lines.push(line(names));
        lines.push(widths.iter().map(|width| "-".repeat(*width)).collect::<Vec<_>>().join("-+-"));
    }
    lines.extend(rows.iter().map(|row| line(row)));
    lines
}

/// Bind values for people: the recorded part of a Bind message from its parameter formats to its result formats.
pub(super) fn binds(count: u16, raw: &[u8]) -> String {
    let count_of = raw.first_chunk::<2>().map_or(0, |count| usize::from(u16::from_be_bytes(*count)));
    let formats = raw.get(2..2 + 2 * count_of).unwrap_or_default().as_chunks::<2>().0;
    // Formats, then the number of values, then each value with its length.
    let mut rest = raw.get(2 + 2 * count_of + 2..).unwrap_or_default();
    let mut values = Vec::new();
    for place in 0..usize::from(count) {
        let Some((length, tail)) = rest.split_first_chunk::<4>() else { break };
        match usize::try_from(i32::from_be_bytes(*length)) {
            Err(_) => {
                values.push("NULL".to_owned());
                rest = tail;
            }
            Ok(length) => {
                let Some((value, tail)) = tail.split_at_checked(length) else { break };
                // One format is every value's; none is text's.
                let format = formats.get(if formats.len() == 1 { 0 } else { place });
                values.push(if format == Some(&[0, 1]) { hexadecimal(value) } else { shown(value) });
                rest = tail;
            }
        }
    }
    if values.len() == usize::from(count) {
        values.join(", ")
    } else {
        format!("{count} values: {}", shown(raw))
    }
}

fn hexadecimal(value: &[u8]) -> String {
    let hex = hex::encode(value.get(..VALUE / 2).unwrap_or(value));
    format!("\\x{hex}{}", if value.len() > VALUE / 2 { "…" } else { "" })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(tag: u8, body: &[u8]) -> Vec<u8> {
        [&[tag][..], &(body.len() as u32 + 4).to_be_bytes(), body].concat()
    }

    fn answer() -> Vec<u8> {
        let column = |name: &[u8], oid: u32| [name, &[0; 7], &oid.to_be_bytes(), &[0; 8]].concat();
        let description = [&2_u16.to_be_bytes()[..], &column(b"id", 23), &column(b"name", 25)].concat();
        let row = |id: &[u8], name: Option<&[u8]>| {
            let name = match name {
                Some(name) => [&(name.len() as u32).to_be_bytes()[..], name].concat(),
                None => (-1_i32).to_be_bytes().to_vec(),
            };
            [&2_u16.to_be_bytes()[..], &(id.len() as u32).to_be_bytes(), id, &name].concat()
        };
        [
            message(b'S', b"TimeZone\0UTC\0"),
            message(b'T', &description),
            message(b'D', &row(b"1", Some(b"Ada\x1b[2J"))),
            message(b'D', &row(&[0, 0, 1, 0], None)),
            message(b'C', b"SELECT 2\0"),
            message(b'E', b"SERROR\0C42501\0Mno\0\0"),
            message(b'Z', b"I"),
        ]
        .concat()
    }

    #[test]
    fn results_read_the_same_however_the_bytes_were_cut() {
        let expected = [
            "id  | name",
            "----+-----------------",
            "1   | Ada\\u{1b}[2J",
            "256 | NULL",
            "SELECT 2",
            "ERROR 42501: no",
        ];
        let bytes = answer();
        for cut in 0..=bytes.len() {
            let mut transcript = Transcript::default();
            let mut lines = transcript.read(&bytes[..cut]);
            lines.extend(transcript.read(&bytes[cut..]));
            assert_eq!(
                lines.iter().map(|line| line.trim_end()).collect::<Vec<_>>()[2..],
                expected[2..],
                "cut {cut}"
            );
            assert_eq!(lines[0], expected[0]);
        }
    }

    #[test]
    fn lying_lengths_are_shown_as_what_they_are() {
        let mut transcript = Transcript::default();
        assert_eq!(transcript.read(b"D\0\0\0\x01zz"), ["(7 bytes that are no Postgres answer)"]);
        assert_eq!(transcript.read(b"D\xff\xff\xff\xffzz"), ["(7 bytes that are no Postgres answer)"]);
        // A row whose value claims to be longer than the row.
        assert!(transcript.read(&message(b'D', &[0, 1, 0, 0, 1, 0, b'x'])).is_empty());
    }

    #[test]
    fn bind_values_are_read_back() {
        let raw = [&[0, 0, 0, 2][..], &[0, 0, 0, 2], b"42", &[0xff; 4]].concat();
        assert_eq!(binds(2, &raw), "42, NULL");
        assert!(binds(3, &raw).starts_with("3 values"));
        let raw = [&[0, 1, 0, 1, 0, 1][..], &[0, 0, 0, 4], &[0, 0, 0, 7]].concat();
        assert_eq!(binds(1, &raw), "\\x00000007");
    }
}
