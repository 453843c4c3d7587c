//! A held command as an approver sees it.

use weir_policy::Request;

use crate::record::{facts_json, words};

/// A request as people see it.
pub(super) struct Shown {
    pub command: String,
    pub binds: Vec<Option<String>>,
    pub facts: serde_json::Value,
    pub in_transaction: bool,
}

impl Shown {
    pub(crate) fn of(request: &Request<'_>) -> Self {
        match request {
            Request::Connect(connect) => Self {
                command: format!("connect ({})", connect.protocol),
                binds: Vec::new(),
                facts: serde_json::Value::Null,
                in_transaction: false,
            },
            Request::Sql(sql) => Self {
                command: String::from_utf8_lossy(sql.text).into_owned(),
                binds: bind_texts(sql.binds.raw),
                facts: serde_json::json!({ "kinds": words(sql.facts), "facts": parsed(&facts_json(sql.facts)) }),
                in_transaction: sql.in_transaction,
            },
            Request::Ssh(ssh) => Self {
                command: format!("{} {}", ssh.kind.word(), String::from_utf8_lossy(ssh.text))
                    .trim_end()
                    .to_owned(),
                binds: Vec::new(),
                facts: serde_json::json!({ "kind": ssh.kind.word(), "programs": ssh.programs, "opaque": ssh.opaque }),
                in_transaction: false,
            },
            Request::Http(http) => Self {
                command: match http.query {
                    Some(query) => format!("{} {}?{query}", http.method, http.path),
                    None => format!("{} {}", http.method, http.path),
                },
                binds: Vec::new(),
                facts: serde_json::json!({ "method": http.method, "host": http.host, "path": http.path }),
                in_transaction: false,
            },
        }
    }
}

fn parsed(json: &str) -> serde_json::Value {
    serde_json::from_str(json).unwrap_or_default()
}

/// Postgres bind values: text as it is, binary as hex.
fn bind_texts(raw: &[u8]) -> Vec<Option<String>> {
    let mut texts = Vec::new();
    let Some((count, rest)) = raw.split_first_chunk::<2>() else { return texts };
    let formats = usize::from(u16::from_be_bytes(*count));
    let Some((formats, rest)) = rest.split_at_checked(2 * formats) else { return texts };
    let mut rest = rest.get(2..).unwrap_or_default();
    while let Some((length, tail)) = rest.split_first_chunk::<4>() {
        let place = texts.len();
        let format = match formats.len() / 2 {
            0 => &[0, 0],
            1 => formats,
            _ => formats.get(2 * place..2 * place + 2).unwrap_or_default(),
        };
        let binary = format == [0, 1];
        let Ok(length) = usize::try_from(i32::from_be_bytes(*length)) else {
            texts.push(None);
            rest = tail;
            continue;
        };
        let Some((value, tail)) = tail.split_at_checked(length) else { return texts };
        texts.push(Some(match std::str::from_utf8(value) {
            Ok(text) if !binary => text.to_owned(),
            _ => format!("\\x{}", hex(value)),
        }));
        rest = tail;
    }
    texts
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    let mut text = String::with_capacity(2 * bytes.len());
    for byte in bytes {
        let _ = write!(text, "{byte:02x}");
    }
    text
}

pub(crate) fn unhex(text: &str) -> Option<Vec<u8>> {
    let pairs = text.as_bytes().chunks(2).map(|pair| match pair {
        [_, _] => u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok(),
        _ => None,
    });
    pairs.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bind_values_are_shown_as_text_or_hex_and_null_as_nothing() {
        let raw = [
            &[0, 2, 0, 0, 0, 1][..],
            &[0, 3],
            &[0, 0, 0, 2, b'h', b'i'],
            &[0, 0, 0, 1, 0xff],
            &[0xff, 0xff, 0xff, 0xff],
        ]
        .concat();
        assert_eq!(bind_texts(&raw), [Some("hi".to_owned()), Some("\\xff".to_owned()), None]);
        assert!(bind_texts(b"").is_empty());
        assert!(bind_texts(&[0, 9, 0]).is_empty());
    }

    #[test]
    fn hex_reads_back_and_halves_are_refused() {
        assert_eq!(unhex(&hex(&[0, 0xab, 0xff])), Some(vec![0, 0xab, 0xff]));
        for wrong in ["a", "zz", "0", "é"] {
            assert_eq!(unhex(wrong), None);
        }
    }
}
