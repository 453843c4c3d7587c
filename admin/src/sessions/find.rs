//! Finding sessions and events without reading all of them: a sealed segment's index says which of its blocks can hold what is
//! asked for, by clear session ids and times and by keyed tokens. Whatever has no such index is read in full.
//!
//! The index only saves reading: every event that is shown was asked itself. It is believed as far as its segment is; what
//! somebody did to either, `verify` tells.

use std::collections::{BTreeSet, HashSet};
use std::path::Path;

use anyhow::Result;
use weir_segment::{Body, Field, Head, Index, Reader, SessionId, words};

use super::files::{self, Told};
use super::filter::SessionFilter;

/// What is wanted of a directory. The default is everything.
#[derive(Debug, Default)]
pub(super) struct Wanted {
    /// Events of these sessions; `None`: of any, and of none.
    pub sessions: Option<HashSet<SessionId>>,
    /// Requests that have all of these words.
    pub requests: Vec<(Field, String)>,
    /// Microseconds since the Unix epoch: from, and before.
    pub since_unix_us: Option<i64>,
    pub until_unix_us: Option<i64>,
}

/// Blocks of a segment: where each begins and the next one does.
pub(super) type Blocks = Vec<(u64, u64)>;

impl Wanted {
    pub(super) fn of_session(session: SessionId) -> Self {
        Self { sessions: Some(HashSet::from([session])), ..Self::default() }
    }

    pub(super) fn at(sessions: Option<HashSet<SessionId>>, filter: &SessionFilter) -> Self {
        Self { sessions, since_unix_us: filter.since, until_unix_us: filter.until, ..Self::default() }
    }

