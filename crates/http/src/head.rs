//! Collects a head however its bytes arrive, and checks its lines before any parser sees them.
//!
//! `httparse` accepts bare LF; this does not.

use memchr::memchr_iter;
use zeroize::Zeroize as _;

use crate::machine::KEPT_BYTES;

/// Fields that a head may have at the most; a setting can only lower it.
pub(crate) const MAX_FIELDS: usize = 128;

/// A head under collection. Reused for every head of its side.
#[derive(Debug, Default)]
pub(crate) struct HeadBuffer {
    bytes: Vec<u8>,
    /// No line ends before this that was not looked at.
    seen: usize,
    /// Where the current line begins.
    line: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Collected {
    /// All input was taken and the head is not complete.
    More,
    /// Complete after this many bytes of the input.
    Complete(usize),
}

/// Why a head is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BadHead {
    TooLong,
    Line(&'static str),
}

impl HeadBuffer {
    /// Wipes what was collected: a request's head holds its token.
    pub(crate) fn clear(&mut self) {
        self.bytes.zeroize();
        self.bytes.shrink_to(KEPT_BYTES);
        self.seen = 0;
        self.line = 0;
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// The complete head, its empty line included.
    pub(crate) const fn bytes(&self) -> &[u8] {
        self.bytes.as_slice()
    }

    /// Takes input up to the head's end.
    pub(crate) fn collect(&mut self, input: &[u8], max: usize) -> Result<Collected, BadHead> {
        let before = self.bytes.len();
        let room = max.saturating_sub(before);
        self.bytes.extend_from_slice(input.get(..room.min(input.len())).unwrap_or_default());
        for offset in memchr_iter(b'\n', self.bytes.get(self.seen..).unwrap_or_default()) {
            let end = self.seen + offset;
            let line = self.bytes.get(self.line..end).unwrap_or_default();
            let Some(line) = line.strip_suffix(b"\r") else {
                return Err(BadHead::Line("a line of the head ends with a bare LF"));
            };
            if line.is_empty() && self.line > 0 {
                self.bytes.truncate(end + 1);
                return Ok(Collected::Complete(end + 1 - before));
            }
            check_line(line)?;
            self.line = end + 1;
        }
        self.seen = self.bytes.len();
        if self.bytes.len() >= max { Err(BadHead::TooLong) } else { Ok(Collected::More) }
    }
}

fn check_line(line: &[u8]) -> Result<(), BadHead> {
    match line {
        [] => return Err(BadHead::Line("the head begins with an empty line")),
        [b' ' | b'\t', ..] => return Err(BadHead::Line("a line of the head is folded")),
        _ => {}
    }
    if line.contains(&b'\r') {
        return Err(BadHead::Line("the head has a bare CR"));
    }
    if line.iter().any(|byte| byte.is_ascii_control() && *byte != b'\t') {
        return Err(BadHead::Line("the head has a control character"));
    }
    Ok(())
}

/// Lengths and encodings that a head declares for its body, as they accumulate over its fields.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Declared {
    length: Option<u64>,
    chunked: bool,
}

impl Declared {
    /// Takes a `content-length`.
    pub(crate) fn length(&mut self, value: &[u8]) -> Result<(), &'static str> {
        // Eighteen digits are more than any body and less than any overflow.
        let digits = std::str::from_utf8(value)
            .ok()
            .filter(|text| (1..=18).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit()));
        let length = digits.and_then(|text| text.parse().ok()).ok_or("content-length is not one number")?;
        match self.length.replace(length) {
            Some(_) => Err("content-length is repeated"),
            None => Ok(()),
        }
    }

    /// Takes a `transfer-encoding`.
    pub(crate) fn transfer_encoding(&mut self, value: &[u8]) -> Result<(), &'static str> {
        if !value.eq_ignore_ascii_case(b"chunked") || self.chunked {
            return Err("transfer-encoding is not exactly `chunked`");
        }
        self.chunked = true;
        Ok(())
    }

    /// What it comes to, for a message of HTTP/1.`minor`.
    pub(crate) const fn framing(self, minor: u8) -> Result<Framing, &'static str> {
        match (self.chunked, self.length) {
            (true, Some(_)) => Err("it has both content-length and transfer-encoding"),
            (true, None) if minor == 0 => Err("HTTP/1.0 has no transfer-encoding"),
            (true, None) => Ok(Framing::Chunked),
            (false, Some(length)) => Ok(Framing::Length(length)),
            (false, None) => Ok(Framing::Undeclared),
        }
    }
}

/// How a body's end is told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Framing {
    Chunked,
    Length(u64),
    /// A request has no body then; a response's ends with its connection.
    #[default]
    Undeclared,
}

impl Framing {
    pub(crate) const fn length(self) -> Option<u64> {
        match self {
            Self::Length(length) => Some(length),
            Self::Chunked | Self::Undeclared => None,
        }
    }
}

/// Whether `name` is nominated by one of the `connection` values, or is about this hop by definition.
pub(crate) fn is_hop_by_hop(name: &str, nominated: &[&[u8]]) -> bool {
    const ALWAYS: [&str; 10] = [
        "connection",
        "http2-settings",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    ];
    ALWAYS.iter().any(|hop| name.eq_ignore_ascii_case(hop))
        || nominated.iter().any(|value| has_token(value, name))
}

/// Whether a comma-separated list has `token`, in any case.
pub(crate) fn has_token(list: &[u8], token: &str) -> bool {
    list.split(|byte| *byte == b',').any(|item| item.trim_ascii().eq_ignore_ascii_case(token.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_is_complete_at_its_empty_line_however_it_arrives() {
        let text = b"GET / HTTP/1.1\r\nHost: a\r\n\r\nbody";
        let mut whole = HeadBuffer::default();
        assert_eq!(whole.collect(text, 100), Ok(Collected::Complete(27)));
        let mut bytewise = HeadBuffer::default();
        let complete = text
            .iter()
            .position(|byte| bytewise.collect(std::slice::from_ref(byte), 100) == Ok(Collected::Complete(1)));
        assert_eq!((complete, bytewise.bytes()), (Some(26), whole.bytes()));
    }

    #[test]
    fn a_head_that_two_readers_may_split_differently_is_none() {
        for text in [
            &b"GET / HTTP/1.1\nHost: a\r\n\r\n"[..],
            b"GET / HTTP/1.1\r\nHost: a\n\r\n",
            b"GET / HTTP/1.1\r\nHost: a\r\n\n",
            b"GET / HTTP/1.1\r\nA: b\rC: d\r\n\r\n",
            b"GET / HTTP/1.1\r\nA: b\r\n c\r\n\r\n",
            b"GET / HTTP/1.1\r\n\tA: b\r\n\r\n",
            b"GET / HTTP/1.1\r\nA: \0\r\n\r\n",
            b"\r\nGET / HTTP/1.1\r\n\r\n",
        ] {
            let refused = HeadBuffer::default().collect(text, 100);
            assert!(matches!(refused, Err(BadHead::Line(_))), "{text:?}");
        }
        assert_eq!(HeadBuffer::default().collect(&[b'a'; 100], 100), Err(BadHead::TooLong));
    }
}
