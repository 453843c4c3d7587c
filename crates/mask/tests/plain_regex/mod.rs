//! A scanner on a plain regex engine, for tests: every end of every match, starts by a reverse search.

use std::sync::Mutex;

use regex_automata::hybrid::dfa::{Cache, DFA, OverlappingState};
use regex_automata::nfa::thompson;
use regex_automata::util::syntax;
use regex_automata::{Anchored, Input, MatchKind};
use weir_policy::{PatternIndex, ScanError, Scanner};

#[derive(Debug)]
pub(crate) struct PlainRegex {
    forward: DFA,
    forward_cache: Mutex<Cache>,
    reverse: Vec<(DFA, Mutex<Cache>)>,
    widths: Vec<Option<usize>>,
    /// How many scans were asked for.
    pub(crate) scans: std::sync::atomic::AtomicUsize,
    finds_starts: bool,
}

impl PlainRegex {
    pub(crate) fn new(patterns: &[&str]) -> Self {
        let bytes = syntax::Config::new().unicode(false).utf8(false);
        let build = |reverse: bool, patterns: &[&str]| {
            DFA::builder()
                .configure(DFA::config().match_kind(MatchKind::All))
                .syntax(bytes)
                .thompson(thompson::Config::new().utf8(false).reverse(reverse))
                .build_many(patterns)
                .expect("test patterns compile")
        };
        let forward = build(false, patterns);
        let reverse = patterns.iter().map(|pattern| build(true, &[pattern])).map(|dfa| {
            let cache = Mutex::new(dfa.create_cache());
            (dfa, cache)
        });
        let width = |pattern: &&str| {
            syntax::parse_with(pattern, &bytes).expect("parsed above").properties().maximum_len()
        };
        Self {
            forward_cache: Mutex::new(forward.create_cache()),
            reverse: reverse.collect(),
            widths: patterns.iter().map(width).collect(),
            forward,
            scans: 0.into(),
            finds_starts: true,
        }
    }

    /// The same, but no start can be found.
    #[allow(dead_code, reason = "not every test file needs it")]
    pub(crate) fn without_starts(patterns: &[&str]) -> Self {
        Self { finds_starts: false, ..Self::new(patterns) }
    }
}

impl Scanner for PlainRegex {
    fn scan(&self, text: &[u8], hit: &mut dyn FnMut(PatternIndex, usize)) -> Result<(), ScanError> {
        self.scans.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let mut cache = self.forward_cache.lock().unwrap();
        let mut state = OverlappingState::start();
        let input = Input::new(text);
        loop {
            self.forward
                .try_search_overlapping_fwd(&mut cache, &input, &mut state)
                .map_err(|_| ScanError(-1))?;
            let Some(found) = state.get_match() else { return Ok(()) };
            hit(PatternIndex(found.pattern().as_u32()), found.offset());
        }
    }

    fn start(&self, pattern: PatternIndex, text: &[u8], end: usize) -> Option<usize> {
        let (dfa, cache) = self.reverse.get(pattern.0 as usize).filter(|_| self.finds_starts)?;
        let input = Input::new(text).span(0..end).anchored(Anchored::Yes);
        let found = dfa.try_search_rev(&mut cache.lock().unwrap(), &input).ok()?;
        found.map(|found| found.offset())
    }

    fn max_width(&self, pattern: PatternIndex) -> Option<usize> {
        self.widths.get(pattern.0 as usize).copied().flatten()
    }
}
