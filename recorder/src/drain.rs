//! From rings to the segment: takes records in batches, writes once for all rings, syncs when somebody waits.
//!
//! Rules: a record's space is freed only when it is in the file, and it is acknowledged only when the disk has it. What
//! a restarted recorder meets again is dropped by (ring, sequence); what it should meet and does not becomes a gap record.

use std::os::fd::BorrowedFd;
use std::time::{Duration, Instant};

use weir_ring::{Consumer, Flow, Nap, Pressure};
use weir_segment::{Body, Gap, Removed, RingId, Sequence, TOMBSTONE_LEN};

use crate::Error;
use crate::clock::{self, Watch};
use crate::retention::Due;
use crate::store::Store;
use crate::tally::Tally;

/// Records taken into one write, in bytes.
const BATCH_BYTES: usize = 1 << 20;

/// How far ahead the wall clock may have been set while the recorder ran, for age to mean anything.
const CLOCK_TRUST_US: i64 = 3_600_000_000;

/// When to write and to sync.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// Written bytes without acknowledgement, at most.
    pub undurable_bytes: u64,
    /// Sync at least this often while events come.
    pub sync_interval: Duration,
}

/// What a turn found to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// Nothing; the earliest moment a sync is due, if anything is not durable.
    Idle,
    /// Records were taken; more may wait.
    Busy,
    /// The disk is full: the same batch must be tried again later.
    Stuck,
}

/// One ring, and where the record of it stands.
struct Ring {
    consumer: Consumer,
    id: RingId,
    /// The connection that handed it over; `None`: from the descriptor store, not claimed yet.
    owner: Option<u64>,
    /// Last sequence in the segment, as far as it is decided: written or in the batch.
    recorded: Sequence,
    /// Its connection is gone: when its producer counts as gone too, unless it is handed over again.
    orphaned: Option<Instant>,
    /// Its producer is gone: retire it once it is empty.
    ending: Option<&'static str>,
    /// Nothing more can be taken from it, whatever it holds.
    broken: bool,
}

/// All rings and the store.
pub struct Drain {
    store: Store,
    pace: Pace,
    rings: Vec<Ring>,
    pressure: Pressure,
    /// When the oldest written and not acknowledged byte was written.
    undurable_since: Option<Instant>,
    watch: Watch,
    tally: Tally,
    /// By how much the wall clock was set since the start, in microseconds.
    set_ahead_us: i64,
}

impl Drain {
    #[must_use]
    pub fn new(store: Store, pace: Pace) -> Self {
        let watch = Watch::new(clock::wall_unix_us(), clock::monotonic_ns());
        Self {
            store,
            pace,
            rings: Vec::new(),
            pressure: Pressure::Ok,
            undurable_since: None,
            watch,
            tally: Tally::default(),
            set_ahead_us: 0,
        }
    }

    /// The store, for those who verify it in tests and for sealing at the end.
    pub const fn store(&mut self) -> &mut Store {
        &mut self.store
    }

    /// Takes a ring in. `owner` names the connection that handed it over.
    ///
    /// # Errors
    /// The data plane's: an id that another ring has.
    pub fn add(&mut self, consumer: Consumer, owner: Option<u64>) -> Result<(), Error> {
        let id = RingId(consumer.description().ring);
        if id.core() == RingId::RECORDER_CORE || self.rings.iter().any(|ring| ring.id == id) {
            return Err(weir_ring::Error::Foreign("its id is another ring's").into());
        }
        let mut consumer = consumer;
        let recorded = self.store.last_sequence(id);
        // What the last recorder wrote was made durable by this one's start.
        consumer.durable(weir_ring::Sequence(recorded.0));
        consumer.set_pressure(self.pressure);
        self.rings.push(Ring { consumer, id, owner, recorded, orphaned: None, ending: None, broken: false });
        self.store.revive(id);
        Ok(())
    }

