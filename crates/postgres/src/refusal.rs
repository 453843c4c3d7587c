//! ErrorResponse and NoticeResponse in the gateway's own voice, and what a denial becomes.

use bytes::{BufMut, BytesMut};
use weir_policy::{Denial, Facts, Hold, Opaque, Reason};

use crate::codec::{message, put_cstr};

/// `Denial::rule` for a connection name that is not known or not granted: SQLSTATE 3D000.
pub const UNKNOWN_CONNECTION: &str = "(connection)";
/// `Denial::rule` for a held command that its client withdrew by a cancel request: SQLSTATE 57014.
pub const CANCELLED: &str = "(cancelled)";

/// Ends the session.
pub(crate) fn fatal(out: &mut BytesMut, sqlstate: [u8; 5], text: &str) {
    response(out, b'E', "FATAL", sqlstate, |out| put_field(out, b'M', text.as_bytes()));
}

/// Ends the command only.
pub(crate) fn error(out: &mut BytesMut, sqlstate: [u8; 5], text: &str) {
    response(out, b'E', "ERROR", sqlstate, |out| put_field(out, b'M', text.as_bytes()));
}

/// A login that was refused. Whatever was wrong with the identity, the text is the same.
pub(crate) fn login_denied(out: &mut BytesMut, denial: &Denial, unauthenticated: &str) {
    let sqlstate = match denial.reason {
        Reason::Unauthenticated => *b"28P01",
        Reason::Forbidden if &*denial.rule == UNKNOWN_CONNECTION => *b"3D000",
        Reason::Forbidden | Reason::NotApproved => *b"28000",
        Reason::Limit => *b"53300",
        Reason::NotUnderstood => *b"08P01",
        Reason::Unavailable => *b"57P03",
    };
    let text = match denial.reason {
        Reason::Unauthenticated => unauthenticated,
        Reason::Forbidden
        | Reason::Limit
        | Reason::NotApproved
        | Reason::NotUnderstood
        | Reason::Unavailable => &denial.message,
    };
    fatal(out, sqlstate, text);
}

/// A command that was refused, naming the rule.
pub(crate) fn denied(out: &mut BytesMut, denial: &Denial, facts: Option<&Facts>) {
    let syntax = match (denial.reason, facts.and_then(|facts| facts.opaque.as_ref())) {
        (Reason::NotUnderstood, Some(Opaque::Syntax { message, position })) => Some((message, *position)),
        _ => None,
    };
    let sqlstate = match denial.reason {
        _ if syntax.is_some() => *b"42601",
        Reason::NotApproved if &*denial.rule == CANCELLED => *b"57014",
        Reason::Forbidden | Reason::NotApproved => *b"42501",
        Reason::Limit => *b"54000",
        Reason::NotUnderstood => *b"0A000",
        Reason::Unauthenticated => *b"28000",
        Reason::Unavailable => *b"58000",
    };
    response(out, b'E', "ERROR", sqlstate, |out| match syntax {
        Some((text, position)) => {
            put_field(out, b'M', text.as_bytes());
            put_number(out, b'P', position);
        }
        None => {
            out.put_u8(b'M');
            out.extend_from_slice(b"refused by rule ");
            out.extend_from_slice(denial.rule.as_bytes());
            out.extend_from_slice(b": ");
            put_cstr(out, denial.message.as_bytes());
        }
    });
}

/// Tells the client that its command waits.
pub(crate) fn held(out: &mut BytesMut, hold: &Hold) {
    response(out, b'N', "NOTICE", *b"00000", |out| {
        out.put_u8(b'M');
        out.extend_from_slice(b"held by rule ");
        out.extend_from_slice(hold.rule.as_bytes());
        out.extend_from_slice(b": ");
        put_cstr(out, hold.terms.message.as_bytes());
    });
}

/// Tells the client, once, why it sees less than its rules say.
pub(crate) fn unread_catalog(out: &mut BytesMut) {
    response(out, b'N', "WARNING", *b"01000", |out| {
        out.put_u8(b'M');
        put_cstr(
            out,
            b"the server's catalog could not be read: until it is, every column that may be protected is masked",
        );
    });
}

fn response(
    out: &mut BytesMut,
    tag: u8,
    severity: &str,
    sqlstate: [u8; 5],
    fill: impl FnOnce(&mut BytesMut),
) {
    message(out, tag, |out| {
        put_field(out, b'S', severity.as_bytes());
        put_field(out, b'V', severity.as_bytes());
        put_field(out, b'C', &sqlstate);
        fill(out);
        out.put_u8(0);
    });
}

fn put_field(out: &mut BytesMut, field: u8, text: &[u8]) {
    out.put_u8(field);
    put_cstr(out, text);
}

fn put_number(out: &mut BytesMut, field: u8, number: u32) {
    use std::fmt::Write as _;
    out.put_u8(field);
    // Writing into a buffer that grows cannot fail.
    let _ = write!(out, "{number}");
    out.put_u8(0);
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn denial(rule: &str, reason: Reason) -> Denial {
        Denial { rule: Arc::from(rule), reason, message: Arc::from("do this instead") }
    }

    fn fields(out: &[u8]) -> Vec<String> {
        let body = &out[5..out.len() - 2];
        body.split(|byte| *byte == 0).map(|field| String::from_utf8(field.to_vec()).unwrap()).collect()
    }

    #[test]
    fn a_denied_command_names_its_rule() {
        for (rule, reason, expected) in [
            ("no-drop", Reason::Forbidden, "C42501"),
            (CANCELLED, Reason::NotApproved, "C57014"),
            ("hold-delete", Reason::NotApproved, "C42501"),
            ("(limit)", Reason::Limit, "C54000"),
        ] {
            let mut out = BytesMut::new();
            denied(&mut out, &denial(rule, reason), None);
            let text = format!("Mrefused by rule {rule}: do this instead");
            assert_eq!(fields(&out), ["SERROR", "VERROR", expected, text.as_str()]);
        }
    }

    #[test]
    fn a_syntax_error_reads_like_the_servers_own() {
        let facts = Facts {
            opaque: Some(Opaque::Syntax { message: "syntax error at or near \"slect\"".into(), position: 3 }),
            ..Facts::default()
        };
        let mut out = BytesMut::new();
        denied(&mut out, &denial("(opaque)", Reason::NotUnderstood), Some(&facts));
        let expected = ["SERROR", "VERROR", "C42601", "Msyntax error at or near \"slect\"", "P3"];
        assert_eq!(fields(&out), expected);
    }

    #[test]
    fn every_identity_failure_has_one_text() {
        let mut texts: Vec<String> = ["expired", "wrong audience", "unknown issuer"]
            .iter()
            .map(|why| {
                let mut out = BytesMut::new();
                let denial =
                    Denial { message: Arc::from(*why), ..denial("(identity)", Reason::Unauthenticated) };
                login_denied(&mut out, &denial, "one text");
                fields(&out).join("|")
            })
            .collect();
        texts.dedup();
        assert_eq!(texts.len(), 1);
        assert!(texts[0].starts_with("SFATAL|VFATAL|C28P01|M"));
    }
}
