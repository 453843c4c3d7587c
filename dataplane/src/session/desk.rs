//! A session's dealings with policy and the record: whose it is, what was decided, and in which order all of it was
//! written down. It moves no bytes between peers.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::Waker;

use weir_mask::MaskKey;
use weir_policy::{Body as HttpBody, Caller, Denial, Effect, Permit, Reason, RecordLevel, Request, Verdict};
use weir_ring::Sequence;
use weir_segment::{Body, Direction, Originals};
use weir_wire::{Lane, Side};

use super::answers::Ending;
use super::held::Held;
use super::login::{Known, Opening, Refused};
use super::purse::{SessionPurse, Tabs};
use super::tell::{is_run, noted, open_body, summary, told};
use super::{Ended, judge, originals};
use crate::clock::Now;
use crate::record::{Lost, Secrecy, Stamp};
use crate::roll::Live;
use crate::shared::{Errand, Place};
use crate::standing::{Standing, Upstream};
use crate::worker::Worker;

/// What an open session rests on.
pub(crate) struct Opened {
    pub caller: Caller,
    pub level: RecordLevel,
    pub standing: Arc<Standing>,
    pub mask_key: Rc<MaskKey>,
    pub upstream: Arc<Upstream>,
    pub purse: Rc<SessionPurse>,
    /// What was said before masking is sealed with this, where the connection keeps it.
    pub originals: Option<Box<Originals>>,
    _places: Vec<Place>,
}

pub(crate) struct Desk {
    live: Rc<Live>,
    protocol: weir_control::Protocol,
    /// The machine seals: what is recorded and counted comes from its notes.
    seals: bool,
    pub(super) opened: Option<Opened>,
    pub(super) held: Vec<Held>,
    /// Commands so far.
    ordinal: u64,
    /// Commands that were allowed and have no outcome yet.
    pub(super) running: VecDeque<(Lane, u64)>,
    pub(super) ending: Ending,
    pub(super) tabs: Tabs,
    /// Nothing goes upstream before the disk has this.
    gate: Sequence,
    gate_open: bool,
    /// Bytes sent upstream that no event accounts for yet, and both totals.
    pub(super) unaccounted: u64,
    /// The same towards the client, of a machine that seals.
    pub(super) unaccounted_answers: u64,
    to_upstream: u64,
    to_client: u64,
}

impl Desk {
    pub(crate) fn new(live: &Rc<Live>, protocol: weir_control::Protocol, seals: bool) -> Self {
        Self {
            live: Rc::clone(live),
            protocol,
            seals,
            opened: None,
            held: Vec::new(),
            ordinal: 0,
            running: VecDeque::new(),
            ending: Ending::default(),
            tabs: Tabs::default(),
            gate: Sequence(0),
            gate_open: true,
            unaccounted: 0,
            unaccounted_answers: 0,
            to_upstream: 0,
            to_client: 0,
        }
    }

    pub(crate) const fn protocol(&self) -> weir_control::Protocol {
        self.protocol
    }

    pub(crate) const fn is_open(&self) -> bool {
        self.opened.is_some()
    }

    pub(crate) fn is_recorded(&self) -> bool {
        self.opened.as_ref().is_some_and(|opened| opened.level != RecordLevel::Off)
    }

    pub(crate) fn is_expired(&self, now: Now) -> bool {
        self.opened.as_ref().is_some_and(|opened| now.timestamp() >= opened.caller.identity.expires)
    }

    pub(crate) fn upstream(&self) -> Option<Arc<Upstream>> {
        self.opened.as_ref().map(|opened| Arc::clone(&opened.upstream))
    }

    /// When the token or a hold runs out, in monotonic milliseconds.
    pub(crate) fn deadline_ms(&self, now: Now) -> u64 {
        let Some(opened) = &self.opened else { return u64::MAX };
        let holds = self.held.iter().map(Held::due_ms);
        let wall = holds.chain([opened.caller.identity.expires.unix_ms()]).min().unwrap_or(u64::MAX);
        now.monotonic_ms().saturating_add(wall.saturating_sub(now.wall_ms()).max(1))
    }

    // --- the session in the record ---------------------------------------------------------------------------------