    /// A ring that is offered again by a data plane that lost its connection. False: it is not known, take it in.
    ///
    /// # Errors
    /// The data plane's: another ring under a known id.
    pub fn claim(&mut self, offer: &weir_ring::Offer, owner: u64) -> Result<bool, Error> {
        let id = RingId(offer.description.ring);
        let Some(ring) = self.rings.iter_mut().find(|ring| ring.id == id) else { return Ok(false) };
        if !ring.consumer.is_offered_by(offer) {
            return Err(weir_ring::Error::Foreign("its id is another ring's").into());
        }
        (ring.owner, ring.orphaned, ring.ending) = (Some(owner), None, None);
        Ok(true)
    }

    /// The connection is gone. Unless its rings are handed over again before `deadline`, their producers are gone too:
    /// then they are drained to their ends and retired.
    pub fn orphan(&mut self, owner: u64, deadline: Instant) {
        let orphans = self.rings.iter_mut().filter(|ring| ring.owner == Some(owner));
        orphans.for_each(|ring| ring.orphaned = Some(deadline));
    }

    fn end_orphans(&mut self, now: Instant) {
        let orphans =
            self.rings.iter_mut().filter(|ring| ring.orphaned.is_some_and(|deadline| now >= deadline));
        orphans.for_each(|ring| ring.ending = ring.ending.or(Some("the data plane ended")));
    }

    /// Nobody will claim the rings that were found in the descriptor store, nor those that only the record knows.
    ///
    /// # Errors
    /// The store's.
    pub fn give_up_unclaimed(&mut self) -> Result<(), Error> {
        let unclaimed = self.rings.iter_mut().filter(|ring| ring.owner.is_none());
        unclaimed.for_each(|ring| ring.ending = Some("the data plane ended while the recorder was down"));
        let lost = self.store.known_rings();
        for id in lost.into_iter().filter(|id| self.rings.iter().all(|ring| ring.id != *id)) {
            let last = self.store.last_sequence(id);
            let gap = Gap {
                reason: "the ring was lost: data plane and recorder ended together".into(),
                ring: id.0,
                last_sequence: last.0,
                missing_bytes: self.store.settings.ring_bytes,
                since_unix_us: self.store.inherited_unix_us(),
                until_unix_us: clock::wall_unix_us(),
                ..Gap::default()
            };
            self.store.close_sessions(id, "the data plane ended while the recorder was down")?;
            // Even where no session of it is known: one may have begun and be lost whole.
            self.store.note(Body::Gap(gap))?;
            self.store.retire(id);
        }
        Ok(())
    }

    /// How many commands shared a sync so far.
    #[must_use]
    pub const fn tally(&self) -> Tally {
        self.tally
    }

    /// The descriptors to poll for.
    pub fn bells(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.rings.iter().map(|ring| ring.consumer.bell())
    }

    /// Names of the rings that are attached.
    pub fn ids(&self) -> impl Iterator<Item = RingId> {
        self.rings.iter().map(|ring| ring.id)
    }

    /// One round: take, write, free, sync if somebody waits or it is time, acknowledge, retire.
    ///
    /// # Errors
    /// The disk's, for good: nothing more is acknowledged.
    pub fn turn(&mut self, now: Instant) -> Result<Turn, Error> {
        if !self.store.is_open() {
            return match self.store.roll() {
                Ok(()) => Ok(Turn::Busy),
                Err(Error::NoRoom(_)) => Ok(Turn::Stuck),
                Err(error) => Err(error),
            };
        }
        self.end_orphans(now);
        let taken = self.take()?;
        match self.commit(now) {
            Ok(()) => {}
            Err(Error::NoRoom(_)) => return Ok(Turn::Stuck),
            Err(error) => return Err(error),
        }
        let retired = self.retire_ended()?;
        if self.store.is_due(clock::monotonic_ns()) {
            match self.store.roll() {
                Ok(()) => self.acknowledge(),
                Err(Error::NoRoom(_)) => return Ok(Turn::Stuck),
                Err(error) => return Err(error),
            }
        }
        Ok(if taken > 0 || retired > 0 { Turn::Busy } else { Turn::Idle })
    }

