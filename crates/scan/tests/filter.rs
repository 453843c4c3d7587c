//! The filter in front changes nothing: what it lets the scanner find is what the engine alone finds, on texts made to
//! fool it. And a table that lies about filters does not load.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use hyperscan::{BlockDatabase, Builder, CpuFeatures, Pattern, PatternFlags, Patterns, Platform, Tune};
use proptest::prelude::*;
use weir_policy::{Database, Scanner, table};
use weir_scan::{Dialect, HyperscanScanner, MAX_FILTERED, filters};

/// What rules on protected data look like, and shapes that are hard on a filter: hardly any, overlapping ones, edges.
const PATTERNS: [&str; 22] = [
    r"\b\d{3}-\d{2}-\d{4}\b",
    r"\b[A-Za-z0-9._%+-]{1,64}@[A-Za-z0-9.-]{1,63}\.[A-Za-z]{2,24}\b",
    r"\b4\d{3}[ -]?\d{4}[ -]?\d{4}[ -]?\d{4}\b",
    r"\b5[1-5]\d{2}[ -]?\d{4}[ -]?\d{4}[ -]?\d{4}\b",
    r"\b3[47]\d{2}[ -]?\d{6}[ -]?\d{5}\b",
    r"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b",
    r"\bgh[pousr]_[A-Za-z0-9]{36,255}\b",
    r"-----BEGIN (?:[A-Z]{2,10} ){0,2}PRIVATE KEY-----",
    r"\beyJ[A-Za-z0-9_-]{10,64}\.eyJ[A-Za-z0-9_-]{10,64}\.[A-Za-z0-9_-]{10,64}\b",
    r"\bxox[abprs]-[A-Za-z0-9-]{10,72}\b",
    r"\b(?:1[ .-])?\(?\d{3}\)?[ .-]\d{3}[.-]\d{4}\b",
    r"\b[A-Z]{2}\d{2}(?: ?[A-Z0-9]){11,30}\b",
    r"\bMRN[- :#]{0,2}\d{6,10}\b",
    r"(?i)secret\s{0,4}[:=]\s{0,4}[^\s,]{8,64}",
    r"\d{12,19}",
    r"[a-z]{3}|0x[0-9a-f]{4,8}",
    r"\Bab\B[^c]{0,5}d",
    r"[\x00-\x08]{3}",
    r"é[^x]{1,4}é",
    r"\b-\d-\b",
    r"@@{2,5}@x?",
    r"\w{4,9}@@",
];

fn table(text: &str, filtered: bool) -> table::Pattern {
    let dialect = Dialect::parse(text).unwrap();
    table::Pattern {
        text: text.to_owned(),
        max_width: dialect.max_width.map(|width| u32::try_from(width).unwrap()),
        starts: true,
        relaxed: dialect.relaxed.is_some(),
        filtered,
    }
}

fn compile(patterns: &[table::Pattern]) -> Vec<u8> {
    let each = |pattern: &table::Pattern| {
        let dialect = Dialect::parse(&pattern.text).unwrap();
        let text = dialect.relaxed.unwrap_or(dialect.hyperscan);
        Pattern::with_flags(text, PatternFlags::empty()).unwrap()
    };
    let patterns: Patterns = patterns.iter().map(each).collect();
    let platform = Platform::new(Tune::Generic, CpuFeatures::empty());
    let database: BlockDatabase = patterns.for_platform(Some(&platform)).unwrap();
    database.serialize().unwrap().to_vec()
}

fn load(patterns: &[table::Pattern]) -> HyperscanScanner {
    let without: Vec<_> = patterns.iter().filter(|pattern| !pattern.filtered).cloned().collect();
    let splits = !without.is_empty() && without.len() < patterns.len();
    let unfiltered = if splits { compile(&without) } else { Vec::new() };
    HyperscanScanner::new(Database { bytes: &compile(patterns), unfiltered: &unfiltered, patterns }).unwrap()
}

/// The same patterns twice: with the filters that fit, and without any.
fn both(texts: &[&str]) -> [HyperscanScanner; 2] {
    [true, false].map(|filtered| {
        let each = |text: &&str| table(text, filtered && filters(text, table(text, false).relaxed));
        load(&texts.iter().map(each).collect::<Vec<_>>())
    })
}

