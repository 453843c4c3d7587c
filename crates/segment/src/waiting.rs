//! Events of an open segment whose leaves are not computed yet. A leaf needs its session's last one, so one session's leaves are
//! computed one after the other; those of different sessions side by side, which is what waiting is for.
//!
//! Where events lie and how they are stored is the builder's.

use crate::event::put;
use crate::hash::{self, Digest, LEAF_PREFIX_LEN, SALT_LEN};
use crate::leaves::Hasher;

/// So many events wait at most, and about so many bytes of their frames: more would leave the caches before they are hashed.
const MAX_EVENTS: usize = 64;
const MAX_BYTES: usize = 64 << 10;

/// An event that lies in a batch, in the room of its frame.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Unhashed {
    /// Where its frame begins in the batch, and in the file.
    pub(crate) at: usize,
    pub(crate) offset: u64,
    /// Bytes of head and body, which lie behind room for salt and previous leaf.
    pub(crate) len: usize,
    pub(crate) plain: bool,
    pub(crate) salt: [u8; SALT_LEN],
    /// Its session's number in the segment.
    pub(crate) session: u32,
}

/// What waits, and the last leaf of each session that has events in the segment.
#[derive(Debug)]
pub(crate) struct Waiting {
    genesis: Digest,
    chains: Vec<Chain>,
    events: Vec<(Unhashed, Digest)>,
    /// Numbers of `events`, those first that wait for no other.
    order: Vec<(u32, u32)>,
    hasher: Hasher,
}

#[derive(Clone, Copy, Debug)]
struct Chain {
    last: Digest,
    /// Its events that wait.
    waiting: u32,
}

impl Waiting {
    /// Of a segment whose chains begin with `genesis`.
    pub(crate) fn new(genesis: Digest) -> Self {
        Self {
            genesis,
            chains: Vec::new(),
            events: Vec::with_capacity(MAX_EVENTS),
            order: Vec::with_capacity(MAX_EVENTS),
            hasher: Hasher::default(),
        }
    }

    fn chain(&mut self, session: u32) -> Option<&mut Chain> {
        let place = session as usize;
        if self.chains.len() <= place {
            self.chains.resize(place + 1, Chain { last: self.genesis, waiting: 0 });
        }
        self.chains.get_mut(place)
    }

    /// A session's last event has this leaf.
    pub(crate) fn set_last(&mut self, session: u32, leaf: Digest) {
        if let Some(chain) = self.chain(session) {
            chain.last = leaf;
        }
    }

    /// Adds an event. True: it is time to hash.
    pub(crate) fn push(&mut self, event: Unhashed) -> bool {
        let depth = self.chain(event.session).map_or(0, |chain| {
            chain.waiting += 1;
            chain.waiting - 1
        });
        self.order.push((depth, self.events.len() as u32));
        self.events.push((event, Digest::ZERO));
        let first = self.events.first().map_or(event.at, |(first, _)| first.at);
        self.events.len() >= MAX_EVENTS || event.at + event.len - first >= MAX_BYTES
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.events.is_empty()
    }

    /// Computes every leaf. What the leaves are of lies in `batch`; room before each event is written over.
    pub(crate) fn hash(&mut self, batch: &mut [u8]) {
        let Self { chains, events, order, hasher, .. } = self;
        order.sort_unstable();
        for wave in order.chunk_by(|one, other| one.0 == other.0) {
            for &(_, number) in wave {
                let Some((event, _)) = events.get(number as usize) else { continue };
                let last = chains.get(event.session as usize).map_or(Digest::ZERO, |chain| chain.last);
                let mut prefix = batch.get_mut(event.at..event.at + LEAF_PREFIX_LEN).unwrap_or_default();
                put(&mut prefix, &event.salt);
                put(&mut prefix, &last.0);
            }
            let input = |&(_, number): &(u32, u32)| {
                let event = events
                    .get(number as usize)
                    .map(|(event, _)| event.at..event.at + LEAF_PREFIX_LEN + event.len);
                event.unwrap_or_default()
            };
            let single;
            let leaves = match wave {
                [only] => {
                    single = [hash::leaf(batch.get(input(only)).unwrap_or_default())];
                    single.as_slice()
                }
                _ => hasher.hash(batch, wave.iter().map(input)),
            };
            for (&(_, number), &made) in wave.iter().zip(leaves) {
                let Some((event, leaf)) = events.get_mut(number as usize) else { continue };
                *leaf = made;
                if let Some(chain) = chains.get_mut(event.session as usize) {
                    (chain.last, chain.waiting) = (made, 0);
                }
            }
        }
        order.clear();
    }

    /// The events that were hashed and their leaves, in the order they came. They wait no more.
    pub(crate) fn hashed(&mut self) -> impl Iterator<Item = (Unhashed, Digest)> {
        self.events.drain(..)
    }
}