    /// Calls `visit` for every event that is wanted, in order; the answer is whether all that is there could be read.
    pub(super) fn walk(
        &self,
        dir: &Path,
        told: Told,
        mut visit: impl FnMut(&Head, &Body<'_>) -> Result<()>,
    ) -> Result<bool> {
        let select = |reader: &mut Reader<files::Input>| self.blocks(reader);
        files::walk_blocks(dir, told, select, |head, body| {
            if self.is_wanted(head, body) { visit(head, body) } else { Ok(()) }
        })
    }

    /// The same of the sessions' openings alone, without a word: each is in the first block of its session.
    pub(super) fn walk_openings(
        &self,
        dir: &Path,
        mut visit: impl FnMut(&Head, &Body<'_>) -> Result<()>,
    ) -> Result<bool> {
        let select = |reader: &mut Reader<files::Input>| self.openings(reader);
        files::walk_blocks(dir, Told::Elsewhere, select, |head, body| {
            let opens = matches!(body, Body::SessionOpen(_)) && self.is_wanted(head, body);
            if opens { visit(head, body) } else { Ok(()) }
        })
    }

    /// The blocks that begin the sessions which are wanted and opened in this segment.
    fn openings(&self, reader: &mut Reader<files::Input>) -> Option<Blocks> {
        let (statement, _) = reader.seal().ok()??;
        let index = reader.index().ok()?;
        let opened = index.sessions.iter().filter(|entry| {
            entry.opened_here
                && self.sessions.as_ref().is_none_or(|sessions| sessions.contains(&entry.session))
        });
        let mut chosen = vec![true; index.blocks.len()];
        keep(&mut chosen, opened.filter_map(|entry| index.blocks_of(entry.session).next()));
        Some(ranges(&index, &chosen, statement.index_offset))
    }

    fn is_wanted(&self, head: &Head, body: &Body<'_>) -> bool {
        self.sessions.as_ref().is_none_or(|sessions| sessions.contains(&head.session))
            && self.since_unix_us.is_none_or(|since| head.wall_unix_us >= since)
            && self.until_unix_us.is_none_or(|until| head.wall_unix_us < until)
            && has_all(&self.requests, body)
    }

    /// The blocks that can hold what is wanted; `None`: there is no telling.
    fn blocks(&self, reader: &mut Reader<files::Input>) -> Option<Blocks> {
        if self.sessions.is_none()
            && self.requests.is_empty()
            && self.since_unix_us.is_none()
            && self.until_unix_us.is_none()
        {
            return None;
        }
        let (statement, _) = reader.seal().ok()??;
        let index = reader.index().ok()?;
        let mut chosen: Vec<bool> = index.blocks.iter().map(|block| self.is_in_time(block)).collect();
        if let Some(sessions) = &self.sessions {
            let held = index.sessions.iter().filter(|entry| sessions.contains(&entry.session));
            keep(&mut chosen, held.flat_map(|entry| index.blocks_of(entry.session)));
        }
        for (field, value) in self.requests.iter().filter(|_| statement.lists_words) {
            keep(&mut chosen, index.blocks_with(reader.token(*field, value)?));
        }
        Some(ranges(&index, &chosen, statement.index_offset))
    }

    fn is_in_time(&self, block: &weir_segment::Block) -> bool {
        self.since_unix_us.is_none_or(|since| block.latest_unix_us >= since)
            && self.until_unix_us.is_none_or(|until| block.earliest_unix_us < until)
    }
}

/// Leaves those that are among `numbers`.
fn keep(chosen: &mut [bool], numbers: impl Iterator<Item = u32>) {
    let mut held = vec![false; chosen.len()];
    for number in numbers {
        if let Some(held) = held.get_mut(number as usize) {
            *held = true;
        }
    }
    chosen.iter_mut().zip(held).for_each(|(chosen, held)| *chosen &= held);
}

/// Neighbours are read in one go.
fn ranges(index: &Index, chosen: &[bool], end: u64) -> Blocks {
    let ends = index.blocks.iter().skip(1).map(|block| block.offset).chain([end]);
    let blocks = index.blocks.iter().map(|block| block.offset).zip(ends).zip(chosen);
    let mut ranges: Blocks = Vec::new();
    for ((from, to), _) in blocks.filter(|(_, chosen)| **chosen) {
        match ranges.last_mut().filter(|last| last.1 == from) {
            Some(last) => last.1 = to,
            None => ranges.push((from, to)),
        }
    }
    ranges
}

fn has_all(wanted: &[(Field, String)], body: &Body<'_>) -> bool {
    if wanted.is_empty() {
        return true;
    }
    let mut left: Vec<_> = wanted.iter().collect();
    words(body, &mut |field, value| left.retain(|(wanted, text)| (*wanted, text.as_str()) != (field, value)));
    left.is_empty()
}

/// Ids of all sessions, without a word about what cannot be read: they are clear, and the command reads the directory again.
pub(super) fn ids(dir: &Path) -> Result<Vec<SessionId>> {
    let mut ids = BTreeSet::new();
    for path in files::segments(dir)? {
        let Ok(mut reader) = Reader::new(files::open(&path)?) else { continue };
        match reader.seal().and_then(|sealed| sealed.map(|_| reader.index()).transpose()) {
            Ok(Some(index)) => {
                let here = index.sessions.iter().filter(|entry| entry.events > 0);
                ids.extend(here.map(|entry| entry.session));
            }
            Ok(None) | Err(_) => {
                let _ = files::heads(&path, |head| {
                    ids.insert(head.session);
                });
            }
        }
    }
    ids.remove(&SessionId::NONE);
    Ok(ids.into_iter().collect())
}

/// The sessions whose opening has all of these words; and whether all that is there could be read. Without words: `None`,
/// which is all of them.
pub(super) fn sessions(dir: &Path, wanted: &[(Field, String)]) -> Result<(Option<HashSet<SessionId>>, bool)> {
    if wanted.is_empty() {
        return Ok((None, true));
    }
    let mut found = HashSet::new();
    let select = |reader: &mut Reader<files::Input>| {
        found.extend(opened(reader, wanted)?);
        Some(Blocks::new())
    };
    let mut read = HashSet::new();
    let whole = files::walk_blocks(dir, Told::OnStderr, select, |head, body| {
        if matches!(body, Body::SessionOpen(_)) && has_all(wanted, body) {
            read.insert(head.session);
        }
        Ok(())
    })?;
    found.extend(read);
    Ok((Some(found), whole))
}

/// By the index of a segment that lists its words.
fn opened(reader: &mut Reader<files::Input>, wanted: &[(Field, String)]) -> Option<HashSet<SessionId>> {
    let (statement, _) = reader.seal().ok()??;
    let index = reader.index().ok().filter(|_| statement.lists_words)?;
    let mut found: Option<HashSet<SessionId>> = None;
    for (field, value) in wanted {
        let with: HashSet<_> =
            index.sessions_with(reader.token(*field, value)?).map(|entry| entry.session).collect();
        found = Some(match found {
            None => with,
            Some(found) => found.intersection(&with).copied().collect(),
        });
    }
    found
}