/// Pattern, end, start; where a start was told unasked, it is the one that is told when asked.
fn matches(scanner: &HyperscanScanner, text: &[u8]) -> Vec<(u32, usize, Option<usize>)> {
    let mut found = Vec::new();
    scanner
        .find(text, &mut |pattern, start, end| {
            let asked = scanner.start(pattern, text, end);
            assert!(start.is_none() || start == asked, "{pattern:?} {start:?} {asked:?}");
            found.push((pattern.0, end, asked));
        })
        .unwrap();
    assert!(found.is_sorted_by_key(|(pattern, end, _)| (*end, *pattern)));
    found
}

fn piece() -> impl Strategy<Value = Vec<u8>> {
    let text = prop::sample::select(vec![
        "123-45-6789",
        "4111 1111 1111 1111",
        "5500000000000004",
        "3782 822463 10005",
        "ann@example.org",
        "a.b%c@d-e.f.gh",
        "AKIAIOSFODNN7EXAMPLE",
        "ghp_abcdefghijklmnopqrstuvwxyz0123456789",
        "-----BEGIN RSA PRIVATE KEY-----",
        "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N",
        "xoxb-1234567890-abcdefghij",
        "1 (555) 867-5309",
        "DE89 3704 0044 0532 0130 00",
        "MRN: 00123456",
        "Secret = hunter2hunter2",
        "0xdeadbeef",
        "@@@@x",
        "é  é",
        "xabzzd",
        "-1-a",
    ]);
    prop_oneof![
        4 => text.clone().prop_map(|text| text.as_bytes().to_vec()),
        // Nearly one: cut anywhere, or with a byte changed.
        3 => (text.clone(), any::<prop::sample::Index>(), any::<bool>()).prop_map(|(text, at, head)| {
            let (before, after) = text.as_bytes().split_at(at.index(text.len()));
            if head { before.to_vec() } else { after.to_vec() }
        }),
        3 => (text, any::<prop::sample::Index>(), any::<u8>()).prop_map(|(text, at, byte)| {
            let mut bytes = text.as_bytes().to_vec();
            let at = at.index(bytes.len());
            bytes[at] = byte;
            bytes
        }),
        2 => "[0-9 .()@-]{0,40}".prop_map(String::into_bytes),
        1 => proptest::collection::vec(any::<u8>(), 0..8),
        1 => (any::<u8>(), 0_usize..90).prop_map(|(byte, count)| vec![byte; count]),
        1 => Just(vec![0]),
    ]
}

fn texts() -> impl Strategy<Value = Vec<u8>> {
    proptest::collection::vec(piece(), 0..10).prop_map(|pieces| pieces.concat())
}

fn config(cases: u32) -> ProptestConfig {
    ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() }
}

#[test]
fn with_filters_the_same_is_found_as_without() {
    let [filtered, plain] = both(&PATTERNS);
    proptest!(config(1_500), |(text in texts())| {
        prop_assert_eq!(matches(&filtered, &text), matches(&plain, &text));
    });
}

#[test]
fn each_pattern_alone_is_found_as_without_its_filter() {
    let mut with_filter = 0;
    for text in PATTERNS {
        let [filtered, plain] = both(&[text]);
        with_filter += usize::from(filters(text, table(text, false).relaxed));
        proptest!(config(150), |(text in texts())| {
            prop_assert_eq!(matches(&filtered, &text), matches(&plain, &text));
        });
    }
    assert!(with_filter >= 15, "only {with_filter} have a filter");
}

/// Blocks, their edges and the text's edges lie everywhere in turn.
#[test]
fn every_cut_of_a_text_gives_the_same_as_without_filters() {
    let [filtered, plain] = both(&PATTERNS);
    let text =
        b"123-45-6789,ann@example.org,4111 1111 1111 1111;AKIAIOSFODNN7EXAMPLE\0xoxb-1234567890-abcdefghij \
        -----BEGIN PRIVATE KEY----- 1 (555) 867-5309 3782 822463 10005,MRN 1234567,b@c.de";
    for cut in 0..=text.len() {
        for part in [&text[..cut], &text[cut..]] {
            assert_eq!(matches(&filtered, part), matches(&plain, part), "cut at {cut}");
        }
    }
    let mut shifted = Vec::new();
    for shift in 0..100 {
        shifted.clear();
        shifted.resize(shift, b' ');
        shifted.extend_from_slice(text);
        assert_eq!(matches(&filtered, &shifted).len(), matches(&plain, text).len(), "shifted by {shift}");
    }
}

