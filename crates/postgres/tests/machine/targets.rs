//! What is fuzzed: each target takes any bytes, drives the machine with them and checks what must always hold. The same
//! bodies serve `fuzz/` and `fuzzing`, which replays its corpus.
//!
//! An input is an options byte, then pieces: a byte with the side (its high bit) and the length, then as many bytes. So
//! where a stream is cut is up to the input as well.

#![allow(unreachable_pub, reason = "fuzz targets of another crate call them")]

use weir_postgres::{Layer, Limits, Prelude, Probe};
use weir_wire::{Blame as _, Fault, Machine as _, Side};

use crate::support::driver::Driver;
use crate::support::policy::{Rules, mask_plan};
use crate::support::wire::{message, messages, query, ready, row_description};

/// Panics where something does not hold.
pub type Target = fn(&[u8]);

/// By name, as in `fuzz/fuzz_targets` and `fuzz/corpus`.
pub const TARGETS: [(&str, Target); 3] = [("copy", copy), ("framing", framing), ("startup", startup)];

const WITHHELD: &str = " bytes withheld: they may hold protected columns]";
const UPSTREAM: u8 = 0x80;

/// Options of an input.
const MASKS: u8 = 1;
const RELEASES: u8 = 2;
const NO_RULES: u8 = 4;
/// For `copy`: which one.
const COPIES: [&str; 8] = [
    "copy t to stdout",
    "copy t to stdout csv header",
    "copy t to stdout binary",
    "copy t (id, ssn, note) from stdin",
    "copy t (id, ssn, note) from stdin (format csv, header, escape '\\')",
    "copy t (id, ssn, note) from stdin binary",
    "copy t from stdin",
    "copy t (id, note, other) from stdin csv",
];

