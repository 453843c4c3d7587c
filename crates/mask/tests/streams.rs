//! A masked stream is the same for every way to cut it, and the same as the text masked whole.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod plain_regex;

use std::sync::Arc;

use bytes::BytesMut;
use plain_regex::PlainRegex;
use proptest::prelude::*;
use weir_mask::{ColumnPlan, Error, Finder, Ledger, MaskKey, StreamMask, scrub};
use weir_policy::{MaskMethod, MaskPlan, PatternIndex, PatternMask, ScanError, Scanner, Validator};
use zeroize::Zeroizing;

/// Its end is its beginning, so that two of it can overlap.
const SECRET: &[u8] = b"tt-secret-tt";

fn plan(scanner: impl Scanner + 'static, rules: &[(u32, Option<Validator>, MaskMethod)]) -> Arc<MaskPlan> {
    let patterns = rules.iter().map(|(pattern, validator, method)| PatternMask {
        rule: format!("rule.{pattern}").into(),
        pattern: PatternIndex(*pattern),
        validator: *validator,
        method: method.clone(),
    });
    Arc::new(MaskPlan {
        json: Vec::new(),
        columns: Vec::new(),
        patterns: patterns.collect(),
        scanner: Some(Arc::new(scanner)),
    })
}

fn key() -> MaskKey {
    MaskKey::new(1, [3; 32])
}

/// Word boundaries on both ends, on one, on none; chains of overlaps; a validator; lengths that shrink and grow.
fn pii() -> Arc<MaskPlan> {
    plan(
        PlainRegex::new(&[
            r"\b\d{3}-\d{2}-\d{4}\b",
            r"[a-z0-9.]{1,20}@[a-z0-9.]{1,20}\.[a-z]{2,6}",
            r"\b\d(?:[ -]?\d){11,18}\b",
            r"zz",
            r"\bkey=\w{1,8}",
        ]),
        &[
            (0, Some(Validator::SsnRange), MaskMethod::Partial { keep_last: 4 }),
            (1, None, MaskMethod::Token),
            (2, Some(Validator::Luhn), MaskMethod::Partial { keep_last: 4 }),
            (3, None, MaskMethod::Fixed("<zz>".into())),
            (4, None, MaskMethod::Null),
        ],
    )
}

fn ledger(plan: &MaskPlan) -> Ledger {
    let mut ledger = Ledger::default();
    ledger.begin(plan, &ColumnPlan::default());
    ledger
}

fn counts(ledger: &Ledger, plan: &MaskPlan) -> String {
    let mut json = Vec::new();
    ledger.write(plan, &mut json);
    String::from_utf8(json).unwrap()
}

/// What comes out, and the ledger.
fn streamed<'a>(
    plan: &Arc<MaskPlan>,
    secret: Option<&[u8]>,
    pieces: impl IntoIterator<Item = &'a [u8]>,
) -> (Vec<u8>, String) {
    let secret = secret.map(|secret| Zeroizing::new(secret.to_vec()));
    let mut stream = StreamMask::new(Some(plan.clone()), secret).unwrap();
    let (mut out, mut ledger) = (BytesMut::new(), ledger(plan));
    for piece in pieces {
        stream.push(&key(), piece, &mut ledger, &mut out).unwrap();
    }
    stream.finish(&key(), &mut ledger, &mut out).unwrap();
    assert_eq!(stream.held(), 0);
    (out.to_vec(), counts(&ledger, plan))
}

fn whole(plan: &MaskPlan, text: &[u8]) -> Vec<u8> {
    let mut out = BytesMut::new();
    scrub(&mut Finder::default(), plan, &key(), text, &mut out).unwrap();
    out.to_vec()
}

