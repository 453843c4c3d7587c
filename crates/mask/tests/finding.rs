//! What is found, in single texts and in batches of cells, and what happens where the engine cannot say.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod plain_regex;

use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::BytesMut;
use plain_regex::PlainRegex;
use proptest::prelude::*;
use weir_mask::{Cells, Finder, Found, MaskKey, Replacement, mask_cell, scrub};
use weir_policy::{MaskMethod, MaskPlan, PatternIndex, PatternMask, ScanError, Scanner, Validator};

const SSN: &str = r"\b\d{3}-\d{2}-\d{4}\b";
const EMAIL: &str = r"[A-Za-z0-9._%+-]{1,64}@[A-Za-z0-9.-]{1,63}\.[A-Za-z]{2,24}";
const CARD: &str = r"\b\d(?:[ -]?\d){11,18}\b";
/// Can match the separator between cells.
const NOT_COMMA: &str = r"id:[^,]{0,6};";

fn rule(pattern: u32, validator: Option<Validator>, method: MaskMethod) -> PatternMask {
    PatternMask { rule: format!("rule.{pattern}").into(), pattern: PatternIndex(pattern), validator, method }
}

fn plan(scanner: impl Scanner + 'static, patterns: Vec<PatternMask>) -> MaskPlan {
    MaskPlan { json: Vec::new(), columns: Vec::new(), patterns, scanner: Some(Arc::new(scanner)) }
}

fn pii() -> MaskPlan {
    plan(
        PlainRegex::new(&[SSN, EMAIL, CARD, NOT_COMMA]),
        vec![
            rule(0, Some(Validator::SsnRange), MaskMethod::Partial { keep_last: 4 }),
            rule(1, None, MaskMethod::Fixed("[email]".into())),
            rule(2, Some(Validator::Luhn), MaskMethod::Partial { keep_last: 4 }),
            rule(3, None, MaskMethod::Fixed("[id]".into())),
        ],
    )
}

fn scrubbed(plan: &MaskPlan, text: &str) -> String {
    let mut out = BytesMut::new();
    scrub(&mut Finder::default(), plan, &MaskKey::new(1, [9; 32]), text.as_bytes(), &mut out).unwrap();
    String::from_utf8(out.to_vec()).unwrap()
}

#[test]
fn protected_texts_are_replaced_and_the_rest_stays() {
    let plan = pii();
    for (text, expected) in [
        ("", ""),
        ("nothing here", "nothing here"),
        ("ssn 123-45-6789.", "ssn ***-**-6789."),
        ("not one: 000-45-6789", "not one: 000-45-6789"),
        ("1123-45-67890", "1123-45-67890"),
        ("a bob.b@example.co.uk, c@d.io", "a [email], [email]"),
        ("12 4111 1111 1111 1111 4", "12 **** **** **** 1111 4"),
        ("4111111111111111,123-45-6789", "************1111,***-**-6789"),
    ] {
        assert_eq!(scrubbed(&plan, text), expected);
    }
}

#[test]
fn overlapping_matches_become_one_under_the_stricter_rule() {
    let patterns = [r"\d{4}", r"\b\d{3}-\d{4}\b", r"b\d\d"];
    let methods = [MaskMethod::Partial { keep_last: 2 }, MaskMethod::Fixed("#".into()), MaskMethod::Token];
    let rules = methods.into_iter().zip(0..).map(|(method, at)| rule(at, None, method));
    let plan = plan(PlainRegex::new(&patterns), rules.collect());
    assert_eq!(scrubbed(&plan, "x 555-1234 y"), "x # y");
    assert_eq!(scrubbed(&plan, "12345678 1234"), "******78 **34");
    assert!(
        scrubbed(&plan, "ab1234c").starts_with("atok_"),
        "the stricter rule's range grows over the laxer"
    );
}

#[test]
fn the_same_pattern_serves_several_rules() {
    let rules = vec![
        rule(0, Some(Validator::SsnRange), MaskMethod::Fixed("ssn".into())),
        rule(0, None, MaskMethod::Partial { keep_last: 0 }),
    ];
    let plan = plan(PlainRegex::new(&[SSN]), rules);
    assert_eq!(scrubbed(&plan, "123-45-6789 000-45-6789"), "ssn ***-**-****");
}

#[test]
fn an_unknown_start_masks_as_far_back_as_the_pattern_reaches() {
    let mut plan = plan(PlainRegex::without_starts(&[SSN]), vec![rule(0, None, MaskMethod::Null)]);
    assert_eq!(scrubbed(&plan, "0123456 123-45-6789 z"), "0123456  z");
    plan.patterns = vec![rule(0, Some(Validator::SsnRange), MaskMethod::Null)];
    assert_eq!(scrubbed(&plan, "000-00-0000"), "", "what cannot be placed cannot be judged harmless");
    plan.scanner = Some(Arc::new(PlainRegex::without_starts(&["key=.*"])));
    assert_eq!(scrubbed(&plan, "some key=abc"), "");
}

#[test]
fn an_unbounded_pattern_costs_a_bounded_number_of_starts() {
    let plan = plan(PlainRegex::new(&["k=.*"]), vec![rule(0, None, MaskMethod::Null)]);
    assert_eq!(scrubbed(&plan, "some k=abc"), "some ");
    assert_eq!(scrubbed(&plan, &format!("some k={}", "a".repeat(1_000))), "");
}

#[derive(Debug)]
struct Failing;

impl Scanner for Failing {
    fn scan(&self, _: &[u8], hit: &mut dyn FnMut(PatternIndex, usize)) -> Result<(), ScanError> {
        hit(PatternIndex(0), 1);
        Err(ScanError(-12))
    }
    fn start(&self, _: PatternIndex, _: &[u8], _: usize) -> Option<usize> {
        None
    }
    fn max_width(&self, _: PatternIndex) -> Option<usize> {
        Some(4)
    }
}

