//! The producing end: one thread fills records in place and publishes them.
//!
//! A push makes no system call unless the consumer sleeps. Waiting is the caller's: it keeps one pending read on
//! [`Producer::bell`] and looks at [`Producer::durable`] and its own queue each time that completes.

use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::sync::atomic::{Ordering, fence};

use crate::consumer::Nap;
use crate::hand_over::{Description, Handle};
use crate::layout::{
    GRAIN, Pressure, RECORD_HEADER_LEN, RECORD_MARK, Sequence, Word, gathering, record_span,
};
use crate::mapping::Mapping;
use crate::wake::{self, Bells};
use crate::{Error, PushError};

/// The only writer of one ring.
#[derive(Debug)]
pub struct Producer {
    mapping: Arc<Mapping>,
    bells: Bells,
    description: Arc<Description>,
    /// Our own copy of `head`: what the shared word says is for the consumer.
    head: u64,
    last: Sequence,
    /// `written` when last looked at: space is only counted again when this says that there is none.
    written: u64,
    wanted: Sequence,
}

impl Producer {
    /// Makes a ring of `capacity` bytes, a power of two from 64 KiB. `description` tells the recorder whose it is.
    ///
    /// # Errors
    /// The caller's capacity, or the kernel's refusal of memory or descriptors.
    pub fn create(capacity: usize, description: Description) -> Result<Self, Error> {
        let mapping = Arc::new(Mapping::create(capacity, description.ring)?);
        let bells = Bells::create()?;
        let description = Arc::new(description);
        let (last, wanted) = (Sequence(0), Sequence(0));
        Ok(Self { mapping, bells, description, head: 0, last, written: 0, wanted })
    }

    /// What a control thread needs to hand this ring over, as often as the recorder restarts.
    #[must_use]
    pub fn handle(&self) -> Handle {
        Handle::new(&self.mapping, &self.bells, &self.description)
    }