/// Every position a candidate, and matches without end: the budget runs out and the engine takes over.
#[test]
fn texts_full_of_candidates_give_the_same_as_without_filters() {
    let [filtered, plain] = both(&PATTERNS);
    for unit in
        ["4", "4 ", "12-", "a@", "@", "-----BEGIN ", "eyJ", "xoxb-", "41 1-", "1 (555) 867-", "secret=", "\0"]
    {
        for length in [1, 31, 32, 33, 100, 4_000] {
            let text = unit.repeat(length / unit.len() + 1);
            assert_eq!(
                matches(&filtered, text.as_bytes()),
                matches(&plain, text.as_bytes()),
                "{unit} over {length} bytes"
            );
        }
    }
}

#[test]
fn more_patterns_than_one_pass_tells_apart_are_all_found() {
    let texts: Vec<String> = (0..MAX_FILTERED)
        .map(|at| format!(r"\b{}{}\d{{2,4}}x", at * 7 % 10, ["ab", "q-", "Z:", "key"][at % 4]))
        .collect();
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    assert!(texts.iter().all(|text| filters(text, false)));
    let [filtered, plain] = both(&texts);
    let all = "0ab12x 3q-999x 7Z:1234x 1key00x 8ab12 5q-1x 4Z:12x";
    assert!(matches(&plain, all.as_bytes()).len() >= 4);
    proptest!(config(300), |(pieces in proptest::collection::vec("[0-9](ab|q-|Z:|key)[0-9]{0,5}x?[ ,]?", 0..12))| {
        let text = pieces.concat();
        prop_assert_eq!(matches(&filtered, text.as_bytes()), matches(&plain, text.as_bytes()));
    });
}

#[test]
fn a_filter_needs_something_rare_to_look_for() {
    for (text, expected) in [
        (r"\b\d{3}-\d{2}-\d{4}\b", true),
        (r"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b", true),
        (r"[a-z]{3}", false),
        (r"\w{4,9}@@", false),
        (r"[^x][ e]", false),
        (r".", false),
    ] {
        assert_eq!(filters(text, false), expected, "{text}");
    }
    assert!(filters(PATTERNS[1], true), "an e-mail address by what follows its first part");
}

#[test]
fn a_table_that_lies_about_filters_does_not_load() {
    let (ssn, words) = (PATTERNS[0], r"[a-z]{3}");
    let database = |patterns: &[table::Pattern], unfiltered: &[u8]| {
        HyperscanScanner::new(Database { bytes: &compile(patterns), unfiltered, patterns }).map(|_| ())
    };
    let alone = compile(&[table(words, false)]);
    assert!(database(&[table(ssn, true), table(words, false)], &alone).is_ok());
    assert!(database(&[table(ssn, true), table(words, false)], &[]).is_err(), "the rest has no database");
    assert!(database(&[table(ssn, true)], &alone).is_err(), "there is no rest");
    assert!(database(&[table(ssn, false)], &alone).is_err(), "no pattern has a filter");
    assert!(database(&[table(words, true)], &[]).is_err(), "no filter fits this pattern");
    let mut unasked = table(ssn, true);
    unasked.starts = false;
    assert!(database(&[unasked], &[]).is_err(), "starts are what a filter gives");
    let mut strict = table(PATTERNS[0], true);
    strict.relaxed = true;
    assert!(database(&[strict], &[]).is_err(), "it has no relaxed form");
    let many = vec![table(ssn, true); MAX_FILTERED + 1];
    assert!(database(&many, &[]).is_err(), "more filters than there can be");
}

/// Its numbers would stand for other patterns, or for none.
#[test]
fn a_database_with_more_patterns_than_its_table_fails_to_scan() {
    let (ssn, words) = (PATTERNS[0], r"[a-z]{3}");
    let patterns = [table(words, false)];
    let bytes = compile(&[table(words, false), table(ssn, false)]);
    let scanner =
        HyperscanScanner::new(Database { bytes: &bytes, unfiltered: &[], patterns: &patterns }).unwrap();
    assert!(scanner.scan(b"abc", &mut |_, _| {}).is_ok());
    assert!(scanner.scan(b"abc 123-45-6789", &mut |_, _| {}).is_err());
}
