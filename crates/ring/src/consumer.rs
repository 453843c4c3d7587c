//! The consuming end: copies records out in batches, frees their space, acknowledges what the disk has.
//!
//! It trusts nothing in the ring: `head` and every record's length are read once and checked, and record bytes are
//! copied into private memory before anybody looks at them.

use std::os::fd::{AsFd, BorrowedFd};
use std::sync::atomic::{Ordering, fence};

use crate::Error;
use crate::hand_over::{Description, Offer};
use crate::layout::{
    GRAIN, Pressure, RECORD_HEADER_LEN, RECORD_MARK, Sequence, Word, gathering, record_span,
};
use crate::mapping::Mapping;
use crate::wake::{self, Bells};

/// How soundly the consumer sleeps: when the producer must ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Nap {
    /// Looks at the ring anyway: never ring.
    Awake,
    /// Looks again within milliseconds: ring when somebody waits, or when 1 MiB or a quarter of the ring has gathered.
    Dozing,
    /// Ring on the next record.
    Asleep,
}

impl Nap {
    pub(crate) const AWAKE: u64 = 0;
    const DOZING: u64 = 1;
    const ASLEEP: u64 = 2;
    const RETIRED: u64 = 3;

    const fn code(self) -> u64 {
        match self {
            Self::Awake => Self::AWAKE,
            Self::Dozing => Self::DOZING,
            Self::Asleep => Self::ASLEEP,
        }
    }

    pub(crate) const fn is_dozing(code: u64) -> bool {
        code == Self::DOZING
    }

    pub(crate) const fn is_asleep(code: u64) -> bool {
        code == Self::ASLEEP
    }

    pub(crate) const fn is_retired(code: u64) -> bool {
        code == Self::RETIRED
    }
}

/// Whether [`Consumer::drain`] goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flow {
    /// This record is taken; next.
    Go,
    /// This record is not taken and comes again; stop here.
    Stop,
}

/// One record, still in the ring.
#[derive(Debug)]
pub struct Record<'a> {
    mapping: &'a Mapping,
    at: u64,
    len: usize,
    pub sequence: Sequence,
}

impl Record<'_> {
    /// Bytes of payload.
    #[expect(clippy::len_without_is_empty, reason = "a record is not a collection")]
    #[must_use]
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Copies the front of the payload out, at most [`Self::len`] bytes; the answer is how many.
    pub fn copy_to(&self, out: &mut [u8]) -> usize {
        let len = self.len.min(out.len());
        if let Some(out) = out.get_mut(..len) {
            self.mapping.copy_out(self.at, out);
        }
        len
    }
}

/// The only reader of one ring.
#[derive(Debug)]
pub struct Consumer {
    mapping: Mapping,
    bells: Bells,
    description: Description,
    /// Position of the next record to take.
    position: u64,
    /// What the shared `written` says, by us.
    written: u64,
    durable: Sequence,
    /// Last record taken; `None` right after attaching to a ring that others have read from.
    last: Option<Sequence>,
}

impl Consumer {
    /// Attaches to a ring that was handed over, where the last consumer left it: at `written`.
    ///
    /// # Errors
    /// The producer's: what it handed over is no ring, or an inconsistent one.
    pub fn attach(offer: Offer) -> Result<Self, Error> {
        let Offer { memfd, producer_bell, consumer_bell, description } = offer;
        let bells = Bells::open(producer_bell, consumer_bell)?;
        let mapping = Mapping::open(memfd, description.ring)?;
        let written = mapping.word(Word::Written).load(Ordering::Acquire);
        let durable = Sequence(mapping.word(Word::Durable).load(Ordering::Acquire));
        let last = (written == 0).then_some(Sequence(0));
        let consumer = Self { mapping, bells, description, position: written, written, durable, last };
        if Nap::is_retired(consumer.mapping.word(Word::Nap).load(Ordering::Acquire)) {
            return Err(Error::Retired);
        }
        if !written.is_multiple_of(GRAIN as u64) {
            let limit = "between two records";
            return Err(Error::Inconsistent { word: "written", value: written, limit });
        }
        consumer.head()?;
        consumer.store_nap(Nap::Awake);
        Ok(consumer)
    }

