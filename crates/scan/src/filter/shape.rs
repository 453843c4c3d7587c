//! What every match of an expression must look like near its start: which bytes may stand at each offset.
//!
//! Read off the expression's own automaton, never off a rule's name. It forgets which choice goes with which, so a text
//! may have the shape and be no match; no match is without the shape.

use regex_automata::nfa::thompson::{NFA, State};
use regex_automata::util::look::Look;
use regex_automata::util::primitives::StateID;

/// Offsets looked at, from the match's start.
pub(super) const DEPTH: usize = 24;

/// A set of bytes: those below 128, and the others.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct ByteSet(u128, u128);

impl ByteSet {
    pub(super) const ALL: Self = Self(u128::MAX, u128::MAX);

    pub(super) const fn insert(&mut self, byte: u8) {
        let half = if byte < 128 { &mut self.0 } else { &mut self.1 };
        *half |= 1 << (byte & 0x7f);
    }

    fn insert_range(&mut self, first: u8, last: u8) {
        (first..=last).for_each(|byte| self.insert(byte));
    }

    pub(super) const fn contains(self, byte: u8) -> bool {
        let half = if byte < 128 { self.0 } else { self.1 };
        half >> (byte & 0x7f) & 1 == 1
    }

    const fn is_within(self, other: Self) -> bool {
        self.0 & !other.0 == 0 && self.1 & !other.1 == 0
    }

    const fn complement(self) -> Self {
        Self(!self.0, !self.1)
    }

    /// What `\b` tells from all else.
    fn word() -> Self {
        let mut word = Self::default();
        for (first, last) in [(b'0', b'9'), (b'A', b'Z'), (b'_', b'_'), (b'a', b'z')] {
            word.insert_range(first, last);
        }
        word
    }
}

/// What must stand before a match. A text's edge counts as no word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Before {
    Any,
    NoWord,
    Word,
}

/// Its first bytes are as many as the shortest match has, [`DEPTH`] at most.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Shape {
    pub(super) before: Before,
    pub(super) bytes: Vec<ByteSet>,
}

impl Shape {
    /// `nfa` reads forward, from an anchored start.
    pub(super) fn of(nfa: &NFA) -> Self {
        let mut bytes = Vec::new();
        let mut states = vec![nfa.start_anchored()];
        while bytes.len() < DEPTH {
            let reached = closure(nfa, &states, None);
            if reached.iter().any(|id| matches!(nfa.state(*id), State::Match { .. })) {
                break;
            }
            let (set, next) = step(nfa, &reached);
            bytes.push(set);
            states = next;
        }
        Self { before: before(nfa, bytes.first().copied().unwrap_or(ByteSet::ALL)), bytes }
    }
}

/// What may stand before a match, where a word boundary leads every way into it.
fn before(nfa: &NFA, first: ByteSet) -> Before {
    let around = closure(nfa, &[nfa.start_anchored()], Some(Look::WordAscii));
    let led = around.iter().all(|id| {
        matches!(
            nfa.state(*id),
            State::Look { .. }
                | State::Union { .. }
                | State::BinaryUnion { .. }
                | State::Capture { .. }
                | State::Fail
        )
    });
    let word = ByteSet::word();
    if led && first.is_within(word) {
        Before::NoWord
    } else if led && first.is_within(word.complement()) {
        Before::Word
    } else {
        Before::Any
    }
}

/// All states reached without a byte. Conditions count as met, but `wall` as never met.
fn closure(nfa: &NFA, from: &[StateID], wall: Option<Look>) -> Vec<StateID> {
    let mut seen = vec![false; nfa.states().len()];
    let mut reached = Vec::new();
    let mut left = from.to_vec();
    while let Some(id) = left.pop() {
        if seen.get_mut(id.as_usize()).is_none_or(|seen| std::mem::replace(seen, true)) {
            continue;
        }
        reached.push(id);
        match nfa.state(id) {
            State::Look { look, next } => left.extend((Some(*look) != wall).then_some(*next)),
            State::Union { alternates } => left.extend_from_slice(alternates),
            State::BinaryUnion { alt1, alt2 } => left.extend([*alt1, *alt2]),
            State::Capture { next, .. } => left.push(*next),
            State::ByteRange { .. }
            | State::Sparse(_)
            | State::Dense(_)
            | State::Fail
            | State::Match { .. } => {}
        }
    }
    reached
}

/// The bytes that lead on from these states, and where to.
fn step(nfa: &NFA, states: &[StateID]) -> (ByteSet, Vec<StateID>) {
    let (mut set, mut next) = (ByteSet::default(), Vec::new());
    for id in states {
        match nfa.state(*id) {
            State::ByteRange { trans } => {
                set.insert_range(trans.start, trans.end);
                next.push(trans.next);
            }
            State::Sparse(sparse) => {
                for trans in &*sparse.transitions {
                    set.insert_range(trans.start, trans.end);
                    next.push(trans.next);
                }
            }
            State::Dense(dense) => {
                for (trans, byte) in dense.transitions.iter().zip(0..=u8::MAX) {
                    if *trans != StateID::ZERO {
                        set.insert(byte);
                        next.push(*trans);
                    }
                }
            }
            State::Look { .. }
            | State::Union { .. }
            | State::BinaryUnion { .. }
            | State::Capture { .. }
            | State::Fail
            | State::Match { .. } => {}
        }
    }
    next.sort_unstable();
    next.dedup();
    (set, next)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::automaton::forward_nfa;

    fn shape(text: &str) -> (Before, Vec<String>) {
        let set = |set: &ByteSet| {
            let members: Vec<u8> = (0..=255).filter(|byte| set.contains(*byte)).collect();
            String::from_utf8_lossy(&members).into_owned()
        };
        let shape = Shape::of(&forward_nfa(text).unwrap());
        (shape.before, shape.bytes.iter().map(set).collect())
    }

    #[test]
    fn a_shape_has_the_bytes_of_every_offset() {
        for (text, before, bytes) in [
            (r"\b\d-[ab]", Before::NoWord, &["0123456789", "-", "ab"][..]),
            (r"ab?c", Before::Any, &["a", "bc"]),
            (r"4[ -]?\d{2}", Before::Any, &["4", " -0123456789", "0123456789"]),
            (r"\b-a", Before::Word, &["-", "a"]),
            (r"\b[a-]a", Before::Any, &["-a", "a"]),
            (r"(?:\b|x)ab", Before::Any, &["ax", "ab"]),
            (r"(?:\ba|\bb)c", Before::NoWord, &["ab", "c"]),
            (r"a|bcd", Before::Any, &["ab"]),
            (r"\Bab", Before::Any, &["a", "b"]),
        ] {
            let bytes = bytes.iter().map(|set| (*set).to_owned()).collect();
            assert_eq!(shape(text), (before, bytes), "{text}");
        }
        assert_eq!(shape(r"[a-z]{100}").1.len(), DEPTH);
    }
}