    /// What a login finds where a session already is.
    pub(crate) fn known(&self, dialled: bool) -> Option<Known> {
        let caller = &self.opened.as_ref()?.caller;
        Some(Known {
            identity: Arc::clone(&caller.identity),
            target: caller.target.clone(),
            purpose: caller.purpose.clone(),
            dialled,
        })
    }

    /// A login was refused: its reason goes to the log, never to the client.
    pub(crate) fn refused(&self, worker: &Worker, refused: &Refused) {
        worker.metrics.refused.add(1);
        tracing::info!(
            session = %self.live.id.get(),
            client = self.live.client,
            reason = ?refused.denial.reason,
            "login refused: {}",
            refused.detail
        );
    }

    /// Begins a session in the record, ending the one before it where a connection changes hands. `via`: the gateway's
    /// own end of the upstream connection, by which the upstream's own log knows it.
    pub(crate) fn open(
        &mut self,
        worker: &Worker,
        opening: Opening,
        via: Option<SocketAddr>,
        now: Now,
    ) -> Result<(), Ended> {
        let is_first = self.opened.is_none();
        self.close(worker, "another identity", now);
        let Opening { caller, proven, level, standing, upstream, purse, places, application, session } =
            opening;
        let mask_key = worker.keys().ok_or_else(|| Ended::gateway("no mask key"))?.local;
        self.live.id.set(session);
        self.live.identified(&proven);
        self.live.startup.take();
        let originals = originals::begin(worker, &upstream, session)?;
        let opened =
            Opened { caller, level, standing, mask_key, upstream, purse, originals, _places: places };
        let summary = summary(&opened, &self.live, self.protocol, now);
        self.opened = Some(opened);
        if let Some(opened) = &self.opened
            && level != RecordLevel::Off
        {
            let body = open_body(opened, &summary, application.as_deref(), via, &worker.shared.node);
            self.put(worker, 0, Lane::default(), Direction::Gateway, (0, 0), body, now)?;
        }
        worker.metrics.sessions.add(1);
        if is_first {
            let took_ms = now.monotonic_ms().saturating_sub(self.live.accepted_ms);
            worker.metrics.logins.observe_ms(took_ms);
        }
        worker.shared.control.send(Errand::SessionOpened(Box::new(summary)));
        Ok(())
    }

    /// The session goes on over another connection to its upstream: the upstream's own log knows it by `via` from now on.
    pub(crate) fn redialled(&self, worker: &Worker, via: Option<SocketAddr>, now: Now) -> Result<(), Ended> {
        let Some(via) = via.filter(|_| self.is_recorded()) else { return Ok(()) };
        let json = serde_json::json!({ "action": "dialled", "via": via.to_string() }).to_string();
        let body = Body::Admin(weir_segment::Admin { json: json.as_bytes().into() });
        self.put(worker, 0, Lane::default(), Direction::Gateway, (0, 0), body, now).map(drop)
    }

    /// Ends it. Without effect where none is open.
    pub(crate) fn close(&mut self, worker: &Worker, reason: &str, now: Now) {
        self.withdraw_all(worker, reason, now);
        if self.settle(worker, now).is_err() {
            tracing::error!(session = %self.live.id.get(), "no room for how its last command ended");
        }
        let Some(opened) = &self.opened else { return };
        if opened.level != RecordLevel::Off {
            let body = Body::SessionClose(weir_segment::Close {
                reason: reason.into(),
                to_upstream_bytes: Some(self.to_upstream),
                to_client_bytes: Some(self.to_client),
            });
            let bytes = (self.account(), self.account_answers());
            if let Err(error) = self.put(worker, 0, Lane::default(), Direction::Gateway, bytes, body, now) {
                // The recorder closes it as one whose end is unknown.
                tracing::error!(session = %self.live.id.get(), "no room for the session's end: {}", error.reason());
            }
        }
        let session = self.live.id.get().to_string();
        worker.shared.control.send(Errand::SessionClosed { session, reason: reason.to_owned() });
        worker.metrics.ended.add(1);
        self.opened = None;
        self.running.clear();
    }

    #[expect(clippy::too_many_arguments, reason = "one event has as many parts")]
    pub(super) fn put(
        &self,
        worker: &Worker,
        ordinal: u64,
        lane: Lane,
        direction: Direction,
        bytes: (u32, u32),
        body: Body<'_>,
        now: Now,
    ) -> Result<Sequence, Ended> {
        let stamp = Stamp { session: self.live.id.get(), now, ordinal, lane: lane.0 };
        worker.record.borrow_mut().push(stamp, direction, bytes, body).map_err(|lost| lost_text(&lost))
    }

