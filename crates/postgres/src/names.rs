//! Prepared statements and portals by name: what each name may mean upstream, now and once everything sent is answered.
//!
//! A name's `live` meaning is exact as of the last answer. What was sent and not yet answered is `pending`. Whoever
//! must know what a name means *when a message now being sent runs* asks for its candidates: one, wherever the same
//! sync group gave it its meaning (then the message runs only if that succeeded), all that are possible otherwise.

use std::cell::{Cell, RefCell};
use std::collections::{HashMap, VecDeque};
use std::rc::Rc;

use weir_policy::Facts;

/// A name's place in a table, valid until the table is swept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Slot(u32);

/// The server keeps this much of a name, so two names that agree so far are one.
const NAME_BYTES: usize = 63;

fn key(name: &[u8]) -> &[u8] {
    name.get(..NAME_BYTES).unwrap_or(name)
}

/// One text that was parsed, by protocol or by `PREPARE`.
#[derive(Debug, Default)]
pub(crate) struct Statement {
    text: Vec<u8>,
    pub(crate) facts: Rc<Facts>,
    /// Body of its RowDescription, once the upstream gave one; empty before.
    pub(crate) columns: RefCell<Vec<u8>>,
    /// The sync group in which the client last asked for it.
    pub(crate) described_in: Cell<u64>,
    /// Bytes of all texts of the session, this one's included.
    kept: Rc<Cell<usize>>,
}

impl Statement {
    pub(crate) fn text(&self) -> &[u8] {
        &self.text
    }

    fn fill(&mut self, text: &[u8], facts: Rc<Facts>) {
        self.kept.set(self.kept.get() + text.len() - self.text.len());
        self.text.clear();
        self.text.extend_from_slice(text);
        self.facts = facts;
        self.columns.get_mut().clear();
        self.described_in.set(0);
    }
}

impl Drop for Statement {
    fn drop(&mut self) {
        self.kept.set(self.kept.get() - self.text.len());
    }
}

/// Makes statements, reusing the memory of ones that are gone.
#[derive(Debug, Default)]
pub(crate) struct StatementPool {
    kept: Rc<Cell<usize>>,
    spare: Vec<Rc<Statement>>,
}

impl StatementPool {
    /// Bytes of all texts that are kept.
    pub(crate) fn bytes(&self) -> usize {
        self.kept.get()
    }

    pub(crate) fn make(&mut self, text: &[u8], facts: Rc<Facts>) -> Rc<Statement> {
        if let Some(mut spare) = self.spare.pop()
            && let Some(statement) = Rc::get_mut(&mut spare)
        {
            statement.fill(text, facts);
            return spare;
        }
        let mut statement = Statement::default();
        statement.kept = Rc::clone(&self.kept);
        statement.fill(text, facts);
        Rc::new(statement)
    }

    /// Takes back one that may be used no more.
    pub(crate) fn retire(&mut self, statement: Option<Rc<Statement>>) {
        const SPARE: usize = 4;
        const SPARE_BYTES: usize = 4 * 1024;
        if let Some(statement) = statement
            && Rc::strong_count(&statement) == 1
            && self.spare.len() < SPARE
            && statement.text.capacity() <= SPARE_BYTES
        {
            self.spare.push(statement);
        }
    }
}

/// One name's meanings.
#[derive(Debug)]
struct Entry<T> {
    name: Box<[u8]>,
    live: Option<T>,
    /// May be live as well, each with the sync group in which it was sent: made by SQL that may have done more, or not
    /// have come so far.
    loose: Vec<(u64, T)>,
    /// With the sync group that each was sent in.
    pending: VecDeque<(u64, T)>,
}

impl<T> Entry<T> {
    fn new(name: &[u8]) -> Self {
        Self { name: name.into(), live: None, loose: Vec::new(), pending: VecDeque::new() }
    }

    fn is_empty(&self) -> bool {
        self.live.is_none() && self.loose.is_empty() && self.pending.is_empty()
    }
}

/// Names of one kind. The unnamed one is [`Names::UNNAMED`], without a lookup.
#[derive(Debug)]
pub(crate) struct Names<T> {
    by_name: HashMap<Box<[u8]>, u32>,
    entries: Vec<Entry<T>>,
    free: Vec<u32>,
    /// Entries that may have become empty since the last sweep.
    emptied: Vec<u32>,
}

impl<T> Default for Names<T> {
    fn default() -> Self {
        Self {
            by_name: HashMap::new(),
            entries: vec![Entry::new(b"")],
            free: Vec::new(),
            emptied: Vec::new(),
        }
    }
}

impl<T> Names<T> {
    pub(crate) const UNNAMED: Slot = Slot(0);

    pub(crate) fn find(&self, name: &[u8]) -> Option<Slot> {
        if name.is_empty() {
            return Some(Self::UNNAMED);
        }
        self.by_name.get(key(name)).map(|slot| Slot(*slot))
    }

