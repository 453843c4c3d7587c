//! `Scanner`: a filter in front, exact automata at its candidates, and Hyperscan for what no filter fits.
//!
//! Three ways lead to the same hits: candidates walked one by one; Hyperscan over the patterns without a filter; and, for a
//! text with too many candidates, Hyperscan over all patterns. Databases are shared by all threads; work space is one a
//! thread, whatever it scans with.

use std::cell::RefCell;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use weir_policy::{PatternIndex, ScanError, Scanner};

use crate::Error;
use crate::candidates::Candidates;
use crate::engine::{self, Database, Scratch};
use crate::start::StartFinder;

/// Hyperscan's own code for work space that is in use. Cannot happen: nothing of ours runs during a scan.
const SCRATCH_IN_USE: i32 = -10;
/// Hyperscan's own code for an invalid argument: here, a database that numbers its patterns otherwise than its table.
const INVALID: i32 = -1;
/// How many databases a thread remembers having fitted its work space to. More cost a repeated fitting, nothing else.
const REMEMBERED: usize = 16;
/// Room for hits that a thread keeps between scans; more is given back. 24 bytes each.
const KEPT_HITS: usize = 16_384;

static DATABASES: AtomicU64 = AtomicU64::new(1);

thread_local! {
    static WORK: RefCell<Work> = RefCell::default();
}

#[derive(Default)]
struct Work {
    scratch: Scratch,
    fitted: Vec<u64>,
    /// Taken out while they are handed on.
    hits: Vec<Hit>,
}

/// In the order in which they are reported: by end, then by pattern; of equal ones the leftmost start first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Hit {
    pub(crate) end: usize,
    pub(crate) pattern: u32,
    /// [`UNKNOWN`] where it was not found on the way.
    pub(crate) start: usize,
}

/// No start: no text is that long.
pub(crate) const UNKNOWN: usize = usize::MAX;

impl Work {
    fn scan(
        &mut self,
        engine: &Engine,
        text: &[u8],
        hit: &mut dyn FnMut(u32, usize),
    ) -> Result<(), ScanError> {
        self.fit(engine)?;
        engine::scan(&engine.database, &mut self.scratch, text, hit)
    }

    fn fit(&mut self, engine: &Engine) -> Result<(), ScanError> {
        if self.fitted.contains(&engine.id) {
            return Ok(());
        }
        if self.fitted.len() >= REMEMBERED {
            self.fitted.clear();
        }
        let fitted = self.scratch.fit(&engine.database);
        match fitted {
            Ok(()) => self.fitted.push(engine.id),
            // Out of memory: there may be no work space at all any more.
            Err(_) => self.fitted.clear(),
        }
        fitted
    }
}

/// A database and the numbers of its patterns in the scanner.
struct Engine {
    id: u64,
    database: Database,
    patterns: Vec<u32>,
}

impl Engine {
    fn new(bytes: &[u8], patterns: Vec<u32>) -> Result<Self, Error> {
        let id = DATABASES.fetch_add(1, Ordering::Relaxed);
        Ok(Self { id, database: Database::deserialize(bytes)?, patterns })
    }
}

/// The patterns of one bundle section.
pub struct HyperscanScanner {
    /// Of all patterns.
    whole: Engine,
    /// Of those without a filter, where some have one and some have not.
    unfiltered: Option<Engine>,
    candidates: Option<Candidates>,
    patterns: Vec<Pattern>,
}

struct Pattern {
    max_width: Option<usize>,
    start: Option<StartFinder>,
    relaxed: bool,
}

impl fmt::Debug for HyperscanScanner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HyperscanScanner").field("patterns", &self.patterns.len()).finish_non_exhaustive()
    }
}

