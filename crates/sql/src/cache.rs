//! A core's facts by full text, bounded in bytes and shared fairly between those who fill it.
//!
//! Looked up by hash *and* comparison, never by hash alone. A text that differs from a known one in literals alone, by
//! the server's own tokens, takes over its facts without being parsed, and is kept once it is seen again: clients that
//! write values into their texts send each of them once. It knows nothing of sessions or policy, and is not shared
//! between threads.

use std::collections::{HashMap, VecDeque};
use std::hash::BuildHasher as _;
use std::rc::Rc;

use foldhash::fast::RandomState;
use weir_policy::Facts;

use crate::ffi::Spelt;
use crate::{analyse, decode, readable, size};

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
const ENTRY_OVERHEAD_BYTES: usize = 224;

/// Texts whose last sighting is remembered, by hash; a power of two. An error here costs a parse or a place, no more.
const SIGHTINGS: usize = 4_096;

/// Facts by text. One a core.
pub struct Cache {
    limits: Limits,
    next_id: u64,
    bytes: usize,
    texts: HashMap<Rc<[u8]>, usize, RandomState>,
    /// By key: the text that others of its key take their facts from.
    keys: HashMap<Rc<[u8]>, usize, RandomState>,
    sightings: Box<[u64]>,
    /// The key at hand.
    key: Vec<u8>,
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
    /// Where others may take over its facts.
    key: Option<Rc<[u8]>>,
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
            texts: HashMap::default(),
            keys: HashMap::default(),
            sightings: vec![0; SIGHTINGS].into(),
            key: Vec::new(),
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
        if let Some(facts) = Self::held(&self.texts, &mut self.entries, text) {
            return facts;
        }
        let id = self.next_id;
        self.next_id += 1;
        if text.len() > self.limits.text_bytes {
            return Rc::new(Facts { id, shape: id, ..analyse(text) });
        }
        let mut key = None;
        let facts = match readable(text) {
            Err(refused) => refused,
            Ok(readable) => {
                let mut spelt = Spelt::new(readable, false);
                let spelling = decode::spelling(spelt.spelling());
                if let Some(spelling) = &spelling
                    && let Some(like) = Self::held(&self.keys, &mut self.entries, spelling.key)
                {
                    let normalised = spelling.line.to_owned();
                    drop(spelt);
                    let id = if self.was_seen(text) { id } else { 0 };
                    let facts = Rc::new(Facts { id, normalised, ..(*like).clone() });
                    if id != 0 {
                        self.keep(text, None, &facts, owner);
                    }
                    return facts;
                }
                self.key.clear();
                self.key.extend_from_slice(spelling.map(|it| it.key).unwrap_or_default());
                let (facts, shared) = decode::facts(spelt.facts());
                key = (shared && !self.key.is_empty()).then(|| Rc::from(self.key.as_slice()));
                facts
            }
        };
        let facts = Rc::new(Facts { id, shape: id, ..facts });
        self.keep(text, key, &facts, owner);
        facts
    }

    fn held(
        slots: &HashMap<Rc<[u8]>, usize, RandomState>,
        entries: &mut [Option<Entry>],
        by: &[u8],
    ) -> Option<Rc<Facts>> {
        let entry = entries.get_mut(*slots.get(by)?)?.as_mut()?;
        entry.used = true;
        Some(Rc::clone(&entry.facts))
    }

    /// Whether the text was asked for not long ago.
    fn was_seen(&mut self, text: &[u8]) -> bool {
        let hash = self.texts.hasher().hash_one(text) | 1;
        let place = usize::try_from(hash >> 1).unwrap_or(0) & (SIGHTINGS - 1);
        let last = self.sightings.get_mut(place);
        last.is_some_and(|last| std::mem::replace(last, hash) == hash)
    }

    /// Texts held.
    #[must_use]
    pub fn len(&self) -> usize {
        self.texts.len()
    }

    /// Whether nothing is held.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.texts.is_empty()
    }

    /// Bytes held, by the estimate that [`Limits::bytes`] bounds.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    fn keep(&mut self, text: &[u8], key: Option<Rc<[u8]>>, facts: &Rc<Facts>, owner: u64) {
        let keyed = key.as_ref().map_or(0, |key| key.len());
        let bytes = ENTRY_OVERHEAD_BYTES + text.len() + keyed + size::of(facts);
        if bytes > self.limits.owner_bytes.min(self.limits.bytes) {
            return;
        }
        while self.bytes + bytes > self.limits.bytes {
            if !self.make_room(owner, bytes) {
                return;
            }
        }
        let text: Rc<[u8]> = Rc::from(text);
        let slot = self.free.pop().unwrap_or(self.entries.len());
        if let Some(key) = &key {
            self.keys.insert(Rc::clone(key), slot);
        }
        let entry = Entry { text: Rc::clone(&text), key, facts: Rc::clone(facts), owner, bytes, used: false };
        match self.entries.get_mut(slot) {
            Some(place) => *place = Some(entry),
            None => self.entries.push(Some(entry)),
        }
        self.texts.insert(text, slot);
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
        self.texts.remove(&entry.text);
        if let Some(key) = &entry.key {
            self.keys.remove(key);
        }
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
