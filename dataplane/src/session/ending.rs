//! How a session ends: why, what is said, and what is cleaned up; and the time limits that lead there.

use std::rc::Rc;
use std::task::Context;
use std::time::Duration;

use weir_wire::{Blame, Farewell, Fault, Machine, Side};

use super::Session;
use crate::clock::Now;
use crate::net::{self, Either, race};
use crate::roll::Order;
use crate::socket::{Socket, read_some};
use crate::upstream;

/// How long last words may take to leave.
const LAST_WORDS_MS: u64 = 3_000;

/// Why a session ends.
#[derive(Debug)]
pub(crate) enum Ended {
    /// The machine said so, after its last words.
    Closed,
    ClientLeft,
    UpstreamLeft,
    Idle,
    Expired,
    Revoked(String),
    /// The recorder keeps what room is left for the ends of sessions.
    DiskFull,
    Shutdown,
    /// Before a login.
    LoginTimeout,
    Failed {
        fault: Fault,
        text: String,
    },
}

/// Why a session ends at its next idle boundary.
#[derive(Clone, Copy, Debug)]
pub(super) enum Leaving {
    DiskFull,
    Drain,
}

impl Ended {
    /// For the record and for lists.
    pub(crate) fn reason(&self) -> String {
        match self {
            Self::Closed => "closed".to_owned(),
            Self::ClientLeft => "the client left".to_owned(),
            Self::UpstreamLeft => "the upstream closed the connection".to_owned(),
            Self::Idle => "idle for longer than the limit".to_owned(),
            Self::Expired => "the token expired".to_owned(),
            Self::Revoked(reason) => format!("ended by an administrator: {reason}"),
            Self::DiskFull => "the recording's disk is full".to_owned(),
            Self::Shutdown => "the gateway went down".to_owned(),
            Self::LoginTimeout => "no login in time".to_owned(),
            Self::Failed { text, .. } => text.clone(),
        }
    }

    const fn farewell(&self) -> Option<Farewell<'_>> {
        match self {
            Self::Closed | Self::ClientLeft => None,
            Self::UpstreamLeft => Some(Farewell::Fault("the upstream closed the connection")),
            Self::Idle => Some(Farewell::Idle),
            Self::Expired => Some(Farewell::Expired),
            Self::Revoked(_) => Some(Farewell::Revoked),
            Self::DiskFull => Some(Farewell::Fault(
                "the recording's disk is full, and nothing goes unrecorded: connect again when there is room",
            )),
            Self::Shutdown => Some(Farewell::Shutdown),
            Self::LoginTimeout => Some(Farewell::LoginTimeout),
            Self::Failed { text, .. } => Some(Farewell::Fault(text.as_str())),
        }
    }

    pub(crate) fn failed<E: Blame>(error: &E) -> Self {
        Self::Failed { fault: error.blame(), text: error.to_string() }
    }

    pub(crate) fn gateway(text: impl Into<String>) -> Self {
        Self::Failed { fault: Fault::Gateway, text: text.into() }
    }
}