    pub(crate) fn find_or_add(&mut self, name: &[u8]) -> Slot {
        if let Some(slot) = self.find(name) {
            return slot;
        }
        let name = key(name);
        let slot = self.free.pop().unwrap_or_else(|| {
            self.entries.push(Entry::new(b""));
            u32::try_from(self.entries.len() - 1).unwrap_or(u32::MAX)
        });
        if let Some(entry) = self.entries.get_mut(slot as usize) {
            entry.name = name.into();
        }
        self.by_name.insert(name.into(), slot);
        self.emptied.push(slot);
        Slot(slot)
    }

    fn entry(&self, slot: Slot) -> Option<&Entry<T>> {
        self.entries.get(slot.0 as usize)
    }

    fn entry_mut(&mut self, slot: Slot) -> Option<&mut Entry<T>> {
        self.entries.get_mut(slot.0 as usize)
    }

    /// How many names are in use.
    pub(crate) fn len(&self) -> usize {
        self.by_name.len()
    }

    /// What the name means upstream as of the last answer.
    pub(crate) fn live(&self, slot: Slot) -> Option<&T> {
        self.entry(slot)?.live.as_ref()
    }

    pub(crate) fn live_mut(&mut self, slot: Slot) -> Option<&mut T> {
        self.entry_mut(slot)?.live.as_mut()
    }

    /// Everything the name may mean when a message of `group`, sent now, runs; the likeliest last.
    pub(crate) fn candidates(&self, slot: Slot, group: u64) -> impl DoubleEndedIterator<Item = &T> {
        let entry = self.entry(slot);
        let exact = entry
            .filter(|entry| entry.loose.iter().all(|(sent, _)| *sent < group))
            .and_then(|entry| entry.pending.back())
            .filter(|(sent, _)| *sent == group);
        let others = entry.filter(|_| exact.is_none()).into_iter().flat_map(|entry| {
            let pending = entry.pending.iter().map(|(_, meaning)| meaning);
            entry.loose.iter().map(|(_, meaning)| meaning).chain(&entry.live).chain(pending)
        });
        others.chain(exact.map(|(_, meaning)| meaning))
    }

    /// The one meaning, where only one is possible.
    pub(crate) fn exact(&self, slot: Slot, group: u64) -> Option<&T> {
        let mut candidates = self.candidates(slot, group);
        candidates.next().filter(|_| candidates.next().is_none())
    }

    /// As [`Self::exact`], for what is sent in `group` itself.
    pub(crate) fn exact_mut(&mut self, slot: Slot, group: u64) -> Option<&mut T> {
        self.exact(slot, group)?;
        let entry = self.entry_mut(slot)?;
        match entry.pending.back_mut() {
            Some((_, meaning)) => Some(meaning),
            None => entry.live.as_mut().or(entry.loose.last_mut().map(|(_, meaning)| meaning)),
        }
    }

    /// The message that gives the name this meaning was sent.
    pub(crate) fn sent(&mut self, slot: Slot, group: u64, meaning: T) {
        if let Some(entry) = self.entry_mut(slot) {
            entry.pending.push_back((group, meaning));
        }
    }

    /// It succeeded: the name means this and nothing else. Returns what is no longer needed.
    pub(crate) fn succeeded(&mut self, slot: Slot) -> Option<T> {
        let entry = self.entry_mut(slot)?;
        let (group, meaning) = entry.pending.pop_front()?;
        // It would have failed had the name meant anything then.
        entry.loose.retain(|(sent, _)| *sent >= group);
        entry.live.replace(meaning)
    }

    /// It failed, or was skipped: whatever the name meant before, it still does.
    pub(crate) fn failed(&mut self, slot: Slot) -> Option<T> {
        self.emptied.push(slot.0);
        self.entry_mut(slot)?.pending.pop_front().map(|(_, meaning)| meaning)
    }

    /// The name means nothing now, but for what is pending. `settled`: nothing was sent after what closed it.
    pub(crate) fn closed(&mut self, slot: Slot, settled: bool) -> Option<T> {
        self.emptied.push(slot.0);
        let entry = self.entry_mut(slot)?;
        if settled {
            entry.loose.clear();
        }
        entry.live.take()
    }

    /// No name means anything now, but for what is pending. `settled` as above; `gone` gets what is no longer needed.
    pub(crate) fn all_closed(&mut self, settled: bool, mut gone: impl FnMut(T)) {
        for slot in 0..u32::try_from(self.entries.len()).unwrap_or(u32::MAX) {
            if let Some(meaning) = self.closed(Slot(slot), settled) {
                gone(meaning);
            }
        }
    }

    /// Calls `each` for everything the name may mean, now or once what was sent is answered.
    pub(crate) fn for_each_meaning(&mut self, slot: Slot, mut each: impl FnMut(&mut T)) {
        let Some(entry) = self.entry_mut(slot) else { return };
        let sent = entry.loose.iter_mut().chain(&mut entry.pending).map(|(_, meaning)| meaning);
        sent.chain(&mut entry.live).for_each(&mut each);
    }

