//! Where a match starts: an anchored reverse automaton from the match's end.

use regex_automata::dfa::Automaton as _;
use regex_automata::{Anchored, Input};

use crate::automaton::{Automaton, reverse_nfa};

pub(crate) struct StartFinder {
    automaton: Automaton,
    max_width: Option<usize>,
}

impl StartFinder {
    pub(crate) fn new(text: &str, max_width: Option<usize>) -> Result<Self, String> {
        Ok(Self { automaton: Automaton::new(reverse_nfa(text)?)?, max_width })
    }

    /// Leftmost start of a match that ends at `end`; `None` where none does.
    pub(crate) fn start(&self, text: &[u8], end: usize) -> Option<usize> {
        if end > text.len() {
            return None;
        }
        let from = self.max_width.map_or(0, |width| end.saturating_sub(width));
        let input = Input::new(text).range(from..end).anchored(Anchored::Yes);
        // An error means that a DFA gave up, which neither does as configured.
        let found = match &self.automaton {
            Automaton::Built(dfa) => dfa.try_search_rev(&input).ok()?,
            Automaton::Lazy(dfa, caches) => dfa.try_search_rev(&mut caches.get(), &input).ok()?,
        };
        found.map(|found| found.offset())
    }
}