#[test]
fn a_failed_scan_yields_no_text_at_all() {
    let mut plan = plan(Failing, vec![rule(0, None, MaskMethod::Null)]);
    let mut out = BytesMut::new();
    let key = MaskKey::new(1, [9; 32]);
    assert_eq!(scrub(&mut Finder::default(), &plan, &key, b"text", &mut out), Err(ScanError(-12)));
    let mut cells = Cells::default();
    cells.push(b"text");
    assert!(Finder::default().find_cells(&plan, &cells).is_err());
    plan.scanner = None;
    assert!(Finder::default().find(&plan, b"text").is_err(), "patterns without a scanner are an error");
    assert!(out.is_empty());
}

#[test]
fn a_batch_is_one_scan_and_no_match_spans_its_cells() {
    let scanner = Arc::new(PlainRegex::new(&[SSN, NOT_COMMA]));
    let rules = vec![rule(0, None, MaskMethod::Null), rule(1, None, MaskMethod::Null)];
    let plan =
        MaskPlan { json: Vec::new(), columns: Vec::new(), patterns: rules, scanner: Some(scanner.clone()) };
    let mut cells = Cells::default();
    for cell in ["123-45-6789", "", "x id:a", "b;", "id:\0;", "123-45-", "6789", "5", "see 123-45-6789"] {
        cells.push(cell.as_bytes());
    }
    let mut finder = Finder::default();
    let found = finder.find_cells(&plan, &cells).unwrap();
    let at = |cell, start, end, mask| Found { cell, start, end, mask };
    assert_eq!(found, [at(0, 0, 11, 0), at(4, 0, 5, 1), at(8, 4, 15, 0)]);
    assert_eq!(scanner.scans.load(Ordering::Relaxed), 1);
}

#[test]
fn the_method_null_takes_the_whole_cell() {
    let rules = vec![rule(0, None, MaskMethod::Null), rule(1, None, MaskMethod::Fixed("[email]".into()))];
    let plan = plan(PlainRegex::new(&[SSN, EMAIL]), rules);
    let key = MaskKey::new(1, [9; 32]);
    let mut finder = Finder::default();
    for (cell, expected) in [("a@b.io 123-45-6789", None), ("mail a@b.io", Some(&b"mail [email]"[..]))] {
        let mut out = BytesMut::new();
        let found = finder.find(&plan, cell.as_bytes()).unwrap();
        let replacement = mask_cell(&plan, &key, cell.as_bytes(), found, &mut out);
        assert_eq!((replacement == Replacement::Written).then_some(&out[..]), expected);
        assert!(expected.is_some() || out.is_empty());
    }
}

fn fragment() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec![
        "123-45-6789",
        "000-45-6789",
        "4111111111111111",
        "4111 1111 1111 1112",
        "bob@example.com",
        "@",
        "id:",
        ";",
        ",",
        " ",
        "1",
        "x",
        "\0",
        "é",
        "-",
        "id:a;",
        ".com",
    ])
}

proptest! {
    #[test]
    fn a_batch_finds_what_each_cell_alone_would(
        cells in prop::collection::vec(prop::collection::vec(fragment(), 0..6), 0..12),
    ) {
        let plan = pii();
        let mut batch = Cells::default();
        let mut one = Finder::default();
        let mut expected = Vec::new();
        for fragments in cells {
            let cell = fragments.concat();
            let index = batch.push(cell.as_bytes());
            let found = one.find(&plan, cell.as_bytes()).unwrap();
            expected.extend(found.iter().map(|found| Found { cell: index, ..*found }));
        }
        let mut finder = Finder::default();
        prop_assert_eq!(finder.find_cells(&plan, &batch).unwrap(), expected.as_slice());
    }

    /// What stands between gathered cells is text that a match could go on with, as a length before a value can be.
    #[test]
    fn gathered_cells_are_searched_as_if_each_were_alone(
        parts in prop::collection::vec(
            (prop::collection::vec(fragment(), 0..6), prop::collection::vec(fragment(), 0..20), any::<bool>()),
            0..12,
        ),
    ) {
        let plan = pii();
        let (mut source, mut places) = (Vec::new(), Vec::new());
        for (fragments, between, in_source) in &parts {
            let cell = fragments.concat();
            source.extend_from_slice(cell.as_bytes());
            places.push((source.len() - cell.len()..source.len(), cell, *in_source));
            source.extend_from_slice(between.concat().as_bytes());
        }
        let (mut batch, mut one, mut expected) = (Cells::default(), Finder::default(), Vec::new());
        let mut gather = batch.gather(&source);
        for (index, (place, cell, in_source)) in places.iter().enumerate() {
            gather.push(if *in_source { &source[place.clone()] } else { cell.as_bytes() });
            let found = one.find(&plan, cell.as_bytes()).unwrap();
            expected.extend(found.iter().map(|found| Found { cell: index, ..*found }));
        }
        drop(gather);
        let mut finder = Finder::default();
        prop_assert_eq!(finder.find_cells(&plan, &batch).unwrap(), expected.as_slice());
    }

    #[test]
    fn ranges_are_in_order_and_apart(fragments in prop::collection::vec(fragment(), 0..40)) {
        let (text, plan) = (fragments.concat(), pii());
        let mut finder = Finder::default();
        let found = finder.find(&plan, text.as_bytes()).unwrap();
        prop_assert!(found.iter().all(|found| found.start < found.end && found.end <= text.len()));
        prop_assert!(found.windows(2).all(|pair| pair[0].end <= pair[1].start));
    }
}
