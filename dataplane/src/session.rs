//! The driver: moves bytes between two sockets and one machine, decides what the machine asks, and records both.
//!
//! One task a session, one poll function: orders from outside, then the client's side, then the upstream's. It keeps
//! rules 1 to 8 of `wire`; what is specific to a protocol is the machine's. A wake-up handles everything that is
//! there before anything is flushed, so that a transaction costs one read and one write a direction.
//!
//! | who failed | logged at | the client is told | counted as |
//! |---|---|---|---|
//! | client | `INFO` | the machine's own text | `faults_client` |
//! | gateway | `ERROR` | the machine's own text | `faults_gateway` |
//! | upstream | `WARN` | the machine's own text | `faults_upstream` |
//!
//! A machine's errors are a closed list of texts without data of either peer; `Denial` is the other source.

mod answers;
mod desk;
mod ending;
mod entry;
mod flow;
mod held;
pub(crate) mod login;
pub(crate) mod machine;
mod originals;
#[cfg(test)]
mod panics;
mod purse;
mod releases;
mod shown;
#[cfg(test)]
mod simulation;
mod tell;

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use weir_policy::{Caller, Decide, Request, Timestamp, Verdict};
use weir_wire::{Action, Machine, Side, Step};

use crate::clock::Now;
use crate::net::Watch;
use crate::record::CHUNK_BYTES;
use crate::roll::Live;
use crate::socket::{READ_BYTES, Received, Scratch, Socket};
use crate::worker::{Bench, Worker};
pub(crate) use ending::{linger, ms};
pub(crate) use shown::{hex, unhex};

use desk::Desk;
use ending::{Ended, Leaving};
use flow::{Peer, Run, left};
use login::{Arrival, LoggedIn, Presented};

/// Reads of one side in one wake-up, before others get their turn.
const READS_A_TURN: usize = 4;
/// Rounds of one wake-up; a session that still has work then queues up again behind the others.
const ROUNDS_A_TURN: usize = 8;

/// The one place where a command is decided and the answer has consequences.
fn judge(worker: &Worker, caller: &Caller, request: &Request<'_>, now: Timestamp) -> Verdict {
    let policy = Rc::clone(&worker.policy.borrow());
    policy.decide(caller, request, now)
}

type LoginFuture = Pin<Box<dyn Future<Output = Result<LoggedIn, login::Refused>>>>;

/// One session of one protocol.
pub(crate) struct Session<M: Machine> {
    worker: Rc<Worker>,
    live: Rc<Live>,
    machine: M,
    desk: Desk,
    client: Peer,
    upstream: Peer,
    login: Option<LoginFuture>,
    login_polled: bool,
    /// The place in the queue of sessions that have more to do.
    turn: Option<Watch>,
    /// What the login under way presented, until the upstream accepted it too.
    presented: Option<Presented>,
    retried: bool,
    arrival: Arrival,
    closing: Option<Ended>,
    /// The ring has no room for what a step may write.
    starved: bool,
    leaving: Option<Leaving>,
    now: Now,
    /// Since when the upstream owes its first word; `None`: it has spoken, or there is none yet.
    unanswered_ms: Option<u64>,
    /// When either peer last sent something.
    active_ms: u64,
    /// The login is over, upstream too.
    greeted: bool,
    /// Of the bundle that the machine knows of.
    generation: u64,
}

