//! Deterministic automata of one expression, in either direction: built ahead where small, else their states are found
//! as needed.

use std::panic::{RefUnwindSafe, UnwindSafe};

use regex_automata::MatchKind;
use regex_automata::dfa::{StartKind, dense};
use regex_automata::hybrid::dfa as lazy;
use regex_automata::nfa::thompson::{self, NFA};
use regex_automata::util::pool::Pool;
use regex_automata::util::syntax;
use regex_syntax::hir::Hir;

/// A DFA built ahead needs no cache and is shared as it is; beyond this size, in bytes, it is not worth its memory.
const BUILT_AHEAD_BYTES: usize = 256 * 1024;

type MakeCache = Box<dyn Fn() -> lazy::Cache + Send + Sync + UnwindSafe + RefUnwindSafe>;

/// Anchored, and for all matches rather than the first preferred.
pub(crate) enum Automaton {
    Built(Box<dense::DFA<Vec<u32>>>),
    /// With caches, one a thread, handed out without a lock to the thread that came first.
    Lazy(Box<lazy::DFA>, Pool<lazy::Cache, MakeCache>),
}

impl Automaton {
    pub(crate) fn new(nfa: NFA) -> Result<Self, String> {
        match built(&nfa) {
            Some(dfa) => Ok(Self::Built(Box::new(dfa))),
            None => lazy(nfa),
        }
    }
}

/// Reads `text` as the dialect does: the `regex` crate's syntax without Unicode.
pub(crate) fn forward_nfa(text: &str) -> Result<NFA, String> {
    compiler(false).build(text).map_err(|error| error.to_string())
}

/// Of an expression already read.
pub(crate) fn forward_nfa_of(hir: &Hir) -> Result<NFA, String> {
    compiler(false).build_from_hir(hir).map_err(|error| error.to_string())
}

/// From the end of a match to its start.
pub(crate) fn reverse_nfa(text: &str) -> Result<NFA, String> {
    compiler(true).build(text).map_err(|error| error.to_string())
}

fn compiler(reverse: bool) -> thompson::Compiler {
    let config =
        thompson::Config::new().reverse(reverse).utf8(false).which_captures(thompson::WhichCaptures::None);
    let mut compiler = thompson::Compiler::new();
    compiler.syntax(syntax::Config::new().unicode(false).utf8(false)).configure(config);
    compiler
}

fn built(nfa: &NFA) -> Option<dense::DFA<Vec<u32>>> {
    let config = dense::Config::new()
        .match_kind(MatchKind::All)
        .start_kind(StartKind::Anchored)
        .dfa_size_limit(Some(BUILT_AHEAD_BYTES))
        .determinize_size_limit(Some(BUILT_AHEAD_BYTES));
    dense::Builder::new().configure(config).build_from_nfa(nfa).ok()
}

fn lazy(nfa: NFA) -> Result<Automaton, String> {
    let config = lazy::DFA::config().match_kind(MatchKind::All).skip_cache_capacity_check(true);
    let dfa =
        lazy::DFA::builder().configure(config).build_from_nfa(nfa).map_err(|error| error.to_string())?;
    let for_cache = dfa.clone();
    let make: MakeCache = Box::new(move || for_cache.create_cache());
    Ok(Automaton::Lazy(Box::new(dfa), Pool::new(make)))
}
