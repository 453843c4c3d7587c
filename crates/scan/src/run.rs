//! The run of one class that a relaxed expression begins with: where its match begins is told by looking back over the
//! run, without an automaton.

use regex_syntax::ParserBuilder;
use regex_syntax::hir::{Class, Hir, HirKind, Look, Repetition};

/// How an expression begins that can be relaxed: with `\b` or without, then with a class repeated, then with more.
pub(crate) struct Leading<'a> {
    pub(crate) boundary: bool,
    pub(crate) repetition: &'a Repetition,
    pub(crate) rest: &'a [Hir],
}

/// `None`: it begins otherwise.
pub(crate) fn leading(hir: &Hir) -> Option<Leading<'_>> {
    let HirKind::Concat(parts) = hir.kind() else { return None };
    let (boundary, parts) = match parts.as_slice() {
        [first, rest @ ..] if matches!(first.kind(), HirKind::Look(Look::WordAscii)) => (true, rest),
        parts => (false, parts),
    };
    let (first, rest) = parts.split_first()?;
    let HirKind::Repetition(repetition) = first.kind() else { return None };
    let is_class = matches!(repetition.sub.kind(), HirKind::Class(_));
    let varies = repetition.min > 0 && repetition.max != Some(repetition.min);
    (is_class && varies && !rest.is_empty()).then_some(Leading { boundary, repetition, rest })
}

/// Of an expression whose run has a longest length.
pub(crate) struct LeadingRun {
    /// What each byte is: [`IN_CLASS`], [`WORD`].
    kinds: Box<[u8; 256]>,
    /// How far before a relaxed match's start the whole one's may lie.
    most: usize,
    boundary: bool,
}

const IN_CLASS: u8 = 1;
const WORD: u8 = 2;

impl LeadingRun {
    /// `text` as the dialect reads it. `None`: it does not begin so, or without bound.
    pub(crate) fn of(text: &str) -> Option<Self> {
        let hir = ParserBuilder::new().unicode(false).utf8(false).build().parse(text).ok()?;
        let Leading { boundary, repetition, .. } = leading(&hir)?;
        let HirKind::Class(class) = repetition.sub.kind() else { return None };
        let class = match class {
            Class::Bytes(class) => class.clone(),
            Class::Unicode(class) => class.to_byte_class()?,
        };
        let mut kinds = Box::new([0; 256]);
        for (kind, byte) in kinds.iter_mut().zip(0..=u8::MAX) {
            let in_class = class.iter().any(|range| (range.start()..=range.end()).contains(&byte));
            let word = byte.is_ascii_alphanumeric() || byte == b'_';
            *kind = if in_class { IN_CLASS } else { 0 } | if word { WORD } else { 0 };
        }
        Some(Self { kinds, most: (repetition.max? - repetition.min) as usize, boundary })
    }

    /// The leftmost start of a match whose relaxed form starts at `at`; `None` where there is none. Looks at no more
    /// bytes than the run may have.
    pub(crate) fn start(&self, text: &[u8], at: usize) -> Option<usize> {
        let (before, after) = text.split_at_checked(at)?;
        let kind = |byte: &u8| self.kinds.get(usize::from(*byte)).copied().unwrap_or_default();
        let mut here = after.first().map_or(0, kind);
        let (mut start, mut place) = (None, at);
        // What is before the text counts as no word and is in no class.
        for before in before.iter().rev().map(kind).chain([0]).take(self.most + 1) {
            if !self.boundary || (here ^ before) & WORD != 0 {
                start = Some(place);
            }
            if before & IN_CLASS == 0 {
                break;
            }
            here = before;
            place -= 1;
        }
        start
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::LeadingRun;
    use crate::start::StartFinder;

    /// An expression, and where its relaxed form would start in a match that ends at `end`: before the last `@`.
    const EXPRESSIONS: [(&str, usize); 4] =
        [(r"\b[a-c.]{1,5}@", 1), (r"[a-c.]{1,5}@", 1), (r"\b[a-c.]{2,6}@", 2), (r"[a-c. ]{3,4}@", 3)];

    proptest! {
        #[test]
        fn a_run_begins_where_the_automaton_says_that_the_match_does(text in "[ab.@ _]{0,30}") {
            let text = text.as_bytes();
            for (expression, shortest) in EXPRESSIONS {
                let run = LeadingRun::of(expression).unwrap();
                let finder = StartFinder::new(expression, None).unwrap();
                for at in text.iter().enumerate().filter(|(_, byte)| **byte == b'@').map(|(at, _)| at) {
                    let Some(relaxed) = at.checked_sub(shortest) else { continue };
                    let set: &[u8] = if expression.contains(' ') { b"abc. " } else { b"abc." };
                    if !text[relaxed..at].iter().all(|byte| set.contains(byte)) {
                        continue;
                    }
                    let expected = finder.start(text, at + 1);
                    prop_assert_eq!(run.start(text, relaxed), expected, "{} at {}", expression, at);
                }
            }
        }
    }

    #[test]
    fn only_a_bounded_run_at_the_front_is_one() {
        for (text, is_one) in [
            (r"\b[a-z]{1,64}@x", true),
            (r"[a-z]{2,}@", false),
            (r"\b\d{3}-", false),
            (r"x[a-z]{1,64}@", false),
        ] {
            assert_eq!(LeadingRun::of(text).is_some(), is_one, "{text}");
        }
    }
}
