//! Postgres messages in their plainest form, and a small upstream that answers them.

use crate::rows::{COLUMNS, Row};

/// OID of the one table that there is.
pub const TABLE: u32 = 16_400;

pub fn message(tag: u8, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len() + 4).unwrap();
    [&[tag], &length.to_be_bytes()[..], body].concat()
}

pub fn startup() -> Vec<u8> {
    let body = [&0x0003_0000_u32.to_be_bytes()[..], b"user\0job\0database\0bench\0\0"].concat();
    [&u32::try_from(body.len() + 4).unwrap().to_be_bytes()[..], &body].concat()
}

/// Parse under the name `s`, Describe, Sync: how drivers prepare.
pub fn prepare(text: &str) -> Vec<u8> {
    let parse = message(b'P', format!("s\0{text}\0\0\0").as_bytes());
    [parse, message(b'D', b"Ss\0"), message(b'S', b"")].concat()
}

/// How rows are asked for and sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// DataRow, every value in binary.
    Binary,
    /// COPY, in its text format.
    Copy,
    /// DataRow, every value as text.
    Text,
}

impl Form {
    pub const ALL: [Self; 3] = [Self::Text, Self::Copy, Self::Binary];

    pub const fn word(self) -> &'static str {
        match self {
            Self::Binary => "binary rows",
            Self::Copy => "COPY text",
            Self::Text => "text rows",
        }
    }

    /// What a client sends for rows of this form.
    pub fn asked(self) -> Vec<u8> {
        match self {
            Self::Binary => run_prepared(1),
            Self::Copy => message(b'Q', b"COPY orders TO STDOUT\0"),
            Self::Text => run_prepared(0),
        }
    }

    fn row(self, row: &Row) -> Vec<u8> {
        match self {
            Self::Binary => data_row(row, true),
            Self::Copy => message(b'd', &[&row.join(&b'\t')[..], b"\n"].concat()),
            Self::Text => data_row(row, false),
        }
    }
}

/// Bind with one 4-byte value and the format of all columns, Execute, Sync.
fn run_prepared(format: u8) -> Vec<u8> {
    let mut bind = b"\0s\0\0\x01\0\x01\0\x01\0\0\0\x04\0\0\0\x2a\0\x01\0".to_vec();
    bind.push(format);
    [message(b'B', &bind), message(b'E', b"\0\0\0\0\0"), message(b'S', b"")].concat()
}

fn data_row(row: &Row, binary: bool) -> Vec<u8> {
    const BIGINT: u32 = 20;
    let mut body = i16::try_from(row.len()).unwrap().to_be_bytes().to_vec();
    for (cell, (_, kind)) in row.iter().zip(COLUMNS) {
        let number = (binary && kind == BIGINT).then(|| std::str::from_utf8(cell).unwrap().parse::<i64>());
        let number = number.map(|number| number.unwrap().to_be_bytes());
        let cell = number.as_ref().map_or(cell.as_slice(), |number| number);
        body.extend_from_slice(&i32::try_from(cell.len()).unwrap().to_be_bytes());
        body.extend_from_slice(cell);
    }
    message(b'D', &body)
}

fn row_description() -> Vec<u8> {
    let mut body = i16::try_from(COLUMNS.len()).unwrap().to_be_bytes().to_vec();
    for (attribute, (name, kind)) in (1_i16..).zip(COLUMNS) {
        body.extend_from_slice(name.as_bytes());
        body.push(0);
        body.extend_from_slice(&TABLE.to_be_bytes());
        body.extend_from_slice(&attribute.to_be_bytes());
        body.extend_from_slice(&kind.to_be_bytes());
        body.extend_from_slice(&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0]);
    }
    message(b'T', &body)
}

/// Complete messages at the front of `bytes`, each with its header.
pub fn split(mut bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        let length = u32::from_be_bytes(bytes.get(1..5)?.try_into().unwrap());
        let (message, rest) = bytes.split_at_checked(usize::try_from(length).unwrap() + 1)?;
        bytes = rest;
        Some(message)
    })
}

/// What an upstream says to `bytes`; every Execute and every COPY yields `rows` in this form.
pub fn answer(bytes: &[u8], rows: &[Row], form: Form) -> Vec<u8> {
    let mut out = Vec::new();
    for asked in split(bytes) {
        match asked[0] {
            b'B' => out.extend(message(b'2', b"")),
            b'C' => out.extend(message(b'3', b"")),
            b'D' => {
                if asked[5] == b'S' {
                    out.extend(message(b't', b"\0\x01\0\0\0\x17"));
                }
                out.extend(row_description());
            }
            b'E' => {
                rows.iter().for_each(|row| out.extend(form.row(row)));
                out.extend(message(b'C', format!("SELECT {}\0", rows.len()).as_bytes()));
            }
            b'H' => {}
            b'P' => out.extend(message(b'1', b"")),
            b'Q' => {
                let columns = u8::try_from(COLUMNS.len()).unwrap();
                out.extend(message(b'H', &[&[0, 0, columns][..], &[0; 2 * COLUMNS.len()]].concat()));
                rows.iter().for_each(|row| out.extend(form.row(row)));
                out.extend(message(b'c', b""));
                out.extend(message(b'C', format!("COPY {}\0", rows.len()).as_bytes()));
                out.extend(message(b'Z', b"I"));
            }
            b'S' => out.extend(message(b'Z', b"I")),
            tag => panic!("the machine sent a message {:?}", char::from(tag)),
        }
    }
    out
}
