//! Hyperscan behind the safe type against slow, plain readings of the same expressions.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use hyperscan::{BlockDatabase, Builder, CpuFeatures, Pattern, PatternFlags, Patterns, Platform, Tune};
use proptest::prelude::*;
use regex_automata::hybrid::dfa::{Cache, DFA};
use regex_automata::util::syntax;
use regex_automata::{Anchored, Input, MatchKind};
use weir_policy::{PatternIndex, Scanner, table};
use weir_scan::{Dialect, HyperscanScanner};

const PII: [&str; 9] = [
    r"\b\d{3}-\d{2}-\d{4}\b",
    r"\b[A-Za-z0-9._%+-]{1,64}@[A-Za-z0-9.-]{1,63}\.[A-Za-z]{2,24}\b",
    r"\b4\d{3}[ -]?\d{4}[ -]?\d{4}[ -]?\d{4}\b",
    r"\bMRN[- ]?\d{6,10}\b",
    r"(?i)secret\s*[:=]\s*[^\s,]{8,64}",
    r"AKIA[0-9A-Z]{16}",
    r"^\d{3}$",
    r"ab?c|a.{0,3}d\B",
    r"[a-d]{2,5}(?:@|\.)",
];

fn compile(texts: &[&str]) -> Vec<u8> {
    let patterns: Patterns = texts
        .iter()
        .map(|text| {
            let dialect = Dialect::parse(text).unwrap();
            let text = dialect.relaxed.unwrap_or(dialect.hyperscan);
            Pattern::with_flags(text, PatternFlags::empty()).unwrap()
        })
        .collect();
    let platform = Platform::new(Tune::Generic, CpuFeatures::empty());
    let database: BlockDatabase = patterns.for_platform(Some(&platform)).unwrap();
    database.serialize().unwrap().to_vec()
}

fn tables(texts: &[&str]) -> Vec<table::Pattern> {
    texts
        .iter()
        .map(|text| table::Pattern {
            text: (*text).to_owned(),
            max_width: Dialect::parse(text).unwrap().max_width.map(|width| u32::try_from(width).unwrap()),
            starts: true,
            relaxed: Dialect::parse(text).unwrap().relaxed.is_some(),
            filtered: false,
        })
        .collect()
}

/// The engine alone: no pattern has a filter.
fn scanner(texts: &[&str]) -> HyperscanScanner {
    let database =
        weir_policy::Database { bytes: &compile(texts), unfiltered: &[], patterns: &tables(texts) };
    HyperscanScanner::new(database).unwrap()
}

fn matches(scanner: &dyn Scanner, text: &[u8]) -> Vec<(u32, usize, Option<usize>)> {
    let mut ends = Vec::new();
    scanner.scan(text, &mut |pattern, end| ends.push((pattern, end))).unwrap();
    assert!(ends.is_sorted_by_key(|(_, end)| *end), "hits come in order of their end");
    let mut matches: Vec<_> =
        ends.into_iter().map(|(pattern, end)| (pattern.0, end, scanner.start(pattern, text, end))).collect();
    matches.sort_unstable();
    matches.dedup();
    matches
}

/// Every end of every match, each with its leftmost start, found by trying every start.
struct Plain(Vec<DFA>);

impl Plain {
    fn new(texts: &[&str]) -> Self {
        let dfa = |text: &&str| {
            DFA::builder()
                .syntax(syntax::Config::new().unicode(false).utf8(false))
                .configure(DFA::config().match_kind(MatchKind::All).skip_cache_capacity_check(true))
                .build(text)
                .unwrap()
        };
        Self(texts.iter().map(dfa).collect())
    }