    /// SQL that may give the name this meaning was sent. False where the name may mean too many things already.
    #[must_use]
    pub(crate) fn may_mean(
        &mut self,
        slot: Slot,
        group: u64,
        meaning: T,
        same: impl Fn(&T, &T) -> bool,
    ) -> bool {
        const LOOSE: usize = 16;
        let Some(entry) = self.entry_mut(slot) else { return false };
        if let Some((sent, _)) = entry.loose.iter_mut().find(|(_, known)| same(known, &meaning)) {
            *sent = group;
            return true;
        }
        if entry.loose.len() >= LOOSE {
            return false;
        }
        entry.loose.push((group, meaning));
        true
    }

    /// SQL that does nothing else gave the name this meaning, so it was free before.
    pub(crate) fn means(&mut self, slot: Slot, is: impl Fn(&T) -> bool) {
        let Some(entry) = self.entry_mut(slot) else { return };
        if let Some(at) = entry.loose.iter().position(|(_, meaning)| is(meaning)) {
            let (group, meaning) = entry.loose.remove(at);
            entry.loose.retain(|(sent, _)| *sent >= group);
            entry.live = Some(meaning);
        }
    }

    /// Gives up names without a meaning. Only while no message that holds a slot is unanswered.
    pub(crate) fn sweep(&mut self) {
        while let Some(slot) = self.emptied.pop() {
            let Some(entry) = self.entries.get_mut(slot as usize) else { continue };
            if slot != Self::UNNAMED.0 && entry.is_empty() && self.by_name.remove(&entry.name).is_some() {
                entry.name = Box::default();
                self.free.push(slot);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Numbers = Names<u32>;

    fn candidates(names: &Numbers, slot: Slot, group: u64) -> Vec<u32> {
        names.candidates(slot, group).copied().collect()
    }

    #[test]
    fn a_name_redefined_in_a_pipeline_may_mean_either() {
        let mut names = Numbers::default();
        let slot = names.find_or_add(b"s");
        names.sent(slot, 1, 10);
        names.succeeded(slot);
        names.sent(slot, 2, 20);
        // Within the group that sent it the answer is certain, in a later one it is not.
        assert_eq!(candidates(&names, slot, 2), [20]);
        assert_eq!(candidates(&names, slot, 3), [10, 20]);
        assert_eq!(names.exact(slot, 3), None);
        names.failed(slot);
        assert_eq!(candidates(&names, slot, 3), [10]);
    }

    #[test]
    fn closing_and_sweeping_gives_the_slot_to_another_name() {
        let mut names = Numbers::default();
        let first = names.find_or_add(b"a");
        names.sent(first, 1, 1);
        names.succeeded(first);
        names.sweep();
        assert_eq!(names.find(b"a"), Some(first));
        assert_eq!(names.closed(first, true), Some(1));
        names.sweep();
        assert_eq!((names.find(b"a"), names.len()), (None, 0));
        assert_eq!(names.find_or_add(b"b"), first);
    }

    #[test]
    fn names_that_the_server_cannot_tell_apart_are_one() {
        let mut names = Numbers::default();
        let long = [b'x'; 70];
        let slot = names.find_or_add(&long);
        assert_eq!(names.find(&long[..63]), Some(slot));
        assert_eq!(names.find(&long[..62]), None);
        assert_eq!(names.find(b""), Some(Numbers::UNNAMED));
    }

    #[test]
    fn sql_that_prepares_leaves_every_meaning_possible_until_one_is_certain() {
        let mut names = Numbers::default();
        let slot = names.find_or_add(b"s");
        let same = |a: &u32, b: &u32| a == b;
        assert!(names.may_mean(slot, 1, 1, same) && names.may_mean(slot, 1, 2, same));
        assert!(names.may_mean(slot, 1, 1, same));
        assert_eq!(candidates(&names, slot, 1), [1, 2]);
        assert!(names.may_mean(slot, 2, 3, same));
        names.means(slot, |meaning| *meaning == 3);
        assert_eq!(candidates(&names, slot, 3), [3]);
        assert!((0..16).all(|n| names.may_mean(slot, 3, 100 + n, same)));
        assert!(!names.may_mean(slot, 3, 200, same));
    }

    #[test]
    fn what_sql_may_have_prepared_after_a_parse_of_the_same_group_counts() {
        let mut names = Numbers::default();
        let slot = names.find_or_add(b"s");
        names.sent(slot, 5, 1);
        assert!(names.may_mean(slot, 5, 2, |a, b| a == b));
        assert_eq!(candidates(&names, slot, 5), [2, 1]);
        names.succeeded(slot);
        assert_eq!(candidates(&names, slot, 5), [2, 1]);
    }
}