    #[must_use]
    pub const fn description(&self) -> &Description {
        &self.description
    }

    /// The eventfd that the producer rings. Non-blocking; [`Self::wake`] reads it.
    #[must_use]
    pub fn bell(&self) -> BorrowedFd<'_> {
        self.bells.consumer.as_fd()
    }

    /// Memory, the producer's eventfd and the consumer's, to park in a descriptor store.
    #[must_use]
    pub fn descriptors(&self) -> [BorrowedFd<'_>; 3] {
        [self.mapping.memfd(), self.bells.producer.as_fd(), self.bells.consumer.as_fd()]
    }

    /// True when `offer` is this very memory, handed over again.
    #[must_use]
    pub fn is_offered_by(&self, offer: &Offer) -> bool {
        let name = |fd| rustix::fs::fstat(fd).map(|stat| (stat.st_dev, stat.st_ino)).ok();
        let ours = name(self.mapping.memfd());
        ours.is_some() && ours == name(offer.memfd.as_fd())
    }

    /// Tells the producer how the disk is.
    pub fn set_pressure(&self, pressure: Pressure) {
        self.mapping.word(Word::Pressure).store(pressure.code(), Ordering::Relaxed);
    }

    /// Bytes of records that the ring can hold.
    #[must_use]
    pub const fn capacity(&self) -> usize {
        self.mapping.capacity()
    }

    /// The producer's `head`, checked against where we stand.
    fn head(&self) -> Result<u64, Error> {
        let value = self.mapping.word(Word::Head).load(Ordering::Acquire);
        let inconsistent = |limit| Err(Error::Inconsistent { word: "head", value, limit });
        if value < self.position {
            return inconsistent("before what was already read");
        }
        if value - self.written > self.mapping.capacity() as u64 {
            return inconsistent("more than a ring's length past what was written");
        }
        if !value.is_multiple_of(GRAIN as u64) {
            return inconsistent("between two records");
        }
        Ok(value)
    }

    /// True when records wait to be taken.
    ///
    /// # Errors
    /// The producer's: `head` is no place in this ring.
    pub fn has_records(&self) -> Result<bool, Error> {
        Ok(self.head()? > self.position)
    }

    /// Shows records in order to `take`, until it says stop or none is left; answers how many were taken. Their space
    /// is free only after [`Self::written`].
    ///
    /// # Errors
    /// The producer's: a record that is none. Those before it were taken.
    pub fn drain(&mut self, mut take: impl FnMut(&Record<'_>) -> Flow) -> Result<usize, Error> {
        let head = self.head()?;
        let mut taken = 0;
        while self.position < head {
            let (len, sequence) = self.record_header(head)?;
            let at = self.position + RECORD_HEADER_LEN as u64;
            let record = Record { mapping: &self.mapping, at, len, sequence };
            if take(&record) == Flow::Stop {
                break;
            }
            self.position += record_span(len).unwrap_or(GRAIN) as u64;
            self.last = Some(sequence);
            taken += 1;
        }
        Ok(taken)
    }

    fn record_header(&self, head: u64) -> Result<(usize, Sequence), Error> {
        let mut header = [0_u8; RECORD_HEADER_LEN];
        self.mapping.copy_out(self.position, &mut header);
        let header = u128::from_le_bytes(header);
        let (len, mark, sequence) = (header as u32, (header >> 32) as u32, (header >> 64) as u64);
        if mark != RECORD_MARK {
            let limit = "which does not begin a record";
            return Err(Error::Inconsistent { word: "record mark", value: mark.into(), limit });
        }
        let span = record_span(len as usize).map(|span| span as u64);
        if span.is_none_or(|span| span > head - self.position) {
            let limit = "past the last record that was published";
            return Err(Error::Inconsistent { word: "record length", value: len.into(), limit });
        }
        if sequence == 0 || self.last.is_some_and(|last| sequence != last.0.wrapping_add(1)) {
            let limit = "not one more than the record before";
            return Err(Error::Inconsistent { word: "record sequence", value: sequence, limit });
        }
        Ok((len as usize, Sequence(sequence)))
    }

    /// Frees the space of all records taken so far: they are in the recorder's file, if not yet durable.
    pub fn written(&mut self) {
        if self.position == self.written {
            return;
        }
        self.written = self.position;
        self.mapping.word(Word::Written).store(self.position, Ordering::Release);
        fence(Ordering::SeqCst);
        let wanted = self.mapping.word(Word::SpaceWanted);
        if wanted.load(Ordering::Relaxed) != 0 && self.free_bytes() >= self.mapping.capacity() as u64 / 4 {
            wanted.store(0, Ordering::Relaxed);
            wake::ring(self.bells.producer.as_fd());
        }
    }

    fn free_bytes(&self) -> u64 {
        let head = self.mapping.word(Word::Head).load(Ordering::Acquire);
        let used = head.saturating_sub(self.written);
        (self.mapping.capacity() as u64).saturating_sub(used)
    }

    /// Last record taken; `None`: none since attaching to a ring that others have read from.
    #[must_use]
    pub const fn last(&self) -> Option<Sequence> {
        self.last
    }

    /// Acknowledges everything up to `sequence`, and rings the producer if it waits for any of it.
    pub fn durable(&mut self, sequence: Sequence) {
        if sequence <= self.durable {
            return;
        }
        let before = self.durable;
        self.durable = sequence;
        self.mapping.word(Word::Durable).store(sequence.0, Ordering::Release);
        fence(Ordering::SeqCst);
        if self.mapping.word(Word::Wanted).load(Ordering::Relaxed) > before.0 {
            wake::ring(self.bells.producer.as_fd());
        }
    }

    /// True while somebody waits for a record that is not acknowledged yet.
    #[must_use]
    pub fn is_awaited(&self) -> bool {
        self.mapping.word(Word::Wanted).load(Ordering::Acquire) > self.durable.0
    }

    /// Announces how soundly the consumer is about to sleep. False: do not, there is something to do.
    ///
    /// # Errors
    /// The producer's: `head` is no place in this ring.
    pub fn nap(&mut self, nap: Nap) -> Result<bool, Error> {
        self.store_nap(nap);
        // Pairs with the fence of `Producer::rouse_surely`: either it sees our nap, or we see its word.
        fence(Ordering::SeqCst);
        let space_wanted = self.mapping.word(Word::SpaceWanted).load(Ordering::Relaxed) != 0;
        let unread = self.head()? - self.position;
        let pending = unread > 0;
        let unacknowledged = pending || self.last.is_some_and(|last| last > self.durable);
        let awaited = unacknowledged && self.is_awaited();
        let busy = match nap {
            Nap::Awake => true,
            Nap::Dozing => {
                awaited || (pending && space_wanted) || unread > gathering(self.mapping.capacity())
            }
            Nap::Asleep => awaited || pending,
        };
        Ok(!busy)
    }

    /// Back from sleep: silences the bell and tells the producer not to ring.
    pub fn wake(&mut self) {
        wake::silence(self.bells.consumer.as_fd());
        self.store_nap(Nap::Awake);
    }

    fn store_nap(&self, nap: Nap) {
        self.mapping.word(Word::Nap).store(nap.code(), Ordering::Release);
    }

    /// Finishes with this ring for good: a producer that still lives gets an error from its next push.
    pub fn retire(self) {
        self.mapping.word(Word::Nap).store(Nap::RETIRED, Ordering::Release);
        wake::ring(self.bells.producer.as_fd());
    }
}
