//! Where a match starts: an anchored reverse DFA from the match's end. Built ahead where it is small, else its states are
//! found as needed.

use std::panic::{RefUnwindSafe, UnwindSafe};

use regex_automata::dfa::{Automaton, StartKind, dense};
use regex_automata::hybrid::dfa as lazy;
use regex_automata::nfa::thompson::{self, NFA};
use regex_automata::util::pool::Pool;
use regex_automata::util::syntax;
use regex_automata::{Anchored, Input, MatchKind};

/// A DFA built ahead needs no cache and is shared as it is; beyond this size, in bytes, it is not worth its memory.
const BUILT_AHEAD_BYTES: usize = 256 * 1024;

type MakeCache = Box<dyn Fn() -> lazy::Cache + Send + Sync + UnwindSafe + RefUnwindSafe>;

pub(crate) struct StartFinder {
    dfa: Dfa,
    max_width: Option<usize>,
}

enum Dfa {
    Built(Box<dense::DFA<Vec<u32>>>),
    /// With caches, one a thread, handed out without a lock to the thread that came first.
    Lazy(Box<lazy::DFA>, Pool<lazy::Cache, MakeCache>),
}

impl StartFinder {
    /// Reads `text` as the dialect does: the `regex` crate's syntax without Unicode.
    pub(crate) fn new(text: &str, max_width: Option<usize>) -> Result<Self, String> {
        let config =
            thompson::Config::new().reverse(true).utf8(false).which_captures(thompson::WhichCaptures::None);
        let nfa = thompson::Compiler::new()
            .syntax(syntax::Config::new().unicode(false).utf8(false))
            .configure(config)
            .build(text)
            .map_err(|error| error.to_string())?;
        let dfa = match built(&nfa) {
            Some(dfa) => Dfa::Built(Box::new(dfa)),
            None => lazy(nfa)?,
        };
        Ok(Self { dfa, max_width })
    }

    /// Leftmost start of a match that ends at `end`; `None` where none does.
    pub(crate) fn start(&self, text: &[u8], end: usize) -> Option<usize> {
        if end > text.len() {
            return None;
        }
        let from = self.max_width.map_or(0, |width| end.saturating_sub(width));
        let input = Input::new(text).range(from..end).anchored(Anchored::Yes);
        // An error means that a DFA gave up, which neither does as configured.
        let found = match &self.dfa {
            Dfa::Built(dfa) => dfa.try_search_rev(&input).ok()?,
            Dfa::Lazy(dfa, caches) => dfa.try_search_rev(&mut caches.get(), &input).ok()?,
        };
        found.map(|found| found.offset())
    }
}

// Both look for all matches, not the first preferred: then the search runs on to the leftmost start.

fn built(nfa: &NFA) -> Option<dense::DFA<Vec<u32>>> {
    let config = dense::Config::new()
        .match_kind(MatchKind::All)
        .start_kind(StartKind::Anchored)
        .dfa_size_limit(Some(BUILT_AHEAD_BYTES))
        .determinize_size_limit(Some(BUILT_AHEAD_BYTES));
    dense::Builder::new().configure(config).build_from_nfa(nfa).ok()
}

fn lazy(nfa: NFA) -> Result<Dfa, String> {
    let config = lazy::DFA::config().match_kind(MatchKind::All).skip_cache_capacity_check(true);
    let dfa =
        lazy::DFA::builder().configure(config).build_from_nfa(nfa).map_err(|error| error.to_string())?;
    let for_cache = dfa.clone();
    let make: MakeCache = Box::new(move || for_cache.create_cache());
    Ok(Dfa::Lazy(Box::new(dfa), Pool::new(make)))
}