/// Encodes pieces as an input.
pub fn input(options: u8, pieces: &[(Side, &[u8])]) -> Vec<u8> {
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

fn pieces(mut input: &[u8]) -> Vec<(Side, &[u8])> {
    let mut out = Vec::new();
    while let Some((head, rest)) = input.split_first() {
        let side = if head & UPSTREAM == 0 { Side::Client } else { Side::Upstream };
        let (piece, rest) = rest.split_at(usize::from(head & 0x7f).min(rest.len()));
        out.push((side, piece));
        input = rest;
    }
    out
}

fn rules(options: u8) -> Rules {
    if options & NO_RULES != 0 { Rules::none() } else { Rules::new((options & MASKS != 0).then(mask_plan)) }
}

/// What a conversation came to.
#[derive(Debug)]
struct Outcome {
    client: Vec<u8>,
    upstream: Vec<u8>,
    error: Option<weir_postgres::Error>,
    /// The machine ended the session in order.
    closed: bool,
    uploads: Vec<u8>,
    /// Bytes of uploads that the record does not show.
    withheld: usize,
}

impl Outcome {
    /// Where the bytes are cut makes no difference to what comes of them. Where one side ends the session, how far the
    /// other had come by then is a matter of time: one is the other's beginning. What becomes of an upstream's answer to what it
    /// was not asked yet depends on whether it is asked by then.
    fn assert_like(&self, other: &Self) {
        let alike = |one: &[u8], other: &[u8]| one.starts_with(other) || other.starts_with(one);
        let ended = |outcome: &Self| outcome.error.is_some() || outcome.closed;
        let same = if self.error.is_none() && other.error.is_none() {
            (self.closed, &self.client, &self.upstream, &self.uploads, self.withheld)
                == (other.closed, &other.client, &other.upstream, &other.uploads, other.withheld)
        } else {
            let upstream =
                |outcome: &Self| outcome.error.is_some_and(|error| error.blame() == Fault::Upstream);
            // Either side may be what ends it: a client's Terminate, or what an upstream may not send.
            let client = ended(self) && ended(other) && alike(&self.client, &other.client);
            (client || upstream(self) || upstream(other)) && alike(&self.upstream, &other.upstream)
        };
        assert!(same, "cut otherwise: {self:?} and {other:?}");
    }
}

/// Feeds the pieces; with `bytewise`, each cut into single bytes. What waits for the other side goes on, and what is held is
/// answered, once a run of pieces from one side is over: what either side says unasked stands where it stood.
fn converse(
    mut driver: Driver,
    pieces: &[(Side, &[u8])],
    releases: bool,
    bytewise: bool,
) -> (Driver, Outcome) {
    for run in pieces.chunk_by(|one, other| one.0 == other.0) {
        for (side, piece) in run {
            for bytes in piece.chunks(if bytewise { 1 } else { piece.len().max(1) }) {
                if driver.closed || driver.error.is_some() {
                    break;
                }
                driver.alone(*side, bytes);
            }
        }
        driver.pump();
        while driver.is_held() && driver.error.is_none() {
            driver.release(releases);
        }
    }
    let (mut uploads, mut withheld) = (Vec::new(), 0);
    for note in &driver.uploads {
        let text = std::str::from_utf8(note).ok();
        let size =
            text.and_then(|text| text.strip_prefix('[')?.strip_suffix(WITHHELD)?.parse::<usize>().ok());
        match size {
            Some(size) => withheld += size,
            None => uploads.extend_from_slice(note),
        }
    }
    let outcome = Outcome {
        client: driver.to_client.clone(),
        upstream: driver.to_upstream.clone(),
        error: driver.error,
        closed: driver.closed,
        uploads,
        withheld,
    };
    driver.machine.farewell(weir_wire::Farewell::Shutdown, &mut weir_wire::Outbox::default());
    (driver, outcome)
}

/// No text is sent upstream that was not allowed, by a reader of its own.
fn assert_allowed(driver: &Driver, sent: &[u8]) {
    let allowed = |text: &str| driver.decided.iter().any(|it| it.verdict == "allow" && it.text == text);
    for (tag, body) in messages(sent).0 {
        let mut strings = body.split(|byte| *byte == 0).map(String::from_utf8_lossy);
        let (first, second) = (strings.next().unwrap_or_default(), strings.next().unwrap_or_default());
        let (name, text) = match tag {
            b'Q' => (String::new(), first),
            b'P' => (first.into_owned(), second),
            _ => continue,
        };
        let own = text == "refused by weir" || name == "weir_columns" || name == "weir_function";
        assert!(own || allowed(&text), "{text:?} went upstream without an Allow");
    }
}

/// Any bytes of both sides from the first one on.
pub fn startup(input: &[u8]) {
    let Some((options, rest)) = input.split_first() else { return };
    let pieces = pieces(rest);
    for layer in [Layer::Plain, Layer::Tls] {
        let mut prelude = Prelude::new(layer, &Limits::default());
        let mut seen = Vec::new();
        for (_, piece) in pieces.iter().filter(|(side, _)| *side == Side::Client) {
            seen.extend_from_slice(piece);
            let _ = prelude.read(&seen);
        }
    }
    let mut probe = Probe::new([5; 18]);
    for (_, piece) in pieces.iter().filter(|(side, _)| *side == Side::Upstream) {
        let _ = probe.read(piece);
        let _ = weir_postgres::upstream::tls_answer(piece);
    }
    let driver = || Driver::new(Limits::default(), rules(*options));
    let (driver_then, outcome) = converse(driver(), &pieces, options & RELEASES != 0, false);
    let begun = outcome.upstream.get(startup_len(&outcome.upstream)..).unwrap_or_default();
    assert_allowed(&driver_then, begun);
    outcome.assert_like(&converse(driver(), &pieces, options & RELEASES != 0, true).1);
}

/// Length of our own StartupMessage, which has no tag.
fn startup_len(sent: &[u8]) -> usize {
    sent.first_chunk().map_or(0, |length| u32::from_be_bytes(*length) as usize)
}

/// Any bytes of both sides once a session is open.
pub fn framing(input: &[u8]) {
    let Some((options, rest)) = input.split_first() else { return };
    let pieces = pieces(rest);
    let limits = Limits { statement_bytes: 200, pipeline: 20, statements: 5, ..Limits::default() };
    let driver = || Driver::open_with(limits, rules(*options));
    let (driver_then, outcome) = converse(driver(), &pieces, options & RELEASES != 0, false);
    assert_allowed(&driver_then, &outcome.upstream);
    outcome.assert_like(&converse(driver(), &pieces, options & RELEASES != 0, true).1);
}

/// Any bytes as the rows of a COPY, either way, under column and pattern masks.
pub fn copy(input: &[u8]) {
    let Some((options, rest)) = input.split_first() else { return };
    let copy = COPIES[usize::from(*options) % COPIES.len()];
    let pieces = pieces(rest);
    let run = |bytewise| {
        let mut driver = Driver::open(Rules::new(Some(mask_plan())));
        driver.client(&query(copy));
        let described = [
            message(b'3', b""),
            message(b'1', b""),
            message(b't', &[0, 0]),
            row_description(&[("id", 23, 0), ("ssn", 25, 0), ("note", 25, 0)]),
            message(b'3', b""),
            ready(b'I'),
        ];
        if driver.upstream_tags() != "Q" {
            driver.upstream(&described.concat());
        }
        let uploads = copy.contains("from");
        let binary = u8::from(copy.contains("binary"));
        driver.upstream(&message(
            if uploads { b'G' } else { b'H' },
            &[binary, 0, 3, 0, binary, 0, binary, 0, binary],
        ));
        assert_eq!(driver.error, None, "{copy}");
        driver.take_client();
        converse(driver, &pieces, true, bytewise).1
    };
    let outcome = run(false);
    outcome.assert_like(&run(true));
}