    fn matches(&self, text: &[u8]) -> Vec<(u32, usize, Option<usize>)> {
        let mut found = std::collections::BTreeMap::new();
        for (pattern, dfa) in self.0.iter().enumerate() {
            let mut cache = dfa.create_cache();
            for start in 0..=text.len() {
                for end in ends_from(dfa, &mut cache, text, start) {
                    found.entry((u32::try_from(pattern).unwrap(), end)).or_insert(start);
                }
            }
        }
        found.into_iter().map(|((pattern, end), start)| (pattern, end, Some(start))).collect()
    }
}

fn ends_from(dfa: &DFA, cache: &mut Cache, text: &[u8], start: usize) -> Vec<usize> {
    let input = Input::new(text).range(start..).anchored(Anchored::Yes);
    let mut state = dfa.start_state_forward(cache, &input).unwrap();
    let mut ends = Vec::new();
    for (at, byte) in text.iter().enumerate().skip(start) {
        state = dfa.next_state(cache, state, *byte).unwrap();
        // Matches are reported one byte late.
        if state.is_match() {
            ends.push(at);
        }
        if state.is_dead() {
            return ends;
        }
    }
    if dfa.next_eoi_state(cache, state).unwrap().is_match() {
        ends.push(text.len());
    }
    ends
}

/// Text made of pieces that nearly or wholly match, so that most cases have something to find.
fn texts() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        Just("123-45-6789".to_owned()),
        Just("4111 1111 1111 1111".to_owned()),
        Just("ann@example.org".to_owned()),
        Just("MRN-0012345".to_owned()),
        Just("Secret = hunter2hunter2".to_owned()),
        Just("AKIAIOSFODNN7EXAMPLE".to_owned()),
        "[0-9]{1,4}",
        "[ -~]{0,6}",
        "[abcd.@ -]{1,8}",
        Just("\n".to_owned()),
        Just("\u{b}é\0".to_owned()),
    ];
    proptest::collection::vec(piece, 0..8).prop_map(|pieces| pieces.concat().into_bytes())
}

#[test]
fn ends_and_starts_equal_those_of_a_plain_reading() {
    let scanner = scanner(&PII);
    let plain = Plain::new(&PII);
    let config = ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() };
    proptest!(config, |(text in texts())| {
        prop_assert_eq!(matches(&scanner, &text), plain.matches(&text));
    });
}

#[test]
fn matches_depend_on_nothing_but_the_text() {
    let scanner = scanner(&PII);
    let other = self::scanner(&["[a-z]+[0-9]"]);
    let config = ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() };
    proptest!(config, |(text in texts(), before in texts(), at in 0_usize..16)| {
        let alone = matches(&scanner, &text);
        matches(&scanner, &before);
        matches(&other, &before);
        // Another alignment, with other bytes around it.
        let mut buffer = vec![b'9'; at];
        buffer.extend_from_slice(&text);
        buffer.extend_from_slice(b"9-");
        prop_assert_eq!(matches(&scanner, &buffer[at..at + text.len()]), alone);
    });
}

#[test]
fn leftmost_matches_of_the_regex_crate_are_among_the_hits_with_the_same_start() {
    let scanner = scanner(&PII[..6]);
    let regexes: Vec<_> = PII[..6]
        .iter()
        .map(|text| {
            regex_automata::meta::Builder::new()
                .syntax(syntax::Config::new().unicode(false).utf8(false))
                .build(text)
                .unwrap()
        })
        .collect();
    let text = b"ids 123-45-6789, x123-45-6789; ann.b@example.org.uk 4111-1111-1111-1111 SECRET:abcdefghij,MRN 123456";
    let hits = matches(&scanner, text);
    let mut found = 0;
    for (pattern, regex) in regexes.iter().enumerate() {
        for it in regex.find_iter(text) {
            found += 1;
            let wanted = (u32::try_from(pattern).unwrap(), it.end(), Some(it.start()));
            assert!(hits.contains(&wanted), "{wanted:?} in {hits:?}");
        }
    }
    assert_eq!(found, 5);
}

