//! A core's end of the recording: events into its ring, and who waits for the disk or for room. Sessions wait here for
//! one thing only, a number; the one descriptor behind all of them is watched by one task a core.

mod describe;
pub(crate) mod recorder;

use std::os::fd::OwnedFd;
use std::task::Waker;

use weir_ring::{Description, Error, Handle, Pressure, Producer, PushError, Sequence};
use weir_segment::{Body, Direction, Event, RingId, SessionId};

use crate::clock::Now;

pub(crate) use describe::{Described, Describer, Secrecy, facts_json, words};

/// Bytes of an answer in one event, at most.
pub(crate) const CHUNK_BYTES: usize = 64 << 10;

/// What an event is about: the head of the record's line.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stamp {
    pub session: SessionId,
    pub now: Now,
    /// Which command of the session, from 1; 0: none.
    pub ordinal: u64,
    pub lane: u32,
}

/// Why an event is not in the ring.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Lost {
    /// Wait for room and try again.
    #[error("the recorder is behind, and its ring is full")]
    Full,
    /// The gateway's: a limit that allows what no ring holds.
    #[error("an event of {0} bytes is longer than the ring takes")]
    TooLong(usize),
    /// The recorder's: it gave this ring up.
    #[error("the recorder gave up: {0}")]
    Broken(String),
}

pub(crate) struct Record {
    producer: Producer,
    core: u16,
    node: String,
    capacity: usize,
    /// Room that is kept for what one step of a session may write.
    reserve: usize,
    /// A recorder that broke the ring's rules, or retired it. Nothing is recorded until `renew`.
    broken: Option<String>,
    disk: Vec<(Sequence, Waker)>,
    room: Vec<Waker>,
}

impl Record {
    /// # Errors
    /// The host's: no memory or descriptors for a ring.
    pub(crate) fn new(core: u16, node: &str, capacity: usize, longest: usize) -> Result<Self, Error> {
        let producer = Producer::create(capacity, description(core, node))?;
        Ok(Self {
            producer,
            core,
            node: node.to_owned(),
            capacity,
            reserve: (2 * longest + (1 << 20)).min(capacity / 4),
            broken: None,
            disk: Vec::new(),
            room: Vec::new(),
        })
    }

    /// What hands this ring to a recorder.
    pub(crate) fn handle(&self) -> Handle {
        self.producer.handle()
    }

    /// A copy of the descriptor that says: the disk or the room moved.
    ///
    /// # Errors
    /// The host's: no descriptors left.
    pub(crate) fn bell(&self) -> std::io::Result<OwnedFd> {
        self.producer.bell().try_clone_to_owned()
    }

    pub(crate) fn is_broken(&self) -> bool {
        self.broken.is_some()
    }

    /// How the recorder's disk is, as far as the recorder said.
    pub(crate) fn pressure(&self) -> Pressure {
        self.producer.pressure()
    }

    /// Of the ring, by events that the recorder has not taken yet.
    pub(crate) fn used_bytes(&self) -> u64 {
        self.producer.used_bytes().map_or(0, |bytes| bytes as u64)
    }

    /// A fresh ring after the recorder gave the last one up. Sessions that wrote into that one must have ended.
    ///
    /// # Errors
    /// As `new`.
    pub(crate) fn renew(&mut self) -> Result<(), Error> {
        self.producer = Producer::create(self.capacity, description(self.core, &self.node))?;
        self.broken = None;
        Ok(())
    }

    /// Whether one step of a session may go on.
    pub(crate) fn has_room(&mut self) -> bool {
        self.producer.has_room(self.reserve).unwrap_or_else(|error| {
            self.fail(error);
            false
        })
    }

    /// Wakes the session once there may be room. True: there is some now, do not wait.
    pub(crate) fn wait_for_room(&mut self, waker: &Waker) -> bool {
        match self.producer.wait_for_space(self.reserve) {
            Ok(true) => true,
            Ok(false) => {
                if !self.room.iter().any(|known| known.will_wake(waker)) {
                    self.room.push(waker.clone());
                }
                false
            }
            Err(error) => {
                self.fail(error);
                // Woken to find it broken.
                true
            }
        }
    }

    /// Writes one event. `up` and `down` are the application bytes it accounts for.
    ///
    /// # Errors
    /// See [`Lost`]; nothing was written.
    pub(crate) fn push(
        &mut self,
        stamp: Stamp,
        direction: Direction,
        (up, down): (u32, u32),
        body: Body<'_>,
    ) -> Result<Sequence, Lost> {
        if let Some(why) = &self.broken {
            return Err(Lost::Broken(why.clone()));
        }
        let event = Event {
            session: stamp.session,
            wall_unix_us: stamp.now.wall_us,
            monotonic_ns: stamp.now.monotonic_ns,
            to_upstream_bytes: up,
            to_client_bytes: down,
            ordinal: stamp.ordinal,
            lane: stamp.lane,
            direction,
            body,
        };
        match self.producer.try_push(event.max_len(), |slot| event.write(slot)) {
            Ok(sequence) => Ok(sequence),
            Err(PushError::Full) => Err(Lost::Full),
            Err(PushError::TooLong { len, .. }) => Err(Lost::TooLong(len)),
            Err(PushError::Fill(_)) => Err(Lost::TooLong(event.max_len())),
            Err(PushError::Ring(error)) => Err(Lost::Broken(self.fail(error))),
        }
    }

    /// Whether the disk has this event. Where not, the session is woken when it does, or when the ring breaks.
    ///
    /// # Errors
    /// The recorder broke the ring: it will never be.
    pub(crate) fn poll_durable(&mut self, sequence: Sequence, waker: &Waker) -> Result<bool, Lost> {
        if let Some(why) = &self.broken {
            return Err(Lost::Broken(why.clone()));
        }
        for attempt in 0..2 {
            match self.producer.durable() {
                Ok(durable) if durable >= sequence => return Ok(true),
                Ok(_) if attempt == 0 => self.producer.want_durable(sequence),
                Ok(_) => {}
                Err(error) => return Err(Lost::Broken(self.fail(error))),
            }
        }
        match self.disk.iter_mut().find(|(_, known)| known.will_wake(waker)) {
            Some((waited, _)) => *waited = sequence,
            None => self.disk.push((sequence, waker.clone())),
        }
        Ok(false)
    }

    /// The bell rang: wakes whom it was for.
    pub(crate) fn rung(&mut self) {
        match self.producer.durable() {
            Ok(durable) => self.disk.retain(|(sequence, waker)| {
                let waits = *sequence > durable;
                if !waits {
                    waker.wake_by_ref();
                }
                waits
            }),
            Err(error) => drop(self.fail(error)),
        }
        for waker in self.room.drain(..) {
            waker.wake();
        }
    }

    fn fail(&mut self, error: Error) -> String {
        let why = error.to_string();
        if self.broken.is_none() {
            tracing::error!(core = self.core, "recording stopped on this core: {why}");
            self.broken = Some(why.clone());
        }
        for (_, waker) in self.disk.drain(..) {
            waker.wake();
        }
        for waker in self.room.drain(..) {
            waker.wake();
        }
        why
    }
}

fn description(core: u16, node: &str) -> Description {
    let now = Now::read().wall_ms();
    Description { ring: RingId::new(now, core).0, node: node.to_owned(), core: core.into(), generation: now }
}
