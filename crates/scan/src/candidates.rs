//! The filter's candidates, each walked to the ends of the matches that start there.

use weir_policy::table;

use crate::automaton::{Automaton, forward_nfa};
use crate::ends::{Unfinished, ends};
use crate::filter::{self, Filter, MAX_FILTERED};
use crate::run::LeadingRun;
use crate::scanner::{Hit, UNKNOWN};
use crate::{Dialect, Error};

/// Bytes that may be walked for each byte of a text before the engine is asked instead, and as many for any text.
const WALKED_A_BYTE: usize = 2;
const WALKED_AT_LEAST: usize = 256;
/// What a candidate costs beside the walk, in bytes of it.
const CANDIDATE_COST: usize = 8;

/// The patterns of one database that have a filter.
pub(crate) struct Candidates {
    filter: Filter,
    /// By the pattern's number; `None` for one without a filter.
    walks: Vec<Option<Walk>>,
}

/// How a pattern's candidates are looked into.
struct Walk {
    automaton: Automaton,
    begins: Begins,
}

/// Where a match begins of which a candidate is known.
enum Begins {
    There,
    /// A relaxed pattern's, by its leading run.
    Run(LeadingRun),
    /// A relaxed pattern's, to be sought from the match's end.
    Elsewhere,
}

/// Whether a filter can stand in front of an expression: the database then need not see every text for its sake.
pub fn filters(text: &str, relaxed: bool) -> bool {
    in_database(text, relaxed).is_ok_and(|text| filter::is_worth_while(&text))
}

impl Candidates {
    /// # Errors
    /// The table calls a pattern filtered that is not to be, or too many of them: another compiler made it.
    pub(crate) fn new(patterns: &[table::Pattern]) -> Result<Self, Error> {
        if patterns.iter().filter(|pattern| pattern.filtered).count() > MAX_FILTERED {
            return Err(Error::Unfiltered);
        }
        let mut walks = Vec::new();
        let mut texts = Vec::new();
        for (index, pattern) in patterns.iter().enumerate() {
            if !pattern.filtered {
                walks.push(None);
                continue;
            }
            let wrong = |reason| Error::Pattern { index, reason };
            let text = in_database(&pattern.text, pattern.relaxed).map_err(wrong)?;
            if !pattern.starts || !filter::is_worth_while(&text) {
                return Err(Error::Unfiltered);
            }
            let automaton = Automaton::new(forward_nfa(&text).map_err(wrong)?).map_err(wrong)?;
            let begins = match LeadingRun::of(&pattern.text) {
                _ if !pattern.relaxed => Begins::There,
                Some(run) => Begins::Run(run),
                None => Begins::Elsewhere,
            };
            walks.push(Some(Walk { automaton, begins }));
            texts.push((u32::try_from(index).map_err(|_| Error::Unfiltered)?, text));
        }
        let filter = Filter::new(&texts).map_err(|reason| Error::Pattern { index: 0, reason })?;
        Ok(Self { filter, walks })
    }

    /// Appends every match of the filtered patterns, more than one start for an end where there are more. Those whose start
    /// is [`UNKNOWN`] are matches of their pattern's relaxed form.
    ///
    /// # Errors
    /// There are so many candidates that another way is better; what was appended is not all.
    pub(crate) fn find(&self, text: &[u8], hits: &mut Vec<Hit>) -> Result<(), Unfinished> {
        let mut budget = text.len() * WALKED_A_BYTE + WALKED_AT_LEAST;
        self.filter.candidates(text, |pattern, at| {
            budget = budget.checked_sub(CANDIDATE_COST).ok_or(Unfinished)?;
            let Some(Some(walk)) = self.walks.get(pattern as usize) else { return Ok(()) };
            let start = match &walk.begins {
                Begins::There => at,
                Begins::Elsewhere => UNKNOWN,
                Begins::Run(run) => {
                    let Some(start) = run.start(text, at) else { return Ok(()) };
                    budget = budget.checked_sub(at - start).ok_or(Unfinished)?;
                    start
                }
            };
            ends(&walk.automaton, text, at, &mut budget, |end| hits.push(Hit { end, pattern, start }))
        })
    }
}

/// The expression that stands in the database.
fn in_database(text: &str, relaxed: bool) -> Result<String, String> {
    if !relaxed {
        return Ok(text.to_owned());
    }
    let dialect = Dialect::parse(text).map_err(|error| error.to_string())?;
    Ok(dialect.relaxed.ok_or("it has no relaxed form")?)
}
