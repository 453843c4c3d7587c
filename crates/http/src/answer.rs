//! The gateway's own answers: one JSON object, in the exchange's place, naming the rule and what to do.

use std::fmt::Write as _;

use bytes::BytesMut;
use weir_policy::Reason;

/// A request that goes no further, with the status that says so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) status: u16,
    pub(crate) message: &'static str,
}

impl Refusal {
    pub(crate) const fn new(status: u16, message: &'static str) -> Self {
        Self { status, message }
    }

    pub(crate) const fn bad(message: &'static str) -> Self {
        Self::new(400, message)
    }
}

/// An answer of the gateway itself.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Answer<'a> {
    pub(crate) status: u16,
    pub(crate) message: &'a str,
    pub(crate) rule: Option<&'a str>,
    pub(crate) hold: Option<&'a str>,
    /// Seconds.
    pub(crate) retry_after: Option<u32>,
    /// The connection ends with this answer.
    pub(crate) close: bool,
    /// It answers a HEAD request.
    pub(crate) head_only: bool,
}

impl Answer<'_> {
    pub(crate) fn write(&self, out: &mut BytesMut) {
        let mut body = String::from("{\"error\":");
        push_json(error_word(self.status), &mut body);
        for (name, value) in [("rule", self.rule), ("hold", self.hold), ("message", Some(self.message))] {
            if let Some(value) = value {
                body.extend([",\"", name, "\":"]);
                push_json(value, &mut body);
            }
        }
        body.push_str("}\n");
        let mut head = String::new();
        // Writing into a string cannot fail.
        let _ = write!(
            head,
            "HTTP/1.1 {} {}\r\ncontent-type: application/json\r\ncache-control: no-store\r\ncontent-length: {}\r\n",
            self.status,
            reason(self.status),
            body.len()
        );
        if self.status == 401 {
            head.push_str("www-authenticate: Bearer realm=\"weir\"\r\n");
        }
        if let Some(seconds) = self.retry_after {
            let _ = write!(head, "retry-after: {seconds}\r\n");
        }
        if self.close {
            head.push_str("connection: close\r\n");
        }
        head.push_str("\r\n");
        out.extend_from_slice(head.as_bytes());
        if !self.head_only {
            out.extend_from_slice(body.as_bytes());
        }
    }
}

/// The status for a denial.
pub(crate) const fn denial_status(reason: Reason) -> u16 {
    match reason {
        Reason::Forbidden | Reason::NotApproved | Reason::NotUnderstood => 403,
        Reason::Limit => 429,
        Reason::Unauthenticated => 401,
        Reason::Unavailable => 503,
    }
}

const fn error_word(status: u16) -> &'static str {
    match status {
        400 | 405 | 417 | 501 | 505 => "bad_request",
        401 => "unauthenticated",
        403 => "denied",
        413..=415 | 431 => "too_large_or_encoded",
        202 => "waits_for_approval",
        429 => "limit",
        502 => "bad_upstream_answer",
        503 => "unavailable",
        _ => "refused",
    }
}

/// The phrase for a status; the upstream's own is never passed on, for it is free text.
pub(crate) const fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        201 => "Created",
        202 => "Accepted",
        204 => "No Content",
        206 => "Partial Content",
        301 => "Moved Permanently",
        302 => "Found",
        303 => "See Other",
        304 => "Not Modified",
        307 => "Temporary Redirect",
        308 => "Permanent Redirect",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        408 => "Request Timeout",
        409 => "Conflict",
        410 => "Gone",
        412 => "Precondition Failed",
        413 => "Content Too Large",
        414 => "URI Too Long",
        415 => "Unsupported Media Type",
        416 => "Range Not Satisfiable",
        417 => "Expectation Failed",
        422 => "Unprocessable Content",
        429 => "Too Many Requests",
        431 => "Request Header Fields Too Large",
        500 => "Internal Server Error",
        501 => "Not Implemented",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        505 => "HTTP Version Not Supported",
        _ => "",
    }
}

/// Appends a quoted JSON string.
fn push_json(text: &str, out: &mut String) {
    out.push('"');
    for ch in text.chars() {
        match ch {
            '"' | '\\' => out.extend(['\\', ch]),
            '\0'..='\u{1f}' => {
                let _ = write!(out, "\\u{:04x}", u32::from(ch));
            }
            _ => out.push(ch),
        }
    }
    out.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_names_its_rule_and_has_its_length() {
        let mut out = BytesMut::new();
        let answer =
            Answer { status: 403, message: "not \"this\"\n", rule: Some("no.delete"), ..Answer::default() };
        answer.write(&mut out);
        let text = String::from_utf8(out.to_vec()).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert_eq!(
            body,
            "{\"error\":\"denied\",\"rule\":\"no.delete\",\"message\":\"not \\\"this\\\"\\u000a\"}\n"
        );
        assert!(head.starts_with("HTTP/1.1 403 Forbidden\r\n"));
        assert!(head.contains(&format!("content-length: {}", body.len())) && !head.contains("connection"));
    }

    #[test]
    fn an_answer_to_head_has_no_body_and_a_closing_one_says_so() {
        let mut out = BytesMut::new();
        let answer = Answer { status: 401, close: true, head_only: true, ..Answer::default() };
        answer.write(&mut out);
        let text = String::from_utf8(out.to_vec()).unwrap();
        assert!(text.ends_with("connection: close\r\n\r\n") && text.contains("\r\nwww-authenticate: Bearer"));
    }
}
