//! Finds what the plan's patterns match: one scanner call a text or batch, then work for each hit only.
//!
//! Hits are sparse, so a text without one costs the scanner call alone. The scanner gives ends; starts are
//! found here, `groups` validates and merges. It replaces nothing.

use memchr::memmem;
use weir_policy::{MaskPlan, PatternIndex, ScanError, Scanner};

use crate::groups::{Groups, SECRET};
use crate::{Cells, Found};

/// Ends of one unbounded pattern in one text whose starts are looked for; each may cost a walk over the whole text.
/// Beyond it a match counts as starting where the text does.
const UNBOUNDED_STARTS: usize = 64;

/// In the order in which they are worked on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Hit {
    end: usize,
    pattern: PatternIndex,
    /// Where the scanner knew it without being asked.
    start: Option<usize>,
}

/// The buffers of the search. One serves a session or a core; in steady state it allocates nothing.
#[derive(Debug, Default)]
pub struct Finder {
    hits: Vec<Hit>,
    pub(crate) found: Groups,
}

impl Finder {
    /// All ranges of `text` that the plan's patterns protect.
    ///
    /// # Errors
    /// The engine failed: the whole text counts as protected.
    pub fn find(&mut self, plan: &MaskPlan, text: &[u8]) -> Result<&[Found], ScanError> {
        self.found.clear();
        self.extend(Some(plan), None, text, 0, text.len())?;
        Ok(self.found.as_slice())
    }

    /// All ranges of all `cells` that the plan's patterns protect, by cell. A match never spans cells: the answer is
    /// the one that [`Self::find`] gives for each cell alone.
    ///
    /// # Errors
    /// The engine failed: every cell counts as protected.
    pub fn find_cells(&mut self, plan: &MaskPlan, cells: &Cells) -> Result<&[Found], ScanError> {
        self.found.clear();
        self.hits.clear();
        let Some(scanner) = self.scan(plan, cells.text())? else { return Ok(&[]) };
        self.hits.sort_unstable();
        let mut starts = Starts::default();
        let mut index = 0;
        for &Hit { end, pattern, start } in &self.hits {
            index = cells.containing(end, index);
            let (Some(cell), base) = (cells.get(index), cells.start(index)) else { continue };
            // Such a hit ends with the separator itself, so it lies in no cell.
            let Some(end_in_cell) = end.checked_sub(base).filter(|end| *end > 0) else { continue };
            let here = |start| Found { cell: index, start, end: end_in_cell, mask: SECRET };
            starts.enter(index);
            // Around a cell is what a text's edges count as, so a match within it is one of the cell alone.
            let start = match start.and_then(|start| start.checked_sub(base)) {
                Some(start) => Start::At(start),
                None => starts.of(scanner, pattern, cell, end_in_cell),
            };
            match start {
                Start::At(start) => self.found.push_valid(plan, pattern, cell, here(start)),
                // It begins in an earlier cell, and so it is no match of this one.
                Start::None if scanner.start(pattern, cells.text(), end).is_some_and(|at| at < base) => {}
                Start::None | Start::Unsought => {
                    self.found.push_all(plan, pattern, here(earliest(scanner, pattern, end_in_cell)));
                }
            }
        }
        Ok(self.found.as_slice())
    }

    /// Adds what ends in `after..=until` of `text` to what was found before; a stream calls it window by window.
    pub(crate) fn extend(
        &mut self,
        plan: Option<&MaskPlan>,
        secret: Option<&[u8]>,
        text: &[u8],
        after: usize,
        until: usize,
    ) -> Result<(), ScanError> {
        self.hits.clear();
        let scanner = match plan {
            Some(plan) => self.scan(plan, text)?,
            None => None,
        };
        self.hits.retain(|hit| hit.end > after && hit.end <= until);
        if let Some(secret) = secret {
            self.find_secret(secret, text, after, until);
        }
        self.hits.sort_unstable();
        let mut starts = Starts::default();
        for position in 0..self.hits.len() {
            let Some(&Hit { end, pattern, start }) = self.hits.get(position) else { break };
            let here = |start| Found { cell: 0, start, end, mask: SECRET };
            let (Some(plan), Some(scanner)) = (plan, scanner.filter(|_| pattern != SECRET_PATTERN)) else {
                self.found.merge(plan, here(start.unwrap_or_default()));
                continue;
            };
            match start.map_or_else(|| starts.of(scanner, pattern, text, end), Start::At) {
                Start::At(start) => self.found.push_valid(plan, pattern, text, here(start)),
                Start::None | Start::Unsought => {
                    self.found.push_all(plan, pattern, here(earliest(scanner, pattern, end)));
                }
            }
        }
        Ok(())
    }

    /// One scanner call; leaves the hits of the plan's patterns.
    fn scan<'p>(&mut self, plan: &'p MaskPlan, text: &[u8]) -> Result<Option<&'p dyn Scanner>, ScanError> {
        if plan.patterns.is_empty() || text.is_empty() {
            return Ok(None);
        }
        // A plan with patterns and no scanner is broken, so nothing of the text is known to be harmless.
        let scanner = plan.scanner.as_deref().ok_or(ScanError(i32::MIN))?;
        let hits = &mut self.hits;
        scanner.find(text, &mut |pattern, start, end| {
            let again = hits.last().is_some_and(|last| (last.end, last.pattern) == (end, pattern));
            if !again && plan.patterns.iter().any(|mask| mask.pattern == pattern) {
                hits.push(Hit { end, pattern, start });
            }
        })?;
        Ok(Some(scanner))
    }

    /// Every occurrence, overlapping ones included, so that the answer is the same for every cut of a stream.
    fn find_secret(&mut self, secret: &[u8], text: &[u8], after: usize, until: usize) {
        let mut from = (after + 1).saturating_sub(secret.len());
        while let Some(at) = text.get(from..until).and_then(|rest| memmem::find(rest, secret)) {
            let start = from + at;
            self.hits.push(Hit { end: start + secret.len(), pattern: SECRET_PATTERN, start: Some(start) });
            from += at + 1;
        }
    }
}

const SECRET_PATTERN: PatternIndex = PatternIndex(u32::MAX);

/// No match that ends at `end` starts earlier than this.
fn earliest(scanner: &dyn Scanner, pattern: PatternIndex, end: usize) -> usize {
    scanner.max_width(pattern).map_or(0, |width| end.saturating_sub(width))
}

enum Start {
    At(usize),
    /// The scanner knows of none.
    None,
    /// The bound on looking was reached.
    Unsought,
}

/// Looks starts up, with a bound on what one text or cell may cost.
#[derive(Default)]
struct Starts {
    cell: usize,
    unbounded: usize,
}

impl Starts {
    const fn enter(&mut self, cell: usize) {
        if self.cell != cell {
            self.cell = cell;
            self.unbounded = 0;
        }
    }

    fn of(&mut self, scanner: &dyn Scanner, pattern: PatternIndex, text: &[u8], end: usize) -> Start {
        if scanner.max_width(pattern).is_none() {
            self.unbounded += 1;
            if self.unbounded > UNBOUNDED_STARTS {
                return Start::Unsought;
            }
        }
        scanner.start(pattern, text, end).map_or(Start::None, Start::At)
    }
}
