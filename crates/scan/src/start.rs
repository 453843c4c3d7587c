//! Where a match starts: an anchored reverse lazy DFA from the match's end. One a pattern, its states found as needed.

use regex_automata::hybrid::dfa::{Cache, DFA};
use regex_automata::nfa::thompson;
use regex_automata::util::pool::Pool;
use regex_automata::util::syntax;
use regex_automata::{Anchored, Input, MatchKind};

type MakeCache = Box<dyn Fn() -> Cache + Send + Sync + std::panic::UnwindSafe + std::panic::RefUnwindSafe>;

pub(crate) struct StartFinder {
    dfa: DFA,
    /// One a thread, handed out without a lock to the thread that came first.
    caches: Pool<Cache, MakeCache>,
    max_width: Option<usize>,
}

impl StartFinder {
    /// Reads `text` as the dialect does: the `regex` crate's syntax without Unicode.
    pub(crate) fn new(text: &str, max_width: Option<usize>) -> Result<Self, String> {
        let nfa = thompson::Compiler::new()
            .syntax(syntax::Config::new().unicode(false).utf8(false))
            .configure(
                thompson::Config::new()
                    .reverse(true)
                    .utf8(false)
                    .which_captures(thompson::WhichCaptures::None),
            )
            .build(text)
            .map_err(|error| error.to_string())?;
        // All matches, not the first preferred: then the search runs on to the leftmost start.
        let config = DFA::config().match_kind(MatchKind::All).skip_cache_capacity_check(true);
        let dfa = DFA::builder().configure(config).build_from_nfa(nfa).map_err(|error| error.to_string())?;
        let for_cache = dfa.clone();
        let make: MakeCache = Box::new(move || for_cache.create_cache());
        Ok(Self { dfa, caches: Pool::new(make), max_width })
    }

    /// Leftmost start of a match that ends at `end`; `None` where none does.
    pub(crate) fn start(&self, text: &[u8], end: usize) -> Option<usize> {
        if end > text.len() {
            return None;
        }
        let from = self.max_width.map_or(0, |width| end.saturating_sub(width));
        let input = Input::new(text).range(from..end).anchored(Anchored::Yes);
        let mut cache = self.caches.get();
        // An error means that the lazy DFA gave up, which its default settings never do.
        let found = self.dfa.try_search_rev(&mut cache, &input).ok()?;
        found.map(|found| found.offset())
    }
}