impl<M: Machine + 'static> Session<M> {
    /// `early` is plaintext that was read with the handshake's end.
    pub(crate) fn new(
        worker: Rc<Worker>,
        live: Rc<Live>,
        machine: M,
        client: Socket,
        early: Vec<u8>,
        protocol: weir_control::Protocol,
        arrival: Arrival,
    ) -> Self {
        let now = Now::read();
        let mut client = Peer::new(Some(client));
        client.unread = early;
        client.stalled = true;
        Self {
            desk: Desk::new(&live, protocol, M::SEALS),
            live,
            machine,
            client,
            upstream: Peer::new(None),
            login: None,
            login_polled: false,
            turn: None,
            presented: None,
            retried: false,
            arrival,
            closing: None,
            starved: false,
            leaving: None,
            now,
            unanswered_ms: None,
            active_ms: now.monotonic_ms(),
            greeted: false,
            generation: worker.generation.get(),
            worker,
        }
    }

    /// Runs to the end. Boxed: a future holds its arguments twice.
    pub(crate) async fn run(mut self: Box<Self>) {
        let ended = poll_fn(|context| self.poll(context)).await;
        self.finish(&ended);
        let Some(socket) = self.client.socket.take() else { return };
        if !self.client.ended {
            linger(&socket).await;
        }
    }

    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Ended> {
        self.live.woken_by(context.waker());
        self.now = Now::read();
        let generation = self.worker.generation.get();
        if self.generation != generation {
            self.generation = generation;
            self.machine.bundle_changed(generation);
            self.desk.open_budgets(&self.worker, self.now);
        }
        // Whichever wait this wake-up ended, it must be asked for again.
        self.client.asked = false;
        self.upstream.asked = false;
        for _ in 0..ROUNDS_A_TURN {
            match self.round(context) {
                Ok(true) => {}
                Ok(false) => {
                    if let Some(ended) = self.drained() {
                        return Poll::Ready(ended);
                    }
                    self.rearm();
                    return Poll::Pending;
                }
                Err(ended) => self.begin_end(ended),
            }
        }
        self.queue_up(context);
        Poll::Pending
    }

    /// Goes on behind everybody else. By way of the kernel: a task that wakes itself would keep the core from asking
    /// what has become ready for the others.
    fn queue_up(&mut self, context: &mut Context<'_>) {
        let worker = &self.worker;
        let turn = self.turn.get_or_insert_with(|| Watch::readable(&worker.always_ready));
        while turn.poll(context).is_ready() {}
    }

    /// One look at everything. True: something is left to do at once.
    fn round(&mut self, context: &mut Context<'_>) -> Result<bool, Ended> {
        self.orders(context)?;
        self.poll_login(context)?;
        if self.closing.is_none() {
            self.step_on(Side::Client, context)?;
            self.step_on(Side::Upstream, context)?;
            self.read(Side::Client, context)?;
            self.read(Side::Upstream, context)?;
            self.tell_end(Side::Client, context)?;
            self.tell_end(Side::Upstream, context)?;
        }
        self.write(Side::Upstream, context)?;
        self.write(Side::Client, context)?;
        self.desk.settle(&self.worker, self.now)?;
        if self.closing.is_some() {
            return Ok(false);
        }
        self.at_idle_boundary()?;
        Ok(self.has_work(Side::Client) || self.has_work(Side::Upstream) || self.login_is_new())
    }

    /// What nobody will wake the session for.
    fn has_work(&mut self, side: Side) -> bool {
        let peer = self.peer(side);
        let (stalled, untold, asked) = (peer.stalled, peer.ended && !peer.end_told, peer.asked);
        (stalled && self.may_step(side)) || (untold && !stalled) || (!asked && self.may_read(side))
    }

    fn peer(&mut self, side: Side) -> &mut Peer {
        match side {
            Side::Client => &mut self.client,
            Side::Upstream => &mut self.upstream,
        }
    }

    // --- reading ---------------------------------------------------------------------------------------------------

    /// Whether bytes of this side may be looked at: nobody it waits for, and room where they go.
    fn may_step(&mut self, from: Side) -> bool {
        let bound = self.worker.shared.config.limits.queue_bytes;
        let busy = from == Side::Client && self.login.is_some();
        let full = self.peer(from.other()).queue.len() > bound || self.answers_unread(from);
        !busy && !full && !self.starved && self.closing.is_none()
    }

    /// A peer that makes the machine answer by itself must read the answers.
    fn answers_unread(&mut self, from: Side) -> bool {
        let bound = self.worker.shared.config.limits.queue_bytes;
        M::SEALS && self.peer(from).queue.len() > bound.saturating_mul(2)
    }

    fn may_read(&mut self, from: Side) -> bool {
        // What a machine leaves unread while it waits (a hold, a login) is bounded as a queue is; anywhere else it may
        // wait for the rest of one message, behind which a pipelining client must not fill memory.
        let limits = &self.worker.shared.config.limits;
        let waits = self.login.is_some() || self.desk.holds();
        let bound =
            if waits { limits.queue_bytes } else { limits.message_bytes.saturating_add(limits.queue_bytes) };
        let login = self.login.is_some() && from == Side::Client;
        let peer = self.peer(from);
        let open = peer.socket.is_some() && !peer.ended && !peer.stalled && peer.unread.len() <= bound;
        open && (login || self.may_step(from))
    }

    /// Reads what is there, and asks to be woken for more.
    fn read(&mut self, from: Side, context: &mut Context<'_>) -> Result<(), Ended> {
        for _ in 0..READS_A_TURN {
            if self.peer(from).asked || !self.may_read(from) {
                return Ok(());
            }
            let Some(socket) = &mut self.peer(from).socket else { return Ok(()) };
            match socket.poll_readable(context) {
                Poll::Pending => {
                    self.peer(from).asked = true;
                    return Ok(());
                }
                Poll::Ready(Err(_)) => return Err(left(from)),
                Poll::Ready(Ok(())) => self.read_ready(from, context)?,
            }
        }
        Ok(())
    }

    fn read_ready(&mut self, from: Side, context: &mut Context<'_>) -> Result<(), Ended> {
        let worker = Rc::clone(&self.worker);
        let mut bench = worker.bench.borrow_mut();
        for _ in 0..READS_A_TURN {
            let Bench { scratch: Scratch { plain, wire }, .. } = &mut *bench;
            // Taken along by a session that panicked.
            plain.reserve(READ_BYTES.saturating_sub(plain.capacity()));
            let Some(socket) = &mut self.peer(from).socket else { return Ok(()) };
            match socket.receive(plain, wire).map_err(|_| left(from))? {
                Received::Nothing => return Ok(()),
                Received::End => {
                    self.peer(from).ended = true;
                    return Ok(());
                }
                Received::Plain { more } => {
                    self.active_ms = self.now.monotonic_ms();
                    if from == Side::Upstream {
                        self.unanswered_ms = None;
                    }
                    let plain = std::mem::take(&mut bench.scratch.plain);
                    let taken = self.take(from, &plain, &mut bench, context);
                    bench.scratch.plain = plain;
                    taken?;
                    if !more || !self.may_read(from) {
                        return Ok(());
                    }
                }
            }
        }
        Ok(())
    }

    /// New bytes of one side: straight to the machine, or behind what it has not taken yet.
    fn take(
        &mut self,
        from: Side,
        fresh: &[u8],
        bench: &mut Bench,
        context: &mut Context<'_>,
    ) -> Result<(), Ended> {
        if self.peer(from).unread.is_empty() {
            let used = self.drive(from, fresh, None, bench, context)?;
            let rest = fresh.get(used..).unwrap_or_default();
            if !rest.is_empty() {
                self.peer(from).unread = rest.to_vec();
            }
            return Ok(());
        }
        self.peer(from).unread.extend_from_slice(fresh);
        self.drive_unread(from, None, bench, context)
    }

    fn drive_unread(
        &mut self,
        from: Side,
        first: Option<Action>,
        bench: &mut Bench,
        context: &mut Context<'_>,
    ) -> Result<(), Ended> {
        if first.is_none() && !self.may_step(from) {
            self.peer(from).stalled = true;
            return Ok(());
        }
        let mut unread = std::mem::take(&mut self.peer(from).unread);
        let used = self.drive(from, &unread, first, bench, context)?;
        if used == unread.len() {
            // Its capacity is not worth keeping for an idle session.
            unread = Vec::new();
        } else {
            unread.drain(..used);
        }
        self.peer(from).unread = unread;
        Ok(())
    }

    /// Goes on with input that a full queue, a full ring or a login kept waiting.
    fn step_on(&mut self, from: Side, context: &mut Context<'_>) -> Result<(), Ended> {
        if self.starved {
            self.starved = !self.worker.record.borrow_mut().has_room();
            self.desk.check_record(&self.worker)?;
        }
        if !self.peer(from).stalled || !self.may_step(from) {
            return Ok(());
        }
        self.peer(from).stalled = false;
        let worker = Rc::clone(&self.worker);
        let mut bench = worker.bench.borrow_mut();
        self.drive_unread(from, None, &mut bench, context)
    }

    /// Tells the machine that a peer sends no more, once everything before that was looked at.
    fn tell_end(&mut self, side: Side, context: &mut Context<'_>) -> Result<(), Ended> {
        let peer = self.peer(side);
        if !peer.ended || peer.end_told || peer.stalled {
            return Ok(());
        }
        peer.end_told = true;
        let worker = Rc::clone(&self.worker);
        let mut bench = worker.bench.borrow_mut();
        self.lend_queues(&mut bench);
        let action = self.machine.ended(side, self.now.timestamp(), &mut bench.out);
        let noted = self.desk.notes(&worker, &mut bench.out.notes, self.now);
        self.return_queues(&mut bench);
        noted?;
        match action.map_err(|error| Ended::failed(&error))? {
            Action::Close => Err(left(side)),
            action @ (Action::Discard { .. } | Action::Forward { .. } | Action::NeedMore) => {
                self.drive_unread(side, Some(action), &mut bench, context)
            }
        }
    }

    /// Steps the machine over `input` until it needs more, then flushes. The answer is how much of it is done with.
    fn drive(
        &mut self,
        from: Side,
        input: &[u8],
        first: Option<Action>,
        bench: &mut Bench,
        context: &mut Context<'_>,
    ) -> Result<usize, Ended> {
        let mut run = Run::default();
        let mut at = 0;
        self.lend_queues(bench);
        let outcome = self.steps(from, input, first, (&mut at, &mut run), bench, context);
        let worker = Rc::clone(&self.worker);
        let noted = self.desk.notes(&worker, &mut bench.out.notes, self.now);
        self.return_queues(bench);
        noted?;
        if self.greeted {
            // What ended the session is not done with, and was said all the same.
            let said = if outcome.is_err() { input } else { input.get(..at).unwrap_or_default() };
            self.desk.originals(&worker, from, said, self.now)?;
        }
        self.flush_run(from.other(), run.of(input), bench, context)?;
        self.flush(from, bench, context)?;
        outcome.map(|()| at)
    }

    fn steps(
        &mut self,
        from: Side,
        input: &[u8],
        mut first: Option<Action>,
        (at, run): (&mut usize, &mut Run),
        bench: &mut Bench,
        context: &mut Context<'_>,
    ) -> Result<(), Ended> {
        let worker = Rc::clone(&self.worker);
        let to = from.other();
        loop {
            if self.peer(from).passing > 0 {
                // What the client sends is recorded as it passes; answers are as they are sent.
                if from == Side::Client && self.must_pause(from, bench, context) {
                    self.peer(from).stalled = true;
                    return Ok(());
                }
                self.desk.notes(&worker, &mut bench.out.notes, self.now)?;
                self.pass(from, input, at, run, bench.out.queue(to))?;
                if self.peer(from).passing > 0 {
                    return Ok(());
                }
            }
            let action = match first.take() {
                Some(action) => action,
                None => {
                    if self.must_pause(from, bench, context) {
                        self.peer(from).stalled = true;
                        return Ok(());
                    }
                    let before = bench.out.queue(to).len();
                    let action = self.step(from, input.get(*at..).unwrap_or_default(), bench);
                    run.keep_in_order(input, before, bench.out.queue(to));
                    if bench.out.notes.len_bytes() >= CHUNK_BYTES {
                        self.desk.notes(&worker, &mut bench.out.notes, self.now)?;
                    }
                    match action? {
                        Some(Action::NeedMore) | None => return Ok(()),
                        Some(action) => action,
                    }
                }
            };
            // Rule 9: what happened here may have freed the other side.
            let other = self.peer(to);
            other.stalled |= !other.unread.is_empty();
            match action {
                Action::NeedMore => return Ok(()),
                Action::Close => return Err(Ended::Closed),
                Action::Discard { len } => *at = (*at + len).min(input.len()),
                Action::Forward { len } => self.forward(from, len, input, (at, run), bench.out.queue(to)),
            }
        }
    }

    /// One step, and the answer to what it asks. `None`: the machine waits for a login.
    fn step(&mut self, from: Side, input: &[u8], bench: &mut Bench) -> Result<Option<Action>, Ended> {
        let now = self.now.timestamp();
        let Self { machine, desk, worker, .. } = self;
        if from == Side::Upstream {
            bench.out.row_allowance = desk.take_rows();
        }
        let stepped = machine.step(from, input, now, &mut bench.out);
        if from == Side::Upstream {
            desk.give_rows(bench.out.row_allowance);
        }
        let step = match stepped {
            Ok(step) => step,
            Err(error) if machine::is_stale(&error) => {
                let failed = Ended::failed(&error);
                return if self.log_in_again() { Ok(None) } else { Err(failed) };
            }
            Err(error) => return Err(Ended::failed(&error)),
        };
        match step {
            Step::Act(action) => Ok(Some(action)),
            Step::Decide { lane, request } => {
                // What was noted before the command stands before it in the record.
                desk.notes(worker, &mut bench.out.notes, self.now)?;
                if desk.wants_body(worker, &request) {
                    let action = machine.collect(lane, now, &mut bench.out);
                    return action.map(Some).map_err(|error| Ended::failed(&error));
                }
                let verdict = desk.rule(worker, lane, &request, self.now)?;
                let action = machine.resume(lane, verdict, now, &mut bench.out);
                action.map(Some).map_err(|error| Ended::failed(&error))
            }
            Step::Identify(login) => {
                let presented = Presented::new(&login);
                self.begin_login(presented, false);
                Ok(None)
            }
        }
    }

    fn must_pause(&mut self, from: Side, bench: &Bench, context: &mut Context<'_>) -> bool {
        let bound = self.worker.shared.config.limits.queue_bytes;
        let (own, queued) = match from {
            Side::Client => (bench.out.client.len(), bench.out.upstream.len()),
            Side::Upstream => (bench.out.upstream.len(), bench.out.client.len()),
        };
        let unread = M::SEALS && own > bound.saturating_mul(2);
        if queued > bound
            || unread
            || self.closing.is_some()
            || (from == Side::Client && self.login.is_some())
        {
            return true;
        }
        if self.desk.is_recorded() {
            let mut record = self.worker.record.borrow_mut();
            self.starved = !record.has_room() && !record.wait_for_room(context.waker());
        }
        self.starved
    }
}
