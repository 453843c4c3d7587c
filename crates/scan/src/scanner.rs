//! `Scanner` on Hyperscan. The database is shared by all threads; work space is one a thread, whatever it scans with.

use std::cell::RefCell;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use weir_policy::{PatternIndex, ScanError, Scanner};

use crate::Error;
use crate::engine::{self, Database, Scratch};
use crate::start::StartFinder;

/// Hyperscan's own code for work space that is in use: a scan within a scan's callback.
const SCRATCH_IN_USE: i32 = -10;
/// How many databases a thread remembers having fitted its work space to. More cost a repeated fitting, nothing else.
const REMEMBERED: usize = 16;

static SCANNERS: AtomicU64 = AtomicU64::new(1);

thread_local! {
    static WORK: RefCell<Work> = RefCell::default();
}

#[derive(Default)]
struct Work {
    scratch: Scratch,
    fitted: Vec<u64>,
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
            let start = if pattern.starts {
                let finder = StartFinder::new(&pattern.text, max_width);
                Some(finder.map_err(|reason| Error::Pattern { index, reason })?)
            } else {
                None
            };
            Ok(Pattern { max_width, start })
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
    fn scan(&self, text: &[u8], hit: &mut dyn FnMut(PatternIndex, usize)) -> Result<(), ScanError> {
        WORK.with(|work| {
            let mut work = work.try_borrow_mut().map_err(|_| ScanError(SCRATCH_IN_USE))?;
            let work = &mut *work;
            if !work.fitted.contains(&self.id) {
                if work.fitted.len() >= REMEMBERED {
                    work.fitted.clear();
                }
                work.scratch.fit(&self.database)?;
                work.fitted.push(self.id);
            }
            engine::scan(&self.database, &mut work.scratch, text, &mut |id, end| hit(PatternIndex(id), end))
        })
    }

    fn start(&self, pattern: PatternIndex, text: &[u8], end: usize) -> Option<usize> {
        self.pattern(pattern)?.start.as_ref()?.start(text, end)
    }

    fn max_width(&self, pattern: PatternIndex) -> Option<usize> {
        self.pattern(pattern)?.max_width
    }
}
