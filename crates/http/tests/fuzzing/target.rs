//! The body of the fuzz target `exchange`, which the tests replay: any bytes of both sides come to the same however they
//! are cut, and nothing reaches the upstream but requests that were allowed, as a plain reader of its own sees them.
//!
//! An input is an options byte, then pieces: a byte with the side (its high bit) and the length, then as many bytes.

#![allow(unreachable_pub, reason = "the fuzz target of another crate calls it")]

use weir_http::Settings;
use weir_wire::Side;

use crate::driver::{Driver, Seen};

const UPSTREAM: u8 = 0x80;

/// Options of an input.
pub const APPROVES: u8 = 1;
pub const CERTIFIED: u8 = 2;

/// Encodes pieces as an input.
pub fn input(options: u8, pieces: &[(Side, Vec<u8>)]) -> Vec<u8> {
    let mut out = vec![options];
    for (side, bytes) in pieces {
        for chunk in bytes.chunks(0x7f) {
            let side = if *side == Side::Upstream { UPSTREAM } else { 0 };
            out.push(side | u8::try_from(chunk.len()).unwrap());
            out.extend_from_slice(chunk);
        }
    }
    out
}

/// The pieces, those of one side that follow each other joined.
fn pieces(mut input: &[u8]) -> Vec<(Side, Vec<u8>)> {
    let mut out: Vec<(Side, Vec<u8>)> = Vec::new();
    while let Some((head, rest)) = input.split_first() {
        let side = if head & UPSTREAM == 0 { Side::Client } else { Side::Upstream };
        let (piece, rest) = rest.split_at(usize::from(head & 0x7f).min(rest.len()));
        match out.last_mut().filter(|last| last.0 == side) {
            Some(last) => last.1.extend_from_slice(piece),
            None => out.push((side, piece.to_vec())),
        }
        input = rest;
    }
    out
}

/// A message as a plain reader takes it: its first line, and its body without the chunks' framing.
#[derive(Debug, PartialEq, Eq)]
struct Plain {
    first: String,
    head: String,
    body: Vec<u8>,
}

/// Reads what the gateway wrote, which is always plain; the last message may be cut short.
fn messages(mut bytes: &[u8]) -> Vec<Plain> {
    let mut out = Vec::new();
    while let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
        let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
        bytes = &bytes[end + 4..];
        let field = |name: &str| {
            let lines = head.lines().skip(1).filter_map(|line| line.split_once(": "));
            lines.filter(|(is, _)| is.eq_ignore_ascii_case(name)).map(|(_, value)| value).next()
        };
        let mut body = Vec::new();
        if field("transfer-encoding").is_some() {
            bytes = dechunk(bytes, &mut body);
        } else if let Some(length) = field("content-length").and_then(|length| length.parse().ok()) {
            let (here, rest) = bytes.split_at(bytes.len().min(length));
            body.extend_from_slice(here);
            bytes = rest;
        }
        out.push(Plain { first: head.lines().next().unwrap_or_default().to_owned(), head, body });
    }
    out
}

fn dechunk<'a>(mut bytes: &'a [u8], body: &mut Vec<u8>) -> &'a [u8] {
    while let Some(line) = bytes.windows(2).position(|window| window == b"\r\n") {
        let size =
            std::str::from_utf8(&bytes[..line]).ok().and_then(|size| usize::from_str_radix(size, 16).ok());
        let size = size.expect("the gateway writes sizes alone");
        bytes = &bytes[line + 2..];
        let here = size.min(bytes.len());
        body.extend_from_slice(&bytes[..here]);
        bytes = bytes.get(here + 2..).unwrap_or_default();
        if size == 0 {
            return bytes;
        }
    }
    &[]
}

/// Each request upstream is one that was allowed, in their order.
fn assert_allowed(seen: &Seen) {
    let mut decided = seen.decided.iter();
    for sent in messages(&seen.to_upstream) {
        let method = sent.first.split(' ').next().unwrap_or_default().to_owned();
        let allowed = decided.by_ref().find(|decided| {
            let mut words = decided.split(' ');
            words.next() == Some(method.as_str())
                && !words.nth(1).is_some_and(|path| path.starts_with("/deny"))
        });
        assert!(allowed.is_some(), "{sent:?} went upstream, of {:?}", seen.decided);
    }
}

/// Where the bytes are cut makes no difference. Where one side ends the connection, how far the other had come by then is
/// a matter of time.
fn assert_alike(one: &Seen, other: &Seen) {
    let ended = |seen: &Seen| seen.closed || seen.failed.is_some();
    assert_eq!(ended(one), ended(other), "cut otherwise: {one:?} and {other:?}");
    let alike = |one: &[String], other: &[String]| one.starts_with(other) || other.starts_with(one);
    assert!(
        alike(&one.decided, &other.decided) && alike(&one.logins, &other.logins),
        "{one:?} and {other:?}"
    );
    if !ended(one) {
        assert_eq!((&one.decided, &one.logins), (&other.decided, &other.logins), "cut otherwise");
        assert_eq!(messages(&one.to_upstream), messages(&other.to_upstream), "cut otherwise");
        assert_eq!(one.uploads, other.uploads, "cut otherwise");
    }
}

/// Any bytes of both sides.
pub fn exchange(input: &[u8]) {
    let Some((options, rest)) = input.split_first() else { return };
    let mut settings = Settings::new("up:80");
    settings.limits.head_bytes = 400;
    settings.limits.target_bytes = 100;
    settings.limits.body_bytes = 32;
    settings.limits.small_answer_bytes = 24;
    settings.certified = options & CERTIFIED != 0;
    let pieces = pieces(rest);
    let run = |cut| Driver::new(settings.clone()).converse(&pieces, cut, options & APPROVES != 0);
    let seen = run(usize::MAX);
    assert_allowed(&seen);
    assert_alike(&seen, &run(1));
}
