//! What policy needs of a pattern engine. `scan` implements it on Hyperscan; tests implement it on plain regex.

use std::fmt::Debug;

/// Index of a pattern within its scanner.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PatternIndex(pub u32);

/// Patterns compiled together. One scanner is shared by all cores; scratch space is the implementation's matter.
pub trait Scanner: Debug + Send + Sync {
    /// Calls `hit(pattern, end)` for each match, `end` exclusive, in order of `end`. One match may be reported
    /// more than once, with several ends. Text edges count as word boundaries.
    ///
    /// # Errors
    /// The gateway's fault always; the caller must treat the text as matching everything.
    fn scan(&self, text: &[u8], hit: &mut dyn FnMut(PatternIndex, usize)) -> Result<(), ScanError>;

    /// As [`Self::scan`], with the leftmost start (as [`Self::start`] gives it) of each match where it is known already.
    ///
    /// # Errors
    /// As [`Self::scan`].
    fn find(
        &self,
        text: &[u8],
        hit: &mut dyn FnMut(PatternIndex, Option<usize>, usize),
    ) -> Result<(), ScanError> {
        self.scan(text, &mut |pattern, end| hit(pattern, None, end))
    }

    /// The leftmost start of `pattern`'s match that ends at `end`. `end` must come from `scan` over the same text;
    /// for any other the answer is `None`, and so it is where the pattern has no start finder.
    fn start(&self, pattern: PatternIndex, text: &[u8], end: usize) -> Option<usize>;

    /// Longest match of `pattern` in bytes; `None` where unbounded (such a pattern never rewrites).
    fn max_width(&self, pattern: PatternIndex) -> Option<usize>;
}

/// The engine failed on this text, by its own code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("pattern engine failed with code {0}")]
pub struct ScanError(pub i32);