fn fragment() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec![
        "123-45-6789",
        "000-45-6789",
        "4111111111111111",
        "4111 1111 1111 1111",
        "bob@example.com",
        "a.b@c.de.fr",
        "z",
        "zz",
        " ",
        "1",
        "-",
        "_",
        "x",
        "é",
        "key=",
        "abc",
        "\n",
        "@",
        "tt-secret-tt",
        "-secret-tt",
        "t",
        "\0",
        "lorem ipsum dolor ",
    ])
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    #[test]
    fn the_cuts_do_not_show(
        fragments in prop::collection::vec(fragment(), 0..40),
        cuts in prop::collection::vec(1usize..40, 1..20),
    ) {
        let (plan, text) = (pii(), fragments.concat().into_bytes());
        let expected = whole(&plan, &text);
        let mut pieces = Vec::new();
        let mut rest = text.as_slice();
        for cut in cuts.iter().cycle() {
            if rest.is_empty() {
                break;
            }
            let (piece, after) = rest.split_at((*cut).min(rest.len()));
            pieces.push(piece);
            rest = after;
        }
        let at_once = streamed(&plan, None, [text.as_slice()]);
        prop_assert_eq!(&at_once.0, &expected);
        prop_assert_eq!(&streamed(&plan, None, pieces.iter().copied()), &at_once);
        prop_assert_eq!(&streamed(&plan, None, text.chunks(1)), &at_once);

        let hidden = streamed(&plan, Some(SECRET), [text.as_slice()]);
        prop_assert!(!hidden.0.windows(SECRET.len()).any(|window| window == SECRET));
        prop_assert_eq!(&streamed(&plan, Some(SECRET), pieces), &hidden);
        prop_assert_eq!(&streamed(&plan, Some(SECRET), text.chunks(1)), &hidden);
    }

    #[test]
    fn the_cuts_do_not_show_where_starts_are_unknown(
        fragments in prop::collection::vec(fragment(), 0..20),
        cut in 1usize..30,
    ) {
        let scanner = PlainRegex::without_starts(&[r"\b\d{3}-\d{2}-\d{4}\b", r"\bkey=\w{1,8}\b"]);
        let plan = plan(scanner, &[(0, None, MaskMethod::Null), (1, None, MaskMethod::Token)]);
        let text = fragments.concat().into_bytes();
        prop_assert_eq!(streamed(&plan, None, text.chunks(cut)).0, whole(&plan, &text));
    }
}

#[test]
fn every_cut_of_a_protected_text_gives_the_same() {
    let plan = pii();
    let text = b"a 123-45-6789, bob@example.com zzz 4111 1111 1111 1111 key=abcdefgh1 end";
    let expected = whole(&plan, text);
    assert!(expected.starts_with(b"a ***-**-6789, tok_") && expected.ends_with(b"**** **** **** 1111 1 end"));
    for first in 0..=text.len() {
        for second in first..=text.len() {
            let pieces = [&text[..first], &text[first..second], &text[second..]];
            assert_eq!(streamed(&plan, None, pieces).0, expected, "cut at {first} and {second}");
        }
    }
}

#[test]
fn overlapping_copies_of_a_secret_vanish_together() {
    let plan = pii();
    let text = b"a tt-secret-tt-secret-tt-secret-tt b tt-secret-t";
    for cut in 1..text.len() {
        let (out, _) = streamed(&plan, Some(SECRET), text.chunks(cut));
        assert_eq!(
            String::from_utf8(out).unwrap(),
            format!("a {} b tt-secret-t", "*".repeat(32)),
            "cut {cut}"
        );
    }
}

#[test]
fn an_endless_chain_of_matches_holds_back_a_bounded_amount() {
    let plan = plan(PlainRegex::new(&["aaa"]), &[(0, None, MaskMethod::Partial { keep_last: 0 })]);
    let mut stream = StreamMask::new(Some(plan.clone()), None).unwrap();
    let (mut out, mut ledger) = (BytesMut::new(), ledger(&plan));
    for _ in 0..64 {
        stream.push(&key(), &[b'a'; 8 * 1024], &mut ledger, &mut out).unwrap();
        assert!(stream.held() <= 64 * 1024 + 16 * 1024, "{} bytes held", stream.held());
    }
    stream.finish(&key(), &mut ledger, &mut out).unwrap();
    assert_eq!(out.len(), 64 * 8 * 1024);
    assert!(out.iter().all(|byte| *byte == b'*'));
    assert_eq!(out.to_vec(), whole(&plan, &[b'a'; 64 * 8 * 1024]));
}

