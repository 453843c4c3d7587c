//! A core's facts by full text, bounded in bytes and shared fairly between those who fill it.
//!
//! Looked up by hash *and* comparison, never by hash alone. It knows nothing of sessions or policy, and is
//! not shared between threads.

use std::collections::{HashMap, VecDeque};
use std::rc::Rc;

use foldhash::fast::RandomState;
use weir_policy::Facts;

use crate::{analyse, size};

/// What a cache may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Everything held, in bytes: texts, facts and an estimate of the bookkeeping.
    pub bytes: usize,
    /// Texts longer than this, in bytes, are analysed each time and not kept.
    pub text_bytes: usize,
    /// One owner's share, in bytes, once the cache is full. While there is room, anyone may use it.
    pub owner_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { bytes: 8 << 20, text_bytes: 16 << 10, owner_bytes: 1 << 20 }
    }
}

/// Bytes of bookkeeping an entry costs besides its text and facts: map slot, slab slot, queue slot, counts.
const ENTRY_OVERHEAD_BYTES: usize = 192;

/// Facts by text. One a core.
pub struct Cache {
    limits: Limits,
    next_id: u64,
    bytes: usize,
    slots: HashMap<Rc<[u8]>, usize, RandomState>,
    entries: Vec<Option<Entry>>,
    free: Vec<usize>,
    owners: HashMap<u64, Owner, RandomState>,
    /// Owners above their share, at most `bytes / owner_bytes` of them: whom a full cache takes room from first.
    over: Vec<u64>,
    /// Where the search for room goes on when nobody is above their share.
    hand: usize,
}

struct Entry {
    text: Rc<[u8]>,
    facts: Rc<Facts>,
    owner: u64,
    bytes: usize,
    /// Asked for since it was last considered for eviction.
    used: bool,
}

/// What one owner brought in, oldest first. Ids tell a queued slot from its later re-use.
#[derive(Default)]
struct Owner {
    bytes: usize,
    live: usize,
    queue: VecDeque<(usize, u64)>,
}

impl Cache {
    /// An empty cache.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            next_id: 1,
            bytes: 0,
            slots: HashMap::default(),
            entries: Vec::new(),
            free: Vec::new(),
            owners: HashMap::default(),
            over: Vec::new(),
            hand: 0,
        }
    }

    /// The facts of `text`, analysed now or before. `owner` is whoever's share pays for keeping them: one number
    /// an identity. Never fails: a text that cannot be understood has [`Facts::opaque`] set.
    pub fn facts(&mut self, text: &[u8], owner: u64) -> Rc<Facts> {
        if let Some(&slot) = self.slots.get(text)
            && let Some(Some(entry)) = self.entries.get_mut(slot)
        {
            entry.used = true;
            return Rc::clone(&entry.facts);
        }
        let id = self.next_id;
        self.next_id += 1;
        let facts = Rc::new(Facts { id, ..analyse(text) });
        if text.len() <= self.limits.text_bytes {
            self.keep(text, &facts, owner);
        }
        facts
    }

    /// Texts held.
    #[must_use]
    pub fn len(&self) -> usize {
        self.slots.len()
    }

    /// Whether nothing is held.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// Bytes held, by the estimate that [`Limits::bytes`] bounds.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    fn keep(&mut self, text: &[u8], facts: &Rc<Facts>, owner: u64) {
        let bytes = ENTRY_OVERHEAD_BYTES + text.len() + size::of(facts);
        if bytes > self.limits.owner_bytes.min(self.limits.bytes) {
            return;
        }
        while self.bytes + bytes > self.limits.bytes {
            if !self.make_room(owner, bytes) {
                return;
            }
        }
        let text: Rc<[u8]> = Rc::from(text);
        let entry = Entry { text: Rc::clone(&text), facts: Rc::clone(facts), owner, bytes, used: false };
        let slot = self.free.pop().unwrap_or(self.entries.len());
        match self.entries.get_mut(slot) {
            Some(place) => *place = Some(entry),
            None => self.entries.push(Some(entry)),
        }
        self.slots.insert(text, slot);
        self.bytes += bytes;
        let account = self.owners.entry(owner).or_default();
        let within = account.bytes <= self.limits.owner_bytes;
        account.bytes += bytes;
        account.live += 1;
        account.queue.push_back((slot, facts.id));
        if account.queue.len() > 2 * account.live + 16 {
            account.queue.retain(|&(slot, id)| held(&self.entries, slot, id));
        }
        if within && account.bytes > self.limits.owner_bytes {
            self.over.push(owner);
        }
    }

    /// Evicts one entry for `owner`'s next `bytes`: its own where they would take it over its share, else one of
    /// somebody above theirs, else any that was not asked for lately. False if there was none.
    fn make_room(&mut self, owner: u64, bytes: usize) -> bool {
        let held = self.owners.get(&owner).map_or(0, |account| account.bytes);
        let victim = if held + bytes > self.limits.owner_bytes {
            self.oldest_of(owner)
        } else if let Some(&greedy) = self.over.last() {
            self.oldest_of(greedy)
        } else {
            self.next_unused()
        };
        victim.map(|slot| self.evict(slot)).is_some()
    }

    /// The first of an owner's entries, oldest first, that was not asked for since it was last looked at.
    fn oldest_of(&mut self, owner: u64) -> Option<usize> {
        let account = self.owners.get_mut(&owner)?;
        while let Some((slot, id)) = account.queue.pop_front() {
            match self.entries.get_mut(slot) {
                Some(Some(entry)) if entry.facts.id == id => {
                    if !entry.used {
                        return Some(slot);
                    }
                    entry.used = false;
                    account.queue.push_back((slot, id));
                }
                // Evicted by another way, and perhaps used anew.
                _ => {}
            }
        }
        None
    }

    fn next_unused(&mut self) -> Option<usize> {
        // Twice around: the first clears `used` wherever it stands.
        for _ in 0..self.entries.len().saturating_mul(2) {
            let slot = self.hand;
            self.hand = if slot + 1 < self.entries.len() { slot + 1 } else { 0 };
            if let Some(Some(entry)) = self.entries.get_mut(slot) {
                if !entry.used {
                    return Some(slot);
                }
                entry.used = false;
            }
        }
        None
    }

    fn evict(&mut self, slot: usize) {
        let Some(entry) = self.entries.get_mut(slot).and_then(Option::take) else { return };
        self.slots.remove(&entry.text);
        self.free.push(slot);
        self.bytes -= entry.bytes;
        let Some(account) = self.owners.get_mut(&entry.owner) else { return };
        account.bytes -= entry.bytes;
        account.live -= 1;
        if account.bytes <= self.limits.owner_bytes {
            self.over.retain(|&owner| owner != entry.owner);
        }
        if account.bytes == 0 {
            self.owners.remove(&entry.owner);
        }
    }
}

fn held(entries: &[Option<Entry>], slot: usize, id: u64) -> bool {
    matches!(entries.get(slot), Some(Some(entry)) if entry.facts.id == id)
}