impl HyperscanScanner {
    /// Loads the databases of a verified bundle. Filters are made from the patterns' texts.
    ///
    /// # Errors
    /// The operator's to mend: a database is damaged, of another version or for another CPU, or the table says of a
    /// pattern what is not so.
    pub fn new(database: weir_policy::Database<'_>) -> Result<Self, Error> {
        let pattern = |(index, pattern): (usize, &weir_policy::table::Pattern)| {
            let max_width = pattern.max_width.map(|width| width as usize);
            let start = if pattern.starts || pattern.relaxed {
                let finder = StartFinder::new(&pattern.text, max_width);
                Some(finder.map_err(|reason| Error::Pattern { index, reason })?)
            } else {
                None
            };
            Ok(Pattern { max_width, start, relaxed: pattern.relaxed })
        };
        let numbered = || database.patterns.iter().zip(0..);
        let unfiltered: Vec<u32> =
            numbered().filter(|(it, _)| !it.filtered).map(|(_, number)| number).collect();
        let any_filtered = unfiltered.len() < database.patterns.len();
        let splits = any_filtered && !unfiltered.is_empty();
        if splits == database.unfiltered.is_empty() {
            return Err(Error::Unfiltered);
        }
        Ok(Self {
            whole: Engine::new(database.bytes, numbered().map(|(_, number)| number).collect())?,
            unfiltered: if splits { Some(Engine::new(database.unfiltered, unfiltered)?) } else { None },
            candidates: if any_filtered { Some(Candidates::new(database.patterns)?) } else { None },
            patterns: database.patterns.iter().enumerate().map(pattern).collect::<Result<_, Error>>()?,
        })
    }

    fn pattern(&self, index: PatternIndex) -> Option<&Pattern> {
        self.patterns.get(index.0 as usize)
    }

    /// Leaves all hits of `text`, those of relaxed patterns without a start unconfirmed, in no order and some more than once.
    fn collect(&self, text: &[u8], work: &mut Work, hits: &mut Vec<Hit>) -> Result<(), ScanError> {
        let mut left = Some(&self.whole);
        if let Some(candidates) = &self.candidates {
            match candidates.find(text, hits) {
                Ok(()) => left = self.unfiltered.as_ref(),
                // More candidates than are worth a look each: the engine's time does not depend on their number.
                Err(_) => hits.clear(),
            }
        }
        let Some(engine) = left else { return Ok(()) };
        let mut known = true;
        work.scan(engine, text, &mut |id, end| match engine.patterns.get(id as usize) {
            Some(pattern) => hits.push(Hit { end, pattern: *pattern, start: UNKNOWN }),
            None => known = false,
        })?;
        if known { Ok(()) } else { Err(ScanError(INVALID)) }
    }
}

/// Loads a database as [`weir_policy::LoadScanner`] wants it.
///
/// # Errors
/// As [`HyperscanScanner::new`].
pub fn load(
    database: weir_policy::Database<'_>,
) -> Result<Arc<dyn Scanner>, Box<dyn std::error::Error + Send + Sync>> {
    Ok(Arc::new(HyperscanScanner::new(database)?))
}

impl Scanner for HyperscanScanner {
    fn scan(&self, text: &[u8], hit: &mut dyn FnMut(PatternIndex, usize)) -> Result<(), ScanError> {
        self.find(text, &mut |pattern, _, end| hit(pattern, end))
    }

    /// Hits are collected first: Hyperscan reports them in order only within one of its internal engines. So `hit` may
    /// scan again, and may panic.
    fn find(
        &self,
        text: &[u8],
        hit: &mut dyn FnMut(PatternIndex, Option<usize>, usize),
    ) -> Result<(), ScanError> {
        let mut hits = WORK.with(|work| {
            let mut work = work.try_borrow_mut().map_err(|_| ScanError(SCRATCH_IN_USE))?;
            let mut hits = std::mem::take(&mut work.hits);
            hits.clear();
            self.collect(text, &mut work, &mut hits)?;
            Ok(hits)
        })?;
        if !hits.is_sorted() {
            hits.sort_unstable();
        }
        hits.dedup_by_key(|hit| (hit.end, hit.pattern));
        for found in &hits {
            let pattern = PatternIndex(found.pattern);
            if found.start == UNKNOWN && self.pattern(pattern).is_some_and(|it| it.relaxed) {
                if let Some(start) = self.start(pattern, text, found.end) {
                    hit(pattern, Some(start), found.end);
                }
            } else {
                hit(pattern, (found.start != UNKNOWN).then_some(found.start), found.end);
            }
        }
        if hits.capacity() <= KEPT_HITS {
            WORK.with(|work| {
                if let Ok(mut work) = work.try_borrow_mut() {
                    work.hits = hits;
                }
            });
        }
        Ok(())
    }

    fn start(&self, pattern: PatternIndex, text: &[u8], end: usize) -> Option<usize> {
        self.pattern(pattern)?.start.as_ref()?.start(text, end)
    }

    fn max_width(&self, pattern: PatternIndex) -> Option<usize> {
        self.pattern(pattern)?.max_width
    }
}