    /// The eventfd that the recorder rings when `durable` passes what [`Self::want_durable`] named, and when there is
    /// room after [`Self::wait_for_space`]. Blocking mode: keep one io_uring read of 8 bytes pending on it.
    #[must_use]
    pub fn bell(&self) -> BorrowedFd<'_> {
        self.bells.producer.as_fd()
    }

    /// Longest payload that this ring takes.
    #[must_use]
    pub fn max_len(&self) -> usize {
        self.mapping.capacity() / 2 - RECORD_HEADER_LEN
    }

    /// Sequence of the last pushed record.
    #[must_use]
    pub const fn last(&self) -> Sequence {
        self.last
    }

    /// Publishes one record. `fill` gets at least `max_len` bytes, whose content is arbitrary, and answers how many it
    /// used from the front.
    ///
    /// # Errors
    /// `Full`, `TooLong`, what `fill` answered, or a ring that its consumer retired or broke. Nothing was pushed.
    pub fn try_push<E>(
        &mut self,
        max_len: usize,
        fill: impl FnOnce(&mut [u8]) -> Result<usize, E>,
    ) -> Result<Sequence, PushError<E>> {
        let longest = self.max_len();
        let span = record_span(max_len).filter(|_| max_len <= longest);
        let span = span.ok_or(PushError::TooLong { len: max_len, max: longest })?;
        self.reserve(span)?;
        let (len, sequence) = (self.fill(span, fill)?, Sequence(self.last.0 + 1));
        self.head += record_span(len).unwrap_or(span) as u64;
        self.last = sequence;
        self.mapping.word(Word::Head).store(self.head, Ordering::Release);
        self.nudge();
        Ok(sequence)
    }

    fn fill<E>(
        &self,
        span: usize,
        fill: impl FnOnce(&mut [u8]) -> Result<usize, E>,
    ) -> Result<usize, PushError<E>> {
        // SAFETY: this is the ring's only producer (`Producer` is not `Clone`, and `&mut self` at the one caller keeps
        // slots from overlapping), `reserve` found `span` bytes free from `head` on, and `head` is not published yet.
        let slot = unsafe { self.mapping.slot_mut(self.head, span) };
        let (header, payload) = slot.split_at_mut(RECORD_HEADER_LEN);
        let len = fill(payload).map_err(PushError::Fill)?.min(payload.len());
        // Recorded as it lies: stale bytes between payload and grain are never copied out.
        let words = [(len as u32).to_le_bytes(), RECORD_MARK.to_le_bytes()];
        let [head, tail] = &mut header.as_chunks_mut::<8>().0 else { return Ok(0) };
        head.copy_from_slice(words.as_flattened());
        *tail = (self.last.0 + 1).to_le_bytes();
        Ok(len)
    }

    /// Makes sure of `span` free bytes. The consumer's word is only read when ours is not enough.
    fn reserve<E>(&mut self, span: usize) -> Result<(), PushError<E>> {
        let capacity = self.mapping.capacity() as u64;
        if self.head - self.written + span as u64 > capacity {
            self.written = self.read_written().map_err(PushError::Ring)?;
        }
        if Nap::is_retired(self.mapping.word(Word::Nap).load(Ordering::Relaxed)) {
            return Err(PushError::Ring(Error::Retired));
        }
        if self.head - self.written + span as u64 > capacity { Err(PushError::Full) } else { Ok(()) }
    }

    fn read_written(&self) -> Result<u64, Error> {
        let value = self.mapping.word(Word::Written).load(Ordering::Acquire);
        let inconsistent = |limit| Err(Error::Inconsistent { word: "written", value, limit });
        if value > self.head {
            return inconsistent("past the last record that was published");
        }
        if value < self.written {
            return inconsistent("less than it was before");
        }
        if !value.is_multiple_of(GRAIN as u64) {
            return inconsistent("between two records");
        }
        Ok(value)
    }

    /// Rings a sleeping consumer. A dozing one looks again within milliseconds by itself, and is only rung when enough
    /// has gathered. No fence: a consumer that falls asleep in this very instant also wakes by itself, a little later.
    fn nudge(&mut self) {
        let nap = self.mapping.word(Word::Nap).load(Ordering::Relaxed);
        if Nap::is_asleep(nap) || (Nap::is_dozing(nap) && self.has_gathered()) {
            self.rouse(nap);
        }
    }

    /// The consumer's word is only read when ours says that it is time, and ours is renewed then.
    fn has_gathered(&mut self) -> bool {
        let enough = gathering(self.mapping.capacity());
        if self.head - self.written <= enough {
            return false;
        }
        // A word that makes no sense is told by the next `reserve` that needs it.
        self.written = self.read_written().unwrap_or(self.written);
        self.head - self.written > enough
    }

    fn rouse(&self, nap: u64) {
        let word = self.mapping.word(Word::Nap);
        if word.compare_exchange(nap, Nap::AWAKE, Ordering::AcqRel, Ordering::Relaxed).is_ok() {
            wake::ring(self.bells.consumer.as_fd());
        }
    }

    /// Last record that the disk has acknowledged. A record waits until this is at least its own sequence.
    ///
    /// # Errors
    /// The consumer's: it acknowledged what was never pushed.
    pub fn durable(&self) -> Result<Sequence, Error> {
        let value = self.mapping.word(Word::Durable).load(Ordering::Acquire);
        if value > self.last.0 {
            let limit = "past the last record that was published";
            return Err(Error::Inconsistent { word: "durable", value, limit });
        }
        Ok(Sequence(value))
    }

    /// Says that somebody waits for `sequence` to be durable: the recorder commits soon, and then rings [`Self::bell`].
    /// Look at [`Self::durable`] after this and before waiting.
    pub fn want_durable(&mut self, sequence: Sequence) {
        if sequence <= self.wanted {
            return;
        }
        self.wanted = sequence;
        self.mapping.word(Word::Wanted).store(sequence.0, Ordering::Release);
        self.rouse_surely();
    }

    /// Says that the producer waits for space: the recorder rings [`Self::bell`] once a quarter of the ring is free.
    /// True: there is room for `max_len` bytes now, do not wait.
    ///
    /// # Errors
    /// The consumer's: it retired or broke the ring.
    pub fn wait_for_space(&mut self, max_len: usize) -> Result<bool, Error> {
        self.mapping.word(Word::SpaceWanted).store(1, Ordering::Release);
        self.rouse_surely();
        self.written = self.read_written()?;
        if Nap::is_retired(self.mapping.word(Word::Nap).load(Ordering::Relaxed)) {
            return Err(Error::Retired);
        }
        let room = self.mapping.capacity() as u64 - (self.head - self.written);
        Ok(record_span(max_len).is_some_and(|span| span as u64 <= room))
    }

    /// Whether `len` bytes of the ring are free. The consumer's word is only read when ours is not enough.
    ///
    /// # Errors
    /// The consumer's: `written` is not a place in this ring.
    pub fn has_room(&mut self, len: usize) -> Result<bool, Error> {
        let capacity = self.mapping.capacity() as u64;
        let fits = |producer: &Self| capacity - (producer.head - producer.written) >= len as u64;
        if !fits(self) {
            self.written = self.read_written()?;
        }
        Ok(fits(self))
    }

    /// Bytes of the ring that hold records not yet written by the recorder.
    ///
    /// # Errors
    /// The consumer's: `written` is not a place in this ring.
    pub fn used_bytes(&self) -> Result<usize, Error> {
        Ok((self.head - self.read_written()?) as usize)
    }

    /// How the recorder's disk is.
    #[must_use]
    pub fn pressure(&self) -> Pressure {
        Pressure::from_code(self.mapping.word(Word::Pressure).load(Ordering::Relaxed))
    }

    /// Pairs with the fence of `Consumer::nap`: either we see its nap, or it sees our word.
    fn rouse_surely(&self) {
        fence(Ordering::SeqCst);
        let nap = self.mapping.word(Word::Nap).load(Ordering::Relaxed);
        if Nap::is_asleep(nap) || Nap::is_dozing(nap) {
            self.rouse(nap);
        }
    }
}