    fn take(&mut self) -> Result<usize, Error> {
        let mut taken = 0;
        let share = BATCH_BYTES / self.rings.len().max(1);
        for ring in self.rings.iter_mut().filter(|ring| !ring.broken) {
            // While the disk is full the batch stays, and must not grow.
            let limit = (self.store.pending_bytes() + share).min(2 * BATCH_BYTES);
            let mut failure = None;
            let outcome = {
                let (store, recorded, id) = (&mut self.store, &mut ring.recorded, ring.id);
                ring.consumer.drain(|record| {
                    if store.pending_bytes() >= limit {
                        return Flow::Stop;
                    }
                    match accept(store, id, recorded, record) {
                        Ok(()) => Flow::Go,
                        Err(error) => {
                            failure = Some(error);
                            Flow::Stop
                        }
                    }
                })
            };
            match (outcome, failure) {
                (Ok(count), None) => taken += count,
                (_, Some(Error::Format(error))) => ring.give_up(&mut self.store, &error)?,
                (_, Some(error)) => return Err(error),
                (Err(error), None) => ring.give_up(&mut self.store, &error)?,
            }
        }
        Ok(taken)
    }

    fn commit(&mut self, now: Instant) -> Result<(), Error> {
        if self.store.pending_bytes() > 0 {
            self.store.write()?;
            self.undurable_since.get_or_insert(now);
        }
        self.rings.iter_mut().for_each(|ring| ring.consumer.written());
        let Some(since) = self.undurable_since else { return Ok(()) };
        let awaited = self.rings.iter().any(|ring| ring.consumer.is_awaited());
        let due = awaited
            || now.duration_since(since) >= self.pace.sync_interval
            || self.store.undurable_bytes() >= self.pace.undurable_bytes
            || self.rings.iter().any(|ring| ring.ending.is_some());
        if due {
            self.store.sync()?;
            self.tally.synced(self.store.commands(), awaited);
            self.acknowledge();
        }
        Ok(())
    }

    fn acknowledge(&mut self) {
        self.undurable_since = None;
        for ring in &mut self.rings {
            ring.consumer.durable(weir_ring::Sequence(ring.recorded.0));
        }
    }

    /// Rings whose producers are gone and that are empty: their sessions end in the record, then the ring.
    fn retire_ended(&mut self) -> Result<usize, Error> {
        let mut retired = 0;
        let mut place = 0;
        while let Some(ring) = self.rings.get(place) {
            let empty = ring.broken || !ring.consumer.has_records().unwrap_or(false);
            let Some(reason) = ring.ending.filter(|_| empty) else {
                place += 1;
                continue;
            };
            let ring = self.rings.swap_remove(place);
            let closed = self.store.close_sessions(ring.id, reason)?;
            tracing::info!(ring = %ring.id, closed, reason, "retired a ring");
            self.store.retire(ring.id);
            ring.consumer.retire();
            retired += 1;
        }
        Ok(retired)
    }

    /// Records it if somebody set the wall clock since the last time.
    ///
    /// # Errors
    /// Ours only.
    pub fn check_clock(&mut self, wall_unix_us: i64, monotonic_ns: u64) -> Result<(), Error> {
        // Between two segments there is nothing to write to: it is noticed when there is.
        if !self.store.is_open() {
            return Ok(());
        }
        match self.watch.jump(wall_unix_us, monotonic_ns) {
            Some(by_us) => {
                self.set_ahead_us = self.set_ahead_us.saturating_add(by_us);
                self.store.note_clock("set while running", by_us)
            }
            None => Ok(()),
        }
    }

