//! `Scanner` on Hyperscan. The database is shared by all threads; work space is one a thread, whatever it scans with.

use std::cell::RefCell;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use weir_policy::{PatternIndex, ScanError, Scanner};

use crate::Error;
use crate::engine::{self, Database, Scratch};
use crate::start::StartFinder;

/// Hyperscan's own code for work space that is in use. Cannot happen: nothing of ours runs during a scan.
const SCRATCH_IN_USE: i32 = -10;
/// How many databases a thread remembers having fitted its work space to. More cost a repeated fitting, nothing else.
const REMEMBERED: usize = 16;
/// Room for hits that a thread keeps between scans; more is given back. 16 bytes each.
const KEPT_HITS: usize = 16_384;

static SCANNERS: AtomicU64 = AtomicU64::new(1);

thread_local! {
    static WORK: RefCell<Work> = RefCell::default();
}

#[derive(Default)]
struct Work {
    scratch: Scratch,
    fitted: Vec<u64>,
    /// End and pattern. Taken out while its hits are handed on.
    hits: Vec<(usize, u32)>,
}

impl Work {
    fn fit(&mut self, scanner: &HyperscanScanner) -> Result<(), ScanError> {
        if self.fitted.contains(&scanner.id) {
            return Ok(());
        }
        if self.fitted.len() >= REMEMBERED {
            self.fitted.clear();
        }
        let fitted = self.scratch.fit(&scanner.database);
        match fitted {
            Ok(()) => self.fitted.push(scanner.id),
            // Out of memory: there may be no work space at all any more.
            Err(_) => self.fitted.clear(),
        }
        fitted
    }
}

/// One compiled database and the start finders of its patterns.
pub struct HyperscanScanner {
    id: u64,
    database: Database,
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
    /// Loads a database from a verified bundle.
    ///
    /// # Errors
    /// The operator's to mend: the database is damaged, of another version or for another CPU.
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
        Ok(Self {
            id: SCANNERS.fetch_add(1, Ordering::Relaxed),
            database: Database::deserialize(database.bytes)?,
            patterns: database.patterns.iter().enumerate().map(pattern).collect::<Result<_, Error>>()?,
        })
    }

    fn pattern(&self, index: PatternIndex) -> Option<&Pattern> {
        self.patterns.get(index.0 as usize)
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
    /// Hits are collected first: Hyperscan reports them in order only within one of its internal engines. So `hit` may
    /// scan again, and may panic.
    fn scan(&self, text: &[u8], hit: &mut dyn FnMut(PatternIndex, usize)) -> Result<(), ScanError> {
        let mut hits = WORK.with(|work| {
            let mut work = work.try_borrow_mut().map_err(|_| ScanError(SCRATCH_IN_USE))?;
            let work = &mut *work;
            let mut hits = std::mem::take(&mut work.hits);
            hits.clear();
            work.fit(self)?;
            engine::scan(&self.database, &mut work.scratch, text, &mut |id, end| hits.push((end, id)))?;
            Ok(hits)
        })?;
        if !hits.is_sorted() {
            hits.sort_unstable();
        }
        hits.dedup();
        for (end, id) in &hits {
            let pattern = PatternIndex(*id);
            let is_match = !self.pattern(pattern).is_some_and(|it| it.relaxed)
                || self.start(pattern, text, *end).is_some();
            if is_match {
                hit(pattern, *end);
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
