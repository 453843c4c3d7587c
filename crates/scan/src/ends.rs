//! Where the matches that start at one place end: an anchored forward automaton, walked until it is dead.

use regex_automata::dfa::Automaton as _;
use regex_automata::{Anchored, Input};

use crate::automaton::Automaton;

/// The automaton gave up, or the caller's budget is spent: what was reported is not all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Unfinished;

/// Calls `end` for the end of each match that starts at `start`, in order, and takes what was walked from `budget`.
pub(crate) fn ends(
    automaton: &Automaton,
    text: &[u8],
    start: usize,
    budget: &mut usize,
    mut end: impl FnMut(usize),
) -> Result<(), Unfinished> {
    let Some(rest) = text.get(start..) else { return Ok(()) };
    let input = Input::new(text).range(start..).anchored(Anchored::Yes);
    // Both report a match one byte late.
    match automaton {
        Automaton::Built(dfa) => {
            let mut state = dfa.start_state_forward(&input).map_err(|_| Unfinished)?;
            for (at, byte) in (start..).zip(rest.iter().take(*budget)) {
                state = dfa.next_state(state, *byte);
                if dfa.is_special_state(state) {
                    if dfa.is_match_state(state) {
                        end(at);
                    } else if dfa.is_dead_state(state) {
                        *budget -= at - start;
                        return Ok(());
                    } else if dfa.is_quit_state(state) {
                        return Err(Unfinished);
                    }
                }
            }
            *budget = budget.checked_sub(rest.len()).ok_or(Unfinished)?;
            if dfa.is_match_state(dfa.next_eoi_state(state)) {
                end(text.len());
            }
        }
        Automaton::Lazy(dfa, caches) => {
            let cache = &mut *caches.get();
            let mut state = dfa.start_state_forward(cache, &input).map_err(|_| Unfinished)?;
            for (at, byte) in (start..).zip(rest.iter().take(*budget)) {
                state = dfa.next_state(cache, state, *byte).map_err(|_| Unfinished)?;
                if state.is_tagged() {
                    if state.is_match() {
                        end(at);
                    } else if state.is_dead() {
                        *budget -= at - start;
                        return Ok(());
                    } else if state.is_quit() {
                        return Err(Unfinished);
                    }
                }
            }
            *budget = budget.checked_sub(rest.len()).ok_or(Unfinished)?;
            if dfa.next_eoi_state(cache, state).map_err(|_| Unfinished)?.is_match() {
                end(text.len());
            }
        }
    }
    Ok(())
}