    /// Answers a removal that is due. By age, only as long as the clock can be believed: one that was set ahead makes
    /// everything old.
    ///
    /// # Errors
    /// The disk's.
    pub fn sign_removal(&mut self, due: &Due) -> Result<Option<[u8; TOMBSTONE_LEN]>, Error> {
        if !self.store.is_open() {
            return Ok(None);
        }
        if due.tombstone.reason == Removed::ByAge && self.set_ahead_us > CLOCK_TRUST_US {
            tracing::warn!(
                "the clock was set ahead: nothing is removed by age until the recorder is restarted"
            );
            return Ok(None);
        }
        self.store.sign_removal(due).map(Some)
    }

    /// Says in every ring how the disk is.
    ///
    /// # Errors
    /// The disk's.
    pub fn check_pressure(&mut self) -> Result<(), Error> {
        let pressure = self.store.pressure()?;
        self.set_pressure(pressure);
        Ok(())
    }

    /// Says it without asking the disk.
    pub fn set_pressure(&mut self, pressure: Pressure) {
        if pressure != self.pressure {
            tracing::warn!(?pressure, "the disk's state changed");
        }
        self.pressure = pressure;
        self.rings.iter().for_each(|ring| ring.consumer.set_pressure(pressure));
    }

    /// Announces a nap to every producer. False: there is something to do.
    pub fn nap(&mut self, nap: Nap) -> bool {
        // Every ring must hear of it; one that is broken is dealt with at the next turn.
        let mut calm = true;
        for ring in self.rings.iter_mut().filter(|ring| !ring.broken) {
            calm &= ring.consumer.nap(nap).unwrap_or(false);
        }
        calm
    }

    /// Back from a nap.
    pub fn wake(&mut self) {
        self.rings.iter_mut().for_each(|ring| ring.consumer.wake());
    }

    /// When a sync is due though nobody waits; `None`: everything is durable.
    #[must_use]
    pub fn sync_due(&self) -> Option<Instant> {
        self.undurable_since.map(|since| since + self.pace.sync_interval)
    }

    /// Takes everything that is there, makes it durable, seals. Sessions stay open: the next recorder goes on.
    ///
    /// # Errors
    /// The disk's.
    pub fn finish(mut self) -> Result<(), Error> {
        while self.take()? > 0 {
            self.store.write()?;
            self.rings.iter_mut().for_each(|ring| ring.consumer.written());
        }
        self.rings.iter_mut().filter(|ring| ring.orphaned.is_some()).for_each(|ring| {
            ring.ending = Some("the data plane ended");
        });
        self.retire_ended()?;
        self.store.sync()?;
        self.acknowledge();
        self.tally.log();
        self.store.seal()
    }
}

impl Ring {
    /// The producer broke the ring or the format: nothing of it can be trusted any more.
    fn give_up(&mut self, store: &mut Store, error: &dyn std::error::Error) -> Result<(), Error> {
        self.broken = true;
        tracing::error!(ring = %self.id, %error, "a ring is inconsistent and is given up");
        store.note(Body::Gap(Gap {
            reason: format!("the ring is inconsistent: {error}").into(),
            ring: self.id.0,
            last_sequence: self.recorded.0,
            missing_bytes: self.consumer.capacity() as u64,
            until_unix_us: clock::wall_unix_us(),
            ..Gap::default()
        }))?;
        self.ending = Some("the data plane broke its ring");
        Ok(())
    }
}

fn accept(
    store: &mut Store,
    ring: RingId,
    recorded: &mut Sequence,
    record: &weir_ring::Record<'_>,
) -> Result<(), Error> {
    let sequence = Sequence(record.sequence.0);
    if sequence <= *recorded {
        return Ok(());
    }
    if sequence.0 > recorded.0 + 1 {
        store.note(Body::Gap(Gap {
            reason: "records of the ring are missing".into(),
            ring: ring.0,
            last_sequence: recorded.0,
            missing_bytes: store.settings.ring_bytes + store.settings.undurable_bytes,
            until_unix_us: clock::wall_unix_us(),
            ..Gap::default()
        }))?;
    }
    store.append(ring, sequence, record.len(), |room| {
        record.copy_to(room);
    })?;
    *recorded = sequence;
    Ok(())
}