    pub(super) fn account(&mut self) -> u32 {
        let now = u32::try_from(self.unaccounted).unwrap_or(u32::MAX);
        self.unaccounted -= u64::from(now);
        now
    }

    pub(super) fn account_answers(&mut self) -> u32 {
        let now = u32::try_from(self.unaccounted_answers).unwrap_or(u32::MAX);
        self.unaccounted_answers -= u64::from(now);
        now
    }

    pub(crate) const fn seals(&self) -> bool {
        self.seals
    }

    /// What a machine that seals has passed.
    pub(super) fn passed(&mut self, (to_upstream, to_client): (u64, u64)) {
        self.to_upstream += to_upstream;
        self.unaccounted += to_upstream;
        self.to_client += to_client;
        self.unaccounted_answers += to_client;
    }

    /// Bytes that went out.
    pub(crate) fn sent(&mut self, to: Side, bytes: usize) {
        if self.seals {
            return;
        }
        match to {
            Side::Client => self.to_client += bytes as u64,
            Side::Upstream => {
                self.to_upstream += bytes as u64;
                self.unaccounted += bytes as u64;
            }
        }
    }

    /// Whether the recorder gave up while the session waited for it.
    pub(crate) fn check_record(&self, worker: &Worker) -> Result<(), Ended> {
        if self.is_recorded() && worker.record.borrow().is_broken() {
            return Err(Ended::gateway("the recorder stopped: nothing can go on unrecorded"));
        }
        Ok(())
    }

    /// Whether what waits for the upstream may go: its commands are recorded as their level says.
    pub(crate) fn may_go_upstream(&mut self, worker: &Worker, waker: &Waker) -> Result<bool, Ended> {
        if !self.gate_open {
            let durable = worker.record.borrow_mut().poll_durable(self.gate, waker);
            self.gate_open = durable.map_err(|lost| lost_text(&lost))?;
        }
        Ok(self.gate_open)
    }

    // --- decisions -------------------------------------------------------------------------------------------------

    /// Whether the rest of a request must be here before it can be decided.
    pub(crate) fn wants_body(&self, worker: &Worker, request: &Request<'_>) -> bool {
        match (&self.opened, request) {
            (Some(opened), Request::Http(http)) if http.body == HttpBody::Coming => {
                worker.policy.borrow().wants_body(&opened.caller, http)
            }
            _ => false,
        }
    }

    /// Decides one request and records the verdict before anything acts on it.
    pub(crate) fn rule(
        &mut self,
        worker: &Worker,
        lane: Lane,
        request: &Request<'_>,
        now: Now,
    ) -> Result<Verdict, Ended> {
        let Some(opened) = &self.opened else {
            return Ok(Verdict::Deny(denial("(login)", Reason::Unauthenticated, "log in first")));
        };
        let verdict = judge(worker, &opened.caller, request, now.timestamp());
        self.ordinal += 1;
        worker.metrics.requests.add(1);
        self.conclude(worker, lane, request, verdict, now)
    }

    /// Records a verdict, and opens the hold where it is one.
    pub(super) fn conclude(
        &mut self,
        worker: &Worker,
        lane: Lane,
        request: &Request<'_>,
        verdict: Verdict,
        now: Now,
    ) -> Result<Verdict, Ended> {
        let (verdict, held) = match verdict {
            Verdict::Hold(hold) => match self.recall(worker, lane, &hold, request, now)? {
                Ok(verdict) => return self.conclude(worker, lane, request, verdict, now),
                Err(waiting) => match self.make_hold(worker, lane, &hold, request, waiting, now) {
                    Ok(held) => (Verdict::Hold(hold), Some(held)),
                    Err(denial) => (Verdict::Deny(denial), None),
                },
            },
            verdict @ (Verdict::Allow(_) | Verdict::Deny(_)) => (verdict, None),
        };
        let verdict = self.charge(request, verdict, now);
        match (self.write_down(worker, lane, request, verdict, now)?, held) {
            (Verdict::Hold(hold), Some(held)) => {
                worker.metrics.held.add(1);
                self.begin_hold(worker, held, hold, now).map(Verdict::Hold)
            }
            (verdict, _) => Ok(verdict),
        }
    }

