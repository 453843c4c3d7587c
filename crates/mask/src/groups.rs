//! Ranges to replace: validated, merged where they overlap, in order. Knows nothing of how they were found.

use std::cmp::Reverse;

use weir_policy::{MaskPlan, PatternIndex, PatternMask};

use crate::{accept, strictness};

/// Merged matches longer than this are replaced in pieces, so that a stream need not hold back without bound.
const MAX_GROUP_BYTES: usize = 64 * 1024;

/// The `mask` of a [`Found`] that is the gateway's own secret, which no rule names.
pub(crate) const SECRET: usize = usize::MAX;

/// A range to replace. Ranges of one answer are in order and do not overlap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found {
    /// The cell it lies in; 0 for a single text.
    pub cell: usize,
    /// Within the cell or text.
    pub start: usize,
    /// Exclusive.
    pub end: usize,
    /// Index into the plan's `patterns`; beyond them for the gateway's own secret.
    pub mask: usize,
}

/// Found ranges, to be added in the order of their ends.
#[derive(Debug, Default)]
pub(crate) struct Groups {
    found: Vec<Found>,
}

impl Groups {
    pub(crate) fn clear(&mut self) {
        self.found.clear();
    }

    pub(crate) const fn as_slice(&self) -> &[Found] {
        self.found.as_slice()
    }

    /// Forgets the first `count`.
    pub(crate) fn drop_first(&mut self, count: usize) {
        self.found.drain(..count.min(self.found.len()));
    }

    /// The text lost its first `len` bytes, none of them in a range.
    pub(crate) fn shift(&mut self, len: usize) {
        for found in &mut self.found {
            found.start -= len;
            found.end -= len;
        }
    }

    /// Adds the match for each of the plan's rules on `pattern` whose validator accepts it.
    pub(crate) fn push_valid(&mut self, plan: &MaskPlan, pattern: PatternIndex, text: &[u8], at: Found) {
        let Some(matched) = text.get(at.start..at.end).filter(|matched| !matched.is_empty()) else { return };
        for (mask, rule) in rules(plan, pattern) {
            let offset = rule.validator.map_or(Some(0), |validator| accept(validator, matched));
            if let Some(offset) = offset {
                self.merge(Some(plan), Found { start: at.start + offset, mask, ..at });
            }
        }
    }

    /// Adds the range for each of the plan's rules on `pattern`: its true start is unknown, so nothing can be validated.
    pub(crate) fn push_all(&mut self, plan: &MaskPlan, pattern: PatternIndex, at: Found) {
        for (mask, _) in rules(plan, pattern) {
            self.merge(Some(plan), Found { mask, ..at });
        }
    }

    /// Adds a range that ends no earlier than all before it. Ranges that overlap become one, under the strictest of
    /// their rules; a group over the bound is continued by a new range at its end.
    pub(crate) fn merge(&mut self, plan: Option<&MaskPlan>, mut new: Found) {
        while let Some(last) =
            self.found.last_mut().filter(|last| last.cell == new.cell && new.start < last.end)
        {
            if last.start < new.start {
                if new.end - last.start > MAX_GROUP_BYTES {
                    new.start = last.end;
                    if new.start < new.end {
                        self.found.push(new);
                    }
                    return;
                }
                last.end = new.end;
                last.mask = stricter(plan, last.mask, new.mask);
                return;
            }
            new.mask = stricter(plan, last.mask, new.mask);
            self.found.pop();
        }
        self.found.push(new);
    }
}

fn rules(plan: &MaskPlan, pattern: PatternIndex) -> impl Iterator<Item = (usize, &PatternMask)> {
    plan.patterns.iter().enumerate().filter(move |(_, rule)| rule.pattern == pattern)
}

fn stricter(plan: Option<&MaskPlan>, one: usize, other: usize) -> usize {
    let rank = |mask: usize| {
        let rule = plan.and_then(|plan| plan.patterns.get(mask));
        (rule.map_or(u16::MAX, |rule| strictness(&rule.method)), Reverse(mask))
    };
    if rank(one) >= rank(other) { one } else { other }
}
