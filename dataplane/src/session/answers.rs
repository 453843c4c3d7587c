//! What goes by while commands run, on its way into the record: answers, what a client sends inside a command, what was
//! masked, how commands ended. It decides nothing.
//!
//! How a command ended is told with the answer's bytes that are sent in the same turn: one event instead of two for
//! all commands that are short. It never waits beyond the turn: [`Desk::settle`].

use std::task::Waker;

use weir_segment::{Body, Direction};
use weir_wire::{Lane, NoteKind, Notes};

use super::Ended;
use super::desk::{Desk, lost_text};
use crate::clock::Now;
use crate::record::{CHUNK_BYTES, Lost, Stamp};
use crate::worker::Worker;

/// How a command ended, waiting for the answer that it is told with.
#[derive(Default)]
pub(super) struct Ending {
    ordinal: Option<u64>,
    json: Vec<u8>,
}

impl Ending {
    fn begin(&mut self, ordinal: u64, json: &[u8]) {
        self.ordinal = Some(ordinal);
        self.json.clear();
        self.json.extend_from_slice(json);
    }

    fn with<'a>(&'a self, answer: &'a [u8]) -> Body<'a> {
        Body::Outcome(weir_segment::Outcome { json: self.json.as_slice().into(), answer: answer.into() })
    }
}

impl Desk {
    /// Records what is about to be sent to the client; the answer is how much of it is in the record now.
    pub(crate) fn answer(
        &mut self,
        worker: &Worker,
        bytes: &[u8],
        now: Now,
        waker: &Waker,
    ) -> Result<usize, Ended> {
        if !self.is_recorded() {
            return Ok(bytes.len());
        }
        let mut recorded = 0;
        for chunk in bytes.chunks(CHUNK_BYTES) {
            let up = self.account();
            let down = u32::try_from(chunk.len()).unwrap_or(u32::MAX);
            let ended = self.ending.ordinal;
            let ordinal = ended.unwrap_or_else(|| self.current());
            let stamp = Stamp { session: self.live().id.get(), now, ordinal, lane: 0 };
            let body = || match ended {
                Some(_) => self.ending.with(chunk),
                None => Body::Response(weir_segment::Response { bytes: chunk.into() }),
            };
            let mut record = worker.record.borrow_mut();
            let mut pushed = record.push(stamp, Direction::ToClient, (up, down), body());
            if matches!(pushed, Err(Lost::Full)) && record.wait_for_room(waker) {
                pushed = record.push(stamp, Direction::ToClient, (up, down), body());
            }
            match pushed {
                Ok(_) => {
                    recorded += chunk.len();
                    self.ending.ordinal = None;
                }
                Err(Lost::Full) => {
                    self.unaccounted += u64::from(up);
                    break;
                }
                Err(lost) => return Err(lost_text(&lost)),
            }
        }
        Ok(recorded)
    }

    /// Records what the machine noted in a step, before its bytes go anywhere.
    pub(crate) fn notes(&mut self, worker: &Worker, notes: &mut Notes, now: Now) -> Result<(), Ended> {
        if notes.is_empty() {
            return Ok(());
        }
        for (kind, bytes) in notes.iter() {
            match kind {
                NoteKind::Upload => {
                    self.settle(worker, now)?;
                    self.upload(worker, bytes, now)?;
                }
                NoteKind::MaskLedger if self.is_recorded() => {
                    self.settle(worker, now)?;
                    let ordinal = self.current();
                    let body = Body::MaskLedger(weir_segment::MaskLedger { json: bytes.into() });
                    self.put(worker, ordinal, Lane::default(), Direction::ToClient, (0, 0), body, now)?;
                }
                NoteKind::Alarm => {
                    worker.metrics.alarms.add(1);
                    let told = String::from_utf8_lossy(bytes);
                    tracing::warn!(session = %self.live().id.get(), "alarm: {told}");
                    if self.is_recorded() {
                        self.settle(worker, now)?;
                        let ordinal = self.current();
                        let body = Body::MaskLedger(weir_segment::MaskLedger { json: bytes.into() });
                        self.put(worker, ordinal, Lane::default(), Direction::ToClient, (0, 0), body, now)?;
                    }
                }
                NoteKind::Outcome => {
                    let ordinal = self.running.pop_front().unwrap_or(self.ordinal());
                    if self.is_recorded() {
                        self.settle(worker, now)?;
                        self.ending.begin(ordinal, bytes);
                    }
                }
                NoteKind::MaskLedger => {}
            }
        }
        notes.clear();
        Ok(())
    }

    /// Records client data inside an allowed command, before it is forwarded.
    pub(crate) fn upload(&self, worker: &Worker, bytes: &[u8], now: Now) -> Result<(), Ended> {
        if !self.is_recorded() {
            return Ok(());
        }
        for chunk in bytes.chunks(CHUNK_BYTES) {
            let body = Body::Upload(weir_segment::Upload {
                bytes: chunk.into(),
                original_bytes: chunk.len() as u64,
            });
            self.put(worker, self.ordinal(), Lane::default(), Direction::ToUpstream, (0, 0), body, now)?;
        }
        Ok(())
    }

    /// Records how a command ended that was not told with an answer.
    ///
    /// # Errors
    /// The recorder's: it is too far behind, or gave up.
    pub(crate) fn settle(&mut self, worker: &Worker, now: Now) -> Result<(), Ended> {
        let Some(ordinal) = self.ending.ordinal else { return Ok(()) };
        let body = self.ending.with(&[]);
        self.put(worker, ordinal, Lane::default(), Direction::ToClient, (0, 0), body, now)?;
        self.ending.ordinal = None;
        Ok(())
    }

    /// The command that the upstream answers now.
    fn current(&self) -> u64 {
        self.running.front().copied().unwrap_or_else(|| self.ordinal())
    }
}
