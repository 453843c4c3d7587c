//! CSV as RFC 4180 has it: a head line, then one row an event. Values are exact; a program that takes text for formulas
//! must be told that these are text.

use std::io::Write as _;

use anyhow::Result;
use weir_segment::{Body, Head};

use super::rows::{COLUMNS, Cell, Rows};
use super::{Export, Out};

pub(super) struct Csv {
    out: Out,
    rows: Rows,
}

impl Csv {
    pub(super) fn new(mut out: Out) -> Result<Self> {
        let names: Vec<&str> = COLUMNS.iter().map(|(name, _)| *name).collect();
        write!(out, "{}\r\n", names.join(","))?;
        Ok(Self { out, rows: Rows::default() })
    }
}

impl Export for Csv {
    fn event(&mut self, head: &Head, body: &Body<'_>, wanted: bool) -> Result<()> {
        let Some(row) = self.rows.row(head, body, wanted) else { return Ok(()) };
        for (place, cell) in row.iter().enumerate() {
            if place > 0 {
                self.out.write_all(b",")?;
            }
            match cell {
                Cell::None => {}
                Cell::Int(number) => write!(self.out, "{number}")?,
                Cell::Text(text) => self.out.write_all(quoted(text).as_bytes())?,
            }
        }
        Ok(self.out.write_all(b"\r\n")?)
    }

    fn finish(mut self: Box<Self>) -> Result<()> {
        Ok(self.out.flush()?)
    }
}

/// In quotes where it must be, and where it is empty: nothing at all is no value.
fn quoted(text: &str) -> std::borrow::Cow<'_, str> {
    let plain = !text.is_empty()
        && !text.starts_with(' ')
        && !text.ends_with(' ')
        && !text.contains([',', '"', '\r', '\n']);
    if plain { text.into() } else { format!("\"{}\"", text.replace('"', "\"\"")).into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_quoted_where_they_must_be() {
        for (text, expected) in
            [("a", "a"), ("", "\"\""), ("a,b", "\"a,b\""), ("a\"b", "\"a\"\"b\""), ("a\nb", "\"a\nb\"")]
        {
            assert_eq!(quoted(text), expected);
        }
    }
}