#[test]
fn where_lengths_are_kept_nothing_moves_whatever_the_cut() {
    let plan = pii();
    let text = b"a zz, x@example.org paid by 4111 1111 1111 1111 with key=12345678.";
    let mut expected = None;
    for cut in 0..=text.len() {
        let mut stream = StreamMask::new(Some(plan.clone()), None).unwrap().keeping_lengths();
        let (mut ledger, mut out) = (ledger(&plan), BytesMut::new());
        for piece in [&text[..cut], &text[cut..]] {
            stream.push(&key(), piece, &mut ledger, &mut out).unwrap();
        }
        stream.finish(&key(), &mut ledger, &mut out).unwrap();
        assert_eq!(out.len(), text.len(), "cut at {cut}");
        assert_eq!(*expected.get_or_insert_with(|| out.to_vec()), out.to_vec(), "cut at {cut}");
        assert!(out.ends_with(b" with ************."), "{out:?}");
    }
}

#[test]
fn what_is_certain_is_not_held_back() {
    let plan = pii();
    let mut stream = StreamMask::new(Some(plan.clone()), None).unwrap();
    let mut out = BytesMut::new();
    stream.push(&key(), &[b' '; 4096], &mut ledger(&plan), &mut out).unwrap();
    assert!(stream.held() < 64 && out.len() + stream.held() == 4096);
}

#[test]
fn a_pattern_without_bounds_is_refused_by_name() {
    for pattern in ["key=.*", r"k{70000}"] {
        let plan = plan(Wide(pattern == "key=.*"), &[(0, None, MaskMethod::Null)]);
        let refused = StreamMask::new(Some(plan), None).unwrap_err();
        assert_eq!(refused, Error::Unbounded { rule: "rule.0".into() });
    }
}

/// Reports a width that is unbounded, or merely too large.
#[derive(Debug)]
struct Wide(bool);

impl Scanner for Wide {
    fn scan(&self, _: &[u8], _: &mut dyn FnMut(PatternIndex, usize)) -> Result<(), ScanError> {
        Err(ScanError(-3))
    }
    fn start(&self, _: PatternIndex, _: &[u8], _: usize) -> Option<usize> {
        None
    }
    fn max_width(&self, _: PatternIndex) -> Option<usize> {
        if self.0 { None } else { Some(70_000) }
    }
}

/// Works until it sees a `!`.
#[derive(Debug)]
struct Fragile;

impl Scanner for Fragile {
    fn scan(&self, text: &[u8], _: &mut dyn FnMut(PatternIndex, usize)) -> Result<(), ScanError> {
        if text.contains(&b'!') { Err(ScanError(-3)) } else { Ok(()) }
    }
    fn start(&self, _: PatternIndex, _: &[u8], _: usize) -> Option<usize> {
        None
    }
    fn max_width(&self, _: PatternIndex) -> Option<usize> {
        Some(8)
    }
}

#[test]
fn after_a_failed_scan_nothing_more_comes_out() {
    let plan = plan(Fragile, &[(0, None, MaskMethod::Null)]);
    let mut stream = StreamMask::new(Some(plan.clone()), None).unwrap();
    let (mut out, mut ledger) = (BytesMut::new(), ledger(&plan));
    stream.push(&key(), b"fine so far, and more", &mut ledger, &mut out).unwrap();
    let before = out.len();
    let failed = Err(Error::Scan(ScanError(-3)));
    assert_eq!(stream.push(&key(), b"ouch!", &mut ledger, &mut out), failed);
    assert_eq!(stream.push(&key(), b"harmless", &mut ledger, &mut out), failed);
    assert_eq!(stream.finish(&key(), &mut ledger, &mut out), failed);
    assert_eq!(out.len(), before);
}
