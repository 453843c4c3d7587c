//! Finds in one fast pass where matches may start, so that nothing else has to look at most of a text.
//!
//! What it looks for is derived here from each expression alone, when a bundle is compiled and again when it is loaded:
//! a bundle cannot bring a filter of its own. A candidate is no match yet; what is no candidate is no start of one.

mod groups;
mod nibbles;
mod odds;
mod search;
mod shape;
mod ways;

use crate::automaton::forward_nfa_of;
use search::Pass;
use shape::Shape;

/// As many patterns are filtered in one database; each pass tells few of them apart.
pub const MAX_FILTERED: usize = 32;

/// Chance of a candidate at a position, over several kinds of text, beyond which a filter saves nothing.
const USELESS: f32 = 1.0 / 40.0;
/// A chance that is not worth taking an expression apart for.
const SHARP: f32 = 1.0 / 1_024.0;
/// Shapes of one expression, and of all together.
const MAX_WAYS: usize = 8;
const MAX_SHAPES: usize = 64;

/// Whether candidates for the expression are rare enough.
pub(crate) fn is_worth_while(text: &str) -> bool {
    let shapes = shapes(text, MAX_WAYS).unwrap_or_default();
    !shapes.is_empty()
        && shapes.iter().all(|shape| !shape.bytes.is_empty())
        && groups::rate(&shapes) < USELESS
}

/// Every match has one of them.
fn shapes(text: &str, most: usize) -> Result<Vec<Shape>, String> {
    let of = |most| -> Result<Vec<Shape>, String> {
        ways::ways(text, most)?.iter().map(|way| Ok(Shape::of(&forward_nfa_of(way)?))).collect()
    };
    let whole = of(1)?;
    if most == 1 || groups::rate(&whole) < SHARP {
        return Ok(whole);
    }
    let apart = of(most)?;
    Ok(if groups::rate(&apart) < groups::rate(&whole) / 2.0 { apart } else { whole })
}

/// Of several patterns together.
#[derive(Debug)]
pub(crate) struct Filter(Vec<Pass>);

impl Filter {
    /// Each pattern with a number of the caller's choice.
    ///
    /// # Errors
    /// A text is no expression.
    pub(crate) fn new(patterns: &[(u32, String)]) -> Result<Self, String> {
        let most = (MAX_SHAPES / patterns.len().max(1)).clamp(1, MAX_WAYS);
        let mut all = Vec::new();
        for (number, text) in patterns {
            all.extend(shapes(text, most)?.into_iter().map(|shape| (*number, shape)));
        }
        Ok(Self(groups::passes(&all)))
    }

    /// Calls `candidate(pattern, start)` for every place where a match of one of the patterns starts, and for some
    /// where none does. Ends where it fails.
    ///
    /// # Errors
    /// Those of `candidate`.
    pub(crate) fn candidates<E>(
        &self,
        text: &[u8],
        mut candidate: impl FnMut(u32, usize) -> Result<(), E>,
    ) -> Result<(), E> {
        self.0.iter().try_for_each(|pass| pass.search(text, &mut candidate))
    }
}
