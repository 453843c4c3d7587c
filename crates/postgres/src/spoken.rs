//! What is left of an error's or notice's own words where the statement that it is about may have read protected columns.
//!
//! The server's messages quote values; what code of people raises is whatever that code likes. Which message is which
//! is told from the fields that no code can write: the source file and routine, and the position in the client's text,
//! which only a fault that was found before anything ran has.

use std::borrow::Cow;

use crate::asides::response_field;

/// In the place of what code raised.
const WITHHELD: &[u8] = b"the message is withheld: the code that raised it may have read masked columns";

/// Classes whose messages name objects and conditions, never a row's value: connection, transaction state, lack of
/// resources, objects in use, intervention, rollback; constraints, whose values stand in the detail.
const PLAIN_CLASSES: [&[u8; 2]; 10] = [b"08", b"0A", b"23", b"25", b"40", b"53", b"54", b"55", b"57", b"26"];

/// Whether code of people wrote the message.
pub(crate) fn is_raised(body: &[u8]) -> bool {
    const FILES: [&[u8]; 4] = [b"dblink.c", b"plperl.c", b"plpy_elog.c", b"pltcl.c"];
    let routine = response_field(body, b'R').unwrap_or_default();
    let file = response_field(body, b'F').unwrap_or_default();
    routine == b"exec_stmt_raise" || routine == b"exec_stmt_assert" || FILES.contains(&file)
}

/// The message without values. `spoke`: what ran may have read protected columns.
pub(crate) fn told(body: &[u8], spoke: bool) -> Cow<'_, [u8]> {
    let text = response_field(body, b'M').unwrap_or_default();
    let code = response_field(body, b'C').unwrap_or_default();
    // Data exceptions quote the value that they are about.
    let quotes = code.starts_with(b"22");
    if !spoke {
        return if quotes { Cow::Owned(without_quoted(text, b'"')) } else { Cow::Borrowed(text) };
    }
    if is_raised(body) {
        return Cow::Borrowed(WITHHELD);
    }
    let is_plain = PLAIN_CLASSES.iter().any(|class| code.starts_with(*class)) || code == b"42501";
    let found_early = response_field(body, b'P').is_some();
    if !quotes && (is_plain || found_early) {
        return Cow::Borrowed(text);
    }
    Cow::Owned(without_numbers(&without_quoted(&without_quoted(text, b'"'), b'\'')))
}

/// The message with everything from its first quote to its last replaced.
fn without_quoted(text: &[u8], quote: u8) -> Vec<u8> {
    let is_quote = |byte: &u8| *byte == quote;
    let (Some(first), Some(last)) = (text.iter().position(is_quote), text.iter().rposition(is_quote)) else {
        return text.to_vec();
    };
    if first == last && quote == b'\'' {
        // An apostrophe.
        return text.to_vec();
    }
    let before = text.get(..=first).unwrap_or_default();
    [before, b"***", &[quote], text.get(last + 1..).unwrap_or_default()].concat()
}

/// The message with every word that has a digit replaced.
fn without_numbers(text: &[u8]) -> Vec<u8> {
    let words = text.split(|byte| *byte == b' ');
    let shown = words.map(|word| if word.iter().any(u8::is_ascii_digit) { &b"***"[..] } else { word });
    shown.collect::<Vec<_>>().join(&b' ')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(fields: &[(u8, &str)]) -> Vec<u8> {
        let field = |(code, text): &(u8, &str)| [&[*code], text.as_bytes(), b"\0"].concat();
        fields.iter().flat_map(field).chain([0]).collect()
    }

    fn said(code: &str, text: &str, more: &[(u8, &str)], spoke: bool) -> String {
        let body = of(&[&[(b'C', code), (b'M', text)], more].concat());
        String::from_utf8(told(&body, spoke).into_owned()).unwrap()
    }

    #[test]
    fn quoted_values_leave_no_trace() {
        for (text, expected) in [
            (
                "invalid input syntax for type integer: \"12\"3\"",
                "invalid input syntax for type integer: \"***\"",
            ),
            ("division by zero", "division by zero"),
            ("odd \"", "odd \"***\""),
        ] {
            assert_eq!(said("22P02", text, &[], false), expected);
            assert_eq!(said("22P02", text, &[], true), expected);
        }
    }

    #[test]
    fn a_statement_over_protected_columns_gets_messages_without_values() {
        let raise = [(b'F', "pl_exec.c"), (b'R', "exec_stmt_raise")];
        let server = [(b'F', "regproc.c"), (b'R', "regclassin")];
        for (code, text, more, expected) in [
            ("42P01", "relation \"984-32\" does not exist", &server[..], "relation \"***\" does not exist"),
            ("01000", "PID 984 is not a server process", &server, "PID *** is not a server process"),
            ("22023", "timezone '+9' can't be", &server, "timezone '***'t be"),
            ("23505", "duplicate key value violates \"a1\"", &server, "duplicate key value violates \"a1\""),
            ("42P01", "relation \"t1\" does not exist", &[(b'P', "15")], "relation \"t1\" does not exist"),
            ("23505", "984-32", &raise, std::str::from_utf8(WITHHELD).unwrap()),
            ("P0001", "984-32", &raise, std::str::from_utf8(WITHHELD).unwrap()),
        ] {
            assert_eq!(said(code, text, more, true), expected);
            assert!(!said(code, text, more, false).contains("withheld"));
        }
    }
}
