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
    of: Option<(Lane, u64)>,
    json: Vec<u8>,
}

impl Ending {
    fn begin(&mut self, of: (Lane, u64), json: &[u8]) {
        self.of = Some(of);
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
        if !self.is_recorded() || self.seals() {
            return Ok(bytes.len());
        }
        let mut recorded = 0;
        for chunk in bytes.chunks(CHUNK_BYTES) {
            let up = self.account();
            let down = u32::try_from(chunk.len()).unwrap_or(u32::MAX);
            let ended = self.ending.of;
            let (lane, ordinal) = ended.unwrap_or_else(|| (Lane::default(), self.current(Lane::default())));
            let stamp = Stamp { session: self.live().id.get(), now, ordinal, lane: lane.0 };
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
                    self.ending.of = None;
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
        self.passed(notes.take_passed());
        if notes.is_empty() {
            return Ok(());
        }
        for (lane, kind, bytes) in notes.with_lanes() {
            match kind {
                NoteKind::Upload => {
                    self.settle(worker, now)?;
                    self.upload_on(worker, lane, bytes, now)?;
                }
                NoteKind::Alarm => {
                    self.alarm(worker, bytes);
                    self.put_ledger(worker, lane, bytes, now)?;
                }
                NoteKind::MaskLedger => self.put_ledger(worker, lane, bytes, now)?,
                NoteKind::Outcome => {
                    let of = self.command_over(lane);
                    if self.is_recorded() {
                        self.settle(worker, now)?;
                        self.ending.begin((lane, of), bytes);
                    }
                }
                NoteKind::Answer => self.put_answer(worker, lane, bytes, now)?,
                NoteKind::Event => self.put_event(worker, lane, bytes, now)?,
            }
        }
        notes.clear();
        Ok(())
    }

    fn put_ledger(&mut self, worker: &Worker, lane: Lane, json: &[u8], now: Now) -> Result<(), Ended> {
        if !self.is_recorded() {
            return Ok(());
        }
        self.settle(worker, now)?;
        let ordinal = self.current(lane);
        let body = Body::MaskLedger(weir_segment::MaskLedger { json: json.into() });
        self.put(worker, ordinal, lane, Direction::ToClient, (0, 0), body, now).map(drop)
    }

    /// What the client is sent, of a machine that seals it.
    fn put_answer(&mut self, worker: &Worker, lane: Lane, bytes: &[u8], now: Now) -> Result<(), Ended> {
        if !self.is_recorded() {
            return Ok(());
        }
        self.settle(worker, now)?;
        let ordinal = self.current(lane);
        for chunk in bytes.chunks(CHUNK_BYTES) {
            let body = Body::Response(weir_segment::Response { bytes: chunk.into() });
            let accounted = (self.account(), self.account_answers());
            self.put(worker, ordinal, lane, Direction::ToClient, accounted, body, now)?;
        }
        Ok(())
    }

    fn put_event(&mut self, worker: &Worker, lane: Lane, json: &[u8], now: Now) -> Result<(), Ended> {
        if !self.is_recorded() {
            return Ok(());
        }
        self.settle(worker, now)?;
        let ordinal = self.current(lane);
        let body = Body::Admin(weir_segment::Admin { json: json.into() });
        self.put(worker, ordinal, lane, Direction::Gateway, (0, 0), body, now).map(drop)
    }

    /// Something that people should look at.
    fn alarm(&self, worker: &Worker, json: &[u8]) {
        worker.metrics.alarms.add(1);
        let told = String::from_utf8_lossy(json);
        tracing::warn!(session = %self.live().id.get(), "alarm: {told}");
    }

    /// Records client data inside an allowed command, before it is forwarded.
    pub(crate) fn upload(&self, worker: &Worker, bytes: &[u8], now: Now) -> Result<(), Ended> {
        self.upload_of(worker, (Lane::default(), self.ordinal()), (0, bytes), now)
    }

    /// The same from a machine's notes.
    fn upload_on(&mut self, worker: &Worker, lane: Lane, bytes: &[u8], now: Now) -> Result<(), Ended> {
        if !self.seals() {
            return self.upload(worker, bytes, now);
        }
        let (ordinal, accounted) = (self.current(lane), self.account());
        self.upload_of(worker, (lane, ordinal), (accounted, bytes), now)
    }

    fn upload_of(
        &self,
        worker: &Worker,
        (lane, ordinal): (Lane, u64),
        (mut accounted, bytes): (u32, &[u8]),
        now: Now,
    ) -> Result<(), Ended> {
        if !self.is_recorded() {
            return Ok(());
        }
        for chunk in bytes.chunks(CHUNK_BYTES) {
            let body = Body::Upload(weir_segment::Upload {
                bytes: chunk.into(),
                original_bytes: chunk.len() as u64,
            });
            let up = std::mem::take(&mut accounted);
            self.put(worker, ordinal, lane, Direction::ToUpstream, (up, 0), body, now)?;
        }
        Ok(())
    }

    /// Records how a command ended that was not told with an answer.
    ///
    /// # Errors
    /// The recorder's: it is too far behind, or gave up.
    pub(crate) fn settle(&mut self, worker: &Worker, now: Now) -> Result<(), Ended> {
        let Some((lane, ordinal)) = self.ending.of else { return Ok(()) };
        let accounted = if self.seals() { (self.account(), self.account_answers()) } else { (0, 0) };
        let body = self.ending.with(&[]);
        self.put(worker, ordinal, lane, Direction::ToClient, accounted, body, now)?;
        self.ending.of = None;
        Ok(())
    }

    /// The command that the upstream answers now on a lane.
    fn current(&self, lane: Lane) -> u64 {
        let running = self.running.iter().find(|(on, _)| *on == lane.conversation());
        running.map_or_else(|| self.ordinal(), |(_, ordinal)| *ordinal)
    }

    /// The same, which is over.
    fn command_over(&mut self, lane: Lane) -> u64 {
        let place = self.running.iter().position(|(on, _)| *on == lane.conversation());
        let over = place.and_then(|place| self.running.remove(place));
        over.map_or_else(|| self.ordinal(), |(_, ordinal)| ordinal)
    }
}