impl<M: Machine + 'static> Session<M> {
    pub(super) fn orders(&mut self, context: &mut Context<'_>) -> Result<(), Ended> {
        if self.live.due.replace(false) {
            self.look_at_time(context)?;
        }
        for order in self.live.take_orders() {
            match order {
                Order::Answered(answer) => self.answered(answer, context)?,
                Order::Cancel => self.cancelled(context)?,
                Order::LookAtHolds => self.released_with_its_run(context)?,
                Order::Revoke(reason) if self.closing.is_none() => return Err(Ended::Revoked(reason)),
                Order::Stop if self.closing.is_none() => return Err(Ended::Shutdown),
                Order::Revoke(_) | Order::Stop => {}
                Order::RingLost if self.desk.is_recorded() && self.closing.is_none() => {
                    return Err(Ended::gateway("the recorder stopped: nothing can go on unrecorded"));
                }
                Order::RingLost => {}
                Order::DiskFull { at_once } if self.desk.is_recorded() && self.closing.is_none() => {
                    if at_once {
                        return Err(Ended::DiskFull);
                    }
                    self.leaving = Some(Leaving::DiskFull);
                }
                Order::DiskFull { .. } => {}
                Order::Drain => self.leaving = Some(Leaving::Drain),
            }
        }
        Ok(())
    }

    fn look_at_time(&mut self, context: &mut Context<'_>) -> Result<(), Ended> {
        let now = self.now.monotonic_ms();
        if self.closing.is_some() {
            return Ok(());
        }
        self.tick(context)?;
        let limits = &self.worker.shared.config.limits;
        if !self.greeted {
            if now >= self.live.accepted_ms + ms(limits.login_timeout) {
                return Err(Ended::LoginTimeout);
            }
            if self.unanswered_ms.is_some_and(|since| now >= since + ms(limits.dial_timeout)) {
                let text = "the upstream accepted the connection and did not answer in time".to_owned();
                return Err(Ended::Failed { fault: Fault::Upstream, text });
            }
            return Ok(());
        }
        if self.machine.idle() && now >= self.active_ms + ms(limits.idle_timeout) {
            return Err(Ended::Idle);
        }
        self.look_at_holds(context)
    }

    /// Between commands nothing is interrupted: where expiry and draining take effect.
    pub(super) fn at_idle_boundary(&mut self) -> Result<(), Ended> {
        if self.login.is_none() && self.machine.ends_at_expiry() && self.desk.is_expired(self.now) {
            return Err(Ended::Expired);
        }
        if self.login.is_some() || !self.machine.idle() {
            return Ok(());
        }
        if self.desk.is_open() {
            self.greeted = true;
            self.presented = None;
            self.desk.close_tabs();
        }
        match self.leaving {
            Some(Leaving::DiskFull) => return Err(Ended::DiskFull),
            Some(Leaving::Drain) => return Err(Ended::Shutdown),
            None => {}
        }
        Ok(())
    }

    pub(super) fn rearm(&self) {
        let limits = &self.worker.shared.config.limits;
        let now = self.now.monotonic_ms();
        let quiet = match self.greeted {
            true => self.active_ms + ms(limits.idle_timeout),
            false => {
                let login = self.live.accepted_ms + ms(limits.login_timeout);
                self.unanswered_ms.map_or(login, |since| login.min(since + ms(limits.dial_timeout)))
            }
        };
        // A long-running command keeps its session past the idle limit: look again then, not at once.
        let quiet = quiet.max(now + 100);
        let deadline = match &self.closing {
            Some(_) => return,
            None => quiet.min(self.desk.deadline_ms(self.now)).min(self.machine_deadline_ms()),
        };
        self.live.deadline_ms.set(deadline);
    }

    /// When the machine wants to be told that time passed, in monotonic milliseconds.
    fn machine_deadline_ms(&self) -> u64 {
        let Some(at) = self.machine.deadline() else { return u64::MAX };
        self.now.monotonic_ms().saturating_add(at.unix_ms().saturating_sub(self.now.wall_ms()))
    }

    /// Tells the machine, where its time has come.
    fn tick(&mut self, context: &mut Context<'_>) -> Result<(), Ended> {
        let now = self.now.timestamp();
        if self.machine.deadline().is_none_or(|at| at > now) {
            return Ok(());
        }
        let worker = Rc::clone(&self.worker);
        let mut bench = worker.bench.borrow_mut();
        self.lend_queues(&mut bench);
        let action = self.machine.tick(now, &mut bench.out);
        let noted = self.desk.notes(&worker, &mut bench.out.notes, self.now);
        self.return_queues(&mut bench);
        noted?;
        let action = action.map_err(|error| Ended::failed(&error))?;
        self.drive_unread(Side::Client, Some(action), &mut bench, context)
    }

    /// The first reason counts. Last words go out, for a while; then the session is over.
    pub(super) fn begin_end(&mut self, ended: Ended) {
        if self.closing.is_some() {
            // It failed again while closing: at that end nobody listens any more. Asked again, it would fail again.
            let upstream = matches!(ended, Ended::UpstreamLeft);
            let gone = if upstream { &mut self.upstream } else { &mut self.client };
            gone.queue.clear();
            gone.ended = true;
            gone.socket = None;
            return;
        }
        self.note_fault(&ended);
        if let Ended::ClientLeft = ended {
            self.client.queue.clear();
        }
        if let Some(why) = ended.farewell() {
            let worker = Rc::clone(&self.worker);
            // Taken by whoever failed in the middle of a step; what it wrote so far stays in order.
            if let Ok(mut bench) = worker.bench.try_borrow_mut() {
                self.lend_queues(&mut bench);
                self.machine.farewell(why, &mut bench.out);
                self.return_queues(&mut bench);
            }
        }
        self.cancel_upstream();
        self.login = None;
        self.desk.withdraw_all(&self.worker, "the session ended", self.now);
        self.live.deadline_ms.set(self.now.monotonic_ms() + LAST_WORDS_MS);
        self.closing = Some(ended);
    }

    fn note_fault(&self, ended: &Ended) {
        let Ended::Failed { fault, text } = ended else { return };
        let session = self.live.id.get();
        let metrics = &self.worker.metrics;
        match fault {
            Fault::Client => {
                metrics.faults_client.add(1);
                tracing::info!(%session, "client: {text}");
            }
            Fault::Gateway => {
                metrics.faults_gateway.add(1);
                tracing::error!(%session, "gateway: {text}");
            }
            Fault::Upstream => {
                metrics.faults_upstream.add(1);
                tracing::warn!(%session, "upstream: {text}");
            }
        }
    }

    /// What runs upstream for a session that is over would run on: say so there.
    pub(super) fn cancel_upstream(&self) {
        let (Some(request), Some(upstream)) = (self.machine.cancel_request(), self.desk.upstream()) else {
            return;
        };
        net::spawn(async move {
            let cancel = std::pin::pin!(upstream::cancel(&upstream, &request));
            let limit = std::pin::pin!(net::sleep(Duration::from_secs(5)));
            if let Either::First(Err(error)) = race(cancel, limit).await {
                tracing::warn!("cannot cancel upstream: {error}");
            }
        });
    }

    /// The end, once last words are out or their time is.
    pub(super) fn drained(&mut self) -> Option<Ended> {
        self.closing.as_ref()?;
        let late = self.now.monotonic_ms() >= self.live.deadline_ms.get();
        let said = self.client.ended || !self.client.has_output();
        let told = !matches!(self.closing, Some(Ended::Closed))
            || !self.upstream.has_output()
            || self.upstream.ended;
        if late || (said && told) { self.closing.take() } else { None }
    }

    pub(super) fn finish(&mut self, ended: &Ended) {
        let reason = ended.reason();
        tracing::debug!(session = %self.live.id.get(), "session over: {reason}");
        let worker = Rc::clone(&self.worker);
        let mut bench = worker.bench.borrow_mut();
        for peer in [&mut self.client, &mut self.upstream] {
            if let Some(socket) = &mut peer.socket {
                socket.finish(&mut bench.scratch.wire);
            }
        }
        self.desk.close(&worker, &reason, Now::read());
    }
}

impl<M: Machine> Drop for Session<M> {
    fn drop(&mut self) {
        // After `finish` this changes nothing; after a panic it is the end.
        let worker = Rc::clone(&self.worker);
        self.desk.close(&worker, "the gateway failed", Now::read());
        self.worker.roll.leave(&self.live);
        self.worker.end_if_done();
    }
}

/// Waits a moment for the client to read its last words: closing with its bytes unread would throw them away.
pub(crate) async fn linger(socket: &Socket) {
    let io = socket.io().clone();
    let drain = std::pin::pin!(async move {
        let mut rest = Vec::new();
        while read_some(&io, &mut rest).await.is_ok() {
            rest.clear();
        }
    });
    let limit = std::pin::pin!(net::sleep(Duration::from_secs(1)));
    let _ = race(drain, limit).await;
}

pub(crate) fn ms(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