    /// Records a request with its verdict, and takes the consequences that are the driver's.
    pub(super) fn write_down(
        &mut self,
        worker: &Worker,
        lane: Lane,
        request: &Request<'_>,
        verdict: Verdict,
        now: Now,
    ) -> Result<Verdict, Ended> {
        if let Verdict::Allow(permit) = &verdict {
            self.put_run_releases(worker, lane, permit, now)?;
        }
        match self.put_request(worker, lane, request, &verdict, now) {
            Ok(Some(sequence)) => {
                if let Verdict::Allow(permit) = &verdict
                    && permit.record() == RecordLevel::Durable
                {
                    self.gate = sequence;
                    self.gate_open = false;
                }
            }
            Ok(None) => {}
            Err(Lost::TooLong(_)) => {
                let denial = denial("(limit)", Reason::Limit, "the command is too long to be recorded");
                tracing::warn!(session = %self.live.id.get(), "a command too long for the ring was denied");
                return Ok(Verdict::Deny(denial));
            }
            Err(lost) => return Err(lost_text(&lost)),
        }
        match &verdict {
            Verdict::Allow(permit) => {
                if is_run(request) {
                    self.running.push_back((lane, self.ordinal));
                }
                self.alert(worker, permit, now);
            }
            Verdict::Deny(denial) => worker.metrics.denied_by(&denial.rule),
            Verdict::Hold(_) => {}
        }
        Ok(verdict)
    }

    fn put_request(
        &mut self,
        worker: &Worker,
        lane: Lane,
        request: &Request<'_>,
        verdict: &Verdict,
        now: Now,
    ) -> Result<Option<Sequence>, Lost> {
        let up = self.account();
        let Some(opened) = &self.opened else { return Ok(None) };
        if opened.level == RecordLevel::Off {
            return Ok(None);
        }
        let fallback;
        let plan = match verdict {
            Verdict::Allow(permit) => permit.obligations().mask.as_ref(),
            Verdict::Deny(_) | Verdict::Hold(_) => {
                fallback = worker.policy.borrow().mask_plan(&opened.caller);
                fallback.as_ref()
            }
        };
        let standing = &opened.standing;
        let secrecy = Secrecy { plan, mask_key: &opened.mask_key, record_key: &standing.record_key };
        let mut describer = worker.describer.borrow_mut();
        let described = describer.describe(request, secrecy);
        let noted = noted(verdict);
        let body = Body::Request(told(&described, verdict, &noted, worker.policy.borrow().generation()));
        let stamp = Stamp { session: self.live.id.get(), now, ordinal: self.ordinal, lane: lane.0 };
        worker.record.borrow_mut().push(stamp, Direction::ToUpstream, (up, 0), body).map(Some)
    }

    fn alert(&self, worker: &Worker, permit: &Permit, now: Now) {
        for noted in permit.noted().filter(|noted| noted.effect == Effect::Alert) {
            worker.shared.control.send(Errand::Alert {
                session: Some(self.live.id.get().to_string()),
                rule: Some(noted.rule.to_string()),
                text: format!("rule {} matched", noted.rule),
                at_unix_ms: now.wall_ms(),
            });
        }
    }

    pub(super) const fn ordinal(&self) -> u64 {
        self.ordinal
    }

    /// Goes on as command `ordinal`, which was held, and says which was the last.
    pub(super) const fn as_command(&mut self, ordinal: u64) -> u64 {
        std::mem::replace(&mut self.ordinal, ordinal)
    }

    pub(super) const fn live(&self) -> &Rc<Live> {
        &self.live
    }
}

pub(crate) fn denial(rule: &str, reason: Reason, message: &str) -> Denial {
    Denial { rule: rule.into(), reason, message: message.into() }
}

pub(super) fn lost_text(lost: &Lost) -> Ended {
    Ended::gateway(match lost {
        Lost::Full => "the recorder is too far behind".to_owned(),
        Lost::TooLong(_) => "an event is longer than the record takes".to_owned(),
        Lost::Broken(_) => "the recorder stopped: nothing can go on unrecorded".to_owned(),
    })
}

/// Whether recorded sessions can begin: somebody takes the rings.
pub(crate) fn recorder_is_there(worker: &Worker) -> bool {
    worker.shared.recorded.load(Ordering::Acquire) && !worker.record.borrow().is_broken()
}