#[test]
fn damaged_databases_are_refused() {
    let bytes = compile(&PII);
    let patterns = tables(&PII);
    let load = |bytes: &[u8]| {
        HyperscanScanner::new(weir_policy::Database { bytes, unfiltered: &[], patterns: &patterns })
    };
    for len in [0, 1, 16, bytes.len() / 2, bytes.len() - 1] {
        assert!(load(&bytes[..len]).is_err(), "cut at {len}");
    }
    for at in (0..bytes.len()).step_by(bytes.len() / 97) {
        let mut damaged = bytes.clone();
        damaged[at] ^= 0x10;
        // A few header bytes are reserved and ignored; what loads must still scan as before.
        if let Ok(scanner) = load(&damaged) {
            assert_eq!(
                matches(&scanner, b"123-45-6789"),
                matches(&self::scanner(&PII), b"123-45-6789"),
                "{at}"
            );
        }
    }
    assert!(load(&bytes).is_ok());
}

#[test]
fn a_panic_in_the_callback_passes_through_and_harms_nothing() {
    let scanner = scanner(&PII);
    let scan = || scanner.scan(b"123-45-6789 123-45-6789", &mut |_, _| panic!("on purpose"));
    let payload = catch_unwind(AssertUnwindSafe(scan)).unwrap_err();
    assert_eq!(payload.downcast_ref::<&str>(), Some(&"on purpose"));
    assert_eq!(matches(&scanner, b"123-45-6789").len(), 1);
}

#[test]
fn a_hit_may_scan_again() {
    let scanner = scanner(&PII);
    let mut inner = Vec::new();
    let text = b"123-45-6789 123-45-6780";
    scanner.scan(text, &mut |_, end| inner.push(matches(&scanner, &text[..end]).len())).unwrap();
    assert_eq!(inner, [1, 2]);
}

#[test]
fn starts_may_be_asked_for_from_within_a_scan() {
    let scanner = scanner(&PII);
    let text = b"-- 123-45-6789";
    let mut starts = Vec::new();
    scanner.scan(text, &mut |pattern, end| starts.push(scanner.start(pattern, text, end))).unwrap();
    assert_eq!(starts, [Some(3)]);
}

#[test]
fn an_end_that_no_scan_gave_has_no_start() {
    let scanner = scanner(&PII);
    let text = b"-- 123-45-6789 --";
    for end in 0..text.len() + 10 {
        let expected = (end == 14).then_some(3);
        assert_eq!(scanner.start(PatternIndex(0), text, end), expected, "{end}");
    }
    assert_eq!(scanner.start(PatternIndex(99), text, 14), None);
}

#[test]
fn threads_share_one_database() {
    let scanner: Arc<dyn Scanner> = Arc::new(scanner(&PII));
    let threads: Vec<_> = (0..4)
        .map(|_| {
            let scanner = Arc::clone(&scanner);
            std::thread::spawn(move || {
                (0..200).map(|_| matches(&*scanner, b"a 123-45-6789 b").len()).sum::<usize>()
            })
        })
        .collect();
    for thread in threads {
        assert_eq!(thread.join().unwrap(), 200);
    }
}

#[test]
fn more_databases_than_a_thread_remembers_all_work() {
    let scanners: Vec<_> = (0..40).map(|at| scanner(&[&format!("needle{at}z"), "[0-9]{2}x"])).collect();
    for _ in 0..2 {
        for (at, scanner) in scanners.iter().enumerate() {
            assert_eq!(matches(scanner, format!("a needle{at}z b").as_bytes()).len(), 1);
        }
    }
}

#[test]
fn widths_of_the_parser_are_no_less_than_the_engines() {
    for text in PII {
        let dialect = Dialect::parse(text).unwrap();
        let info = Pattern::with_flags(dialect.hyperscan, PatternFlags::empty()).unwrap().info().unwrap();
        let widest = dialect.max_width.and_then(|width| u32::try_from(width).ok()).unwrap_or(u32::MAX);
        assert_eq!(widest as usize, info.max_width(), "{text}");
    }
}
