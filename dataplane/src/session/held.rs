//! Commands that wait for people. The machine parks the lane; here stands what was asked, until when, and what ends the
//! wait: an approval, a refusal, the client's cancel, its leaving, or time.

use std::rc::Rc;
use std::sync::Arc;
use std::task::Context;

use ring::rand::SecureRandom;
use weir_control::{HoldRequest, Protocol, Refusal, Release, RunScope, RunTerms};
use weir_policy::{Approval, Denial, Hold, HoldTerms, Reason, Request, Verdict};
use weir_postgres::CANCELLED;
use weir_segment::{Body, Direction, Released};
use weir_wire::{Lane, Machine, Side};

use super::desk::{Desk, denial};
use super::shown::{Shown, hex, unhex};
use super::{Ended, Session, judge};
use crate::clock::Now;
use crate::shared::{Answer, Errand, Parked, Place};
use crate::worker::Worker;

/// One held command.
pub(crate) struct Held {
    pub lane: Lane,
    /// What people call it.
    pub name: String,
    /// The command's number, which its verdict keeps.
    pub(super) ordinal: u64,
    pub(super) expires_unix_ms: u64,
    /// When the client is told to come back later, where its protocol has that.
    put_off_unix_ms: u64,
    pub(super) digest: [u8; 32],
    rule: Arc<str>,
    /// To be told to people; `None`: they were, by the command that this one is a retry of.
    request: Option<Box<HoldRequest>>,
    _place: Place,
}

impl Held {
    /// When something must happen to it, in Unix milliseconds.
    pub(crate) fn due_ms(&self) -> u64 {
        self.expires_unix_ms.min(self.put_off_unix_ms)
    }
}

impl Desk {
    pub(crate) fn holds(&self) -> bool {
        !self.held.is_empty()
    }

    /// Everything an approver needs, made while the request can still be seen.
    pub(super) fn make_hold(
        &self,
        worker: &Worker,
        lane: Lane,
        hold: &Hold,
        request: &Request<'_>,
        waiting: Option<Parked>,
        now: Now,
    ) -> Result<Held, Denial> {
        let Some(opened) = &self.opened else {
            return Err(denial("(login)", Reason::Unauthenticated, "log in first"));
        };
        let max = worker.shared.config.limits.holds;
        let place = worker.shared.tally.hold(max).ok_or_else(|| {
            denial("(limit)", Reason::Limit, "too many commands wait for approval already: try again later")
        })?;
        let held = |name, expires_unix_ms, request| Held {
            lane,
            name,
            ordinal: self.ordinal(),
            expires_unix_ms,
            put_off_unix_ms: self.patience_ms(now),
            digest: hold.digest,
            rule: Arc::clone(&hold.rule),
            request,
            _place: place,
        };
        if let Some(parked) = waiting {
            return Ok(held(parked.hold, parked.expires_unix_ms, None));
        }
        let name = hold_name(worker)
            .ok_or_else(|| denial("(gateway)", Reason::Unavailable, "no randomness for a name"))?;
        let shown = Shown::of(request);
        let wait = match shown.in_transaction {
            true => hold.terms.in_transaction_ms.min(hold.terms.expires_ms),
            false => hold.terms.expires_ms,
        };
        let expires_unix_ms = now.wall_ms().saturating_add(wait);
        let identity = &opened.caller.identity;
        let target = &opened.caller.target;
        let request = Box::new(HoldRequest {
            hold: name.clone(),
            session: self.live().id.get().to_string(),
            at_unix_ms: now.wall_ms(),
            expires_unix_ms,
            rule: hold.rule.to_string(),
            message: hold.terms.message.clone(),
            approvers: hold.terms.approvers.clone(),
            quorum: hold.terms.quorum,
            digest: hex(&hold.digest),
            rule_hash: hex(&hold.rule_hash),
            scope: hold.scope.zip(hold.terms.run).map(|(scope, most)| RunScope {
                digest: hex(&scope),
                most: RunTerms {
                    statements: most.statements,
                    rows: most.rows,
                    minutes: (most.expires_ms / 60_000).max(1),
                },
            }),
            issuer: identity.issuer.clone(),
            subject: identity.subject.clone(),
            groups: identity.groups.clone(),
            claims: identity.claims.clone(),
            run: identity.run.clone(),
            purpose: opened.caller.purpose.clone().or_else(|| identity.purpose.clone()),
            connection: target.connection.clone(),
            role: target.role.clone(),
            command: shown.command,
            binds: shown.binds,
            facts: shown.facts,
            in_transaction: shown.in_transaction,
        });
        Ok(held(name, expires_unix_ms, Some(request)))
    }

    /// Until when the client waits, in Unix milliseconds; HTTP clients are then told to come back.
    fn patience_ms(&self, now: Now) -> u64 {
        match (self.protocol(), &self.opened) {
            (Protocol::Http, Some(opened)) => {
                now.wall_ms().saturating_add(opened.upstream.connection.hold_wait_ms)
            }
            (Protocol::Http | Protocol::Postgres | Protocol::Ssh, _) => u64::MAX,
        }
    }

    /// Tells the record and the people; the answer is the hold as the client is told of it, with its name.
    pub(super) fn begin_hold(
        &mut self,
        worker: &Worker,
        held: Held,
        hold: Hold,
        now: Now,
    ) -> Result<Hold, Ended> {
        if self.is_recorded() {
            let body = Body::Hold(weir_segment::HoldOpened {
                hold: held.name.as_str().into(),
                rule: (&*hold.rule).into(),
                digest: hold.digest,
            });
            self.put(worker, held.ordinal, held.lane, Direction::Gateway, (0, 0), body, now)?;
        }
        let message = format!("{} (approval {})", hold.terms.message, held.name);
        let terms = Arc::new(HoldTerms { message, ..(*hold.terms).clone() });
        let (core, slot) = (worker.core, self.live().slot);
        let mut held = held;
        worker.shared.control.send(match held.request.take() {
            Some(request) => Errand::Hold { core, slot, request },
            None => Errand::HoldMoved { hold: held.name.clone(), to: Some((core, slot)) },
        });
        self.held.push(held);
        Ok(Hold { terms, ..hold })
    }

    /// Takes a hold off the list and tells the record how it ended.
    pub(super) fn end_hold(
        &mut self,
        worker: &Worker,
        name: &str,
        (outcome, reason): (Released, &str),
        proof: (&[String], &[u8]),
        now: Now,
    ) -> Result<Option<Held>, Ended> {
        let Some(place) = self.held.iter().position(|held| held.name == name) else { return Ok(None) };
        let held = self.held.remove(place);
        self.put_release(worker, &held.name, (held.ordinal, held.lane), (outcome, reason), proof, now)?;
        Ok(Some(held))
    }

    /// The session ends: nobody needs to answer any more.
    pub(crate) fn withdraw_all(&mut self, worker: &Worker, reason: &str, now: Now) {
        let names: Vec<String> = self.held.iter().map(|held| held.name.clone()).collect();
        for hold in names {
            if let Err(error) = self.end_hold(worker, &hold, (Released::Withdrawn, reason), (&[], &[]), now) {
                tracing::error!("no room for a hold's end: {}", error.reason());
            }
            worker.shared.control.send(Errand::Withdraw { hold, reason: reason.to_owned() });
        }
    }

    /// The approval, if admin signed it for this very hold.
    fn approval(&self, release: &Release) -> Result<(Approval, Vec<u8>), &'static str> {
        let opened = self.opened.as_ref().ok_or("no session")?;
        let claim = unhex(&release.claim).ok_or("not hex")?;
        let signature = unhex(&release.signature).ok_or("not hex")?;
        let approval = opened
            .standing
            .approval_keys
            .iter()
            .find_map(|key| Approval::verify(&claim, &signature, key).ok())
            .ok_or("no approval key signed it")?;
        if approval.hold() != release.hold {
            return Err("it is about another hold");
        }
        Ok((approval, signature))
    }
}

impl<M: Machine + 'static> Session<M> {
    pub(super) fn answered(&mut self, answer: Answer, context: &mut Context<'_>) -> Result<(), Ended> {
        let name = match &answer {
            Answer::Released(release) => &release.hold,
            Answer::Refused(refusal) => &refusal.hold,
        };
        if !self.desk.held.iter().any(|held| held.name == *name) {
            // Its client was told to come back in the meantime.
            self.worker.shared.parked.answer(answer);
            return Ok(());
        }
        match answer {
            Answer::Released(release) => self.released(&release, context),
            Answer::Refused(refusal) => self.refused(&refusal, context),
        }
    }

    /// People said yes: decide again, with their approval as an input.
    fn released(&mut self, release: &Release, context: &mut Context<'_>) -> Result<(), Ended> {
        let (approval, signature) = match self.desk.approval(release) {
            Ok(approved) => approved,
            Err(why) => {
                tracing::error!(hold = release.hold, "a release was not accepted: {why}");
                return Ok(());
            }
        };
        let worker = Rc::clone(&self.worker);
        let reason = release.reason.as_deref().unwrap_or_default();
        let proof = (approval.approvers(), signature.as_slice());
        let ended =
            self.desk.end_hold(&worker, &release.hold, (Released::Approved, reason), proof, self.now)?;
        let Some(held) = ended else { return Ok(()) };
        if self.desk.is_expired(self.now) {
            return self.keep_for_a_fresh_token(held, release, context);
        }
        let verdict = {
            let Self { machine, desk, now, .. } = self;
            let Some(request) = machine.held(held.lane) else { return Ok(()) };
            let request = request.approved_by(&approval);
            desk.rule_again(&worker, (held.ordinal, held.lane), &request, *now)?
        };
        self.resume(held.lane, verdict, context)
    }

    fn refused(&mut self, refusal: &Refusal, context: &mut Context<'_>) -> Result<(), Ended> {
        let (outcome, text) = refusal_text(refusal);
        self.deny_held(&refusal.hold, outcome, &text, context)
    }

    /// The client's cancel: what is held is withdrawn; what runs is cancelled upstream.
    pub(super) fn cancelled(&mut self, context: &mut Context<'_>) -> Result<(), Ended> {
        let names: Vec<String> = self.desk.held.iter().map(|held| held.name.clone()).collect();
        if names.is_empty() {
            self.cancel_upstream();
            return Ok(());
        }
        for name in names {
            self.withdraw(&name, NO_LONGER);
            let text = "cancelled by the client while waiting for approval";
            self.deny_held_by(Some(CANCELLED), &name, Released::Withdrawn, text, context)?;
        }
        Ok(())
    }

    /// Ends the holds whose time is over, and puts off the clients that do not wait longer.
    pub(super) fn look_at_holds(&mut self, context: &mut Context<'_>) -> Result<(), Ended> {
        let now = self.now.wall_ms();
        let due: Vec<_> = self
            .desk
            .held
            .iter()
            .filter(|held| held.due_ms() <= now)
            .map(|held| (held.name.clone(), held.expires_unix_ms <= now))
            .collect();
        for (name, expired) in due {
            if expired {
                self.withdraw(&name, NO_LONGER);
                self.deny_held(&name, Released::Expired, "nobody approved it in time", context)?;
            } else {
                self.put_off(&name, context)?;
            }
        }
        Ok(())
    }

    /// The command stays with people; its client is told to come back, and the retry will find the answer.
    fn put_off(&mut self, name: &str, context: &mut Context<'_>) -> Result<(), Ended> {
        let Some(place) = self.desk.held.iter().position(|held| held.name == name) else { return Ok(()) };
        let held = self.desk.held.remove(place);
        let shared = &self.worker.shared;
        shared.parked.park(held.digest, held.name.clone(), held.expires_unix_ms, self.now.wall_ms());
        shared.control.send(Errand::HoldMoved { hold: held.name.clone(), to: None });
        let worker = Rc::clone(&self.worker);
        let mut bench = worker.bench.borrow_mut();
        self.lend_queues(&mut bench);
        let action = self.machine.put_off(held.lane, &held.name, self.now.timestamp(), &mut bench.out);
        let noted = self.desk.notes(&worker, &mut bench.out.notes, self.now);
        self.return_queues(&mut bench);
        noted?;
        let action = action.map_err(|error| Ended::failed(&error))?;
        self.drive_unread(Side::Client, Some(action), &mut bench, context)
    }

    pub(super) fn withdraw(&self, name: &str, reason: &str) {
        let errand = Errand::Withdraw { hold: name.to_owned(), reason: reason.to_owned() };
        self.worker.shared.control.send(errand);
    }

    fn deny_held(
        &mut self,
        name: &str,
        outcome: Released,
        text: &str,
        context: &mut Context<'_>,
    ) -> Result<(), Ended> {
        self.deny_held_by(None, name, outcome, text, context)
    }

    /// `rule`: instead of the one that held it.
    fn deny_held_by(
        &mut self,
        rule: Option<&str>,
        name: &str,
        outcome: Released,
        text: &str,
        context: &mut Context<'_>,
    ) -> Result<(), Ended> {
        let worker = Rc::clone(&self.worker);
        let ended = self.desk.end_hold(&worker, name, (outcome, text), (&[], &[]), self.now)?;
        let Some(held) = ended else { return Ok(()) };
        let verdict = Verdict::Deny(denial(rule.unwrap_or(&held.rule), Reason::NotApproved, text));
        self.resume(held.lane, verdict, context)
    }

    /// Answers a parked lane, and goes on with what the client has sent since.
    pub(super) fn resume(
        &mut self,
        lane: Lane,
        verdict: Verdict,
        context: &mut Context<'_>,
    ) -> Result<(), Ended> {
        let worker = Rc::clone(&self.worker);
        let mut bench = worker.bench.borrow_mut();
        self.lend_queues(&mut bench);
        let action = self.machine.resume(lane, verdict, self.now.timestamp(), &mut bench.out);
        let noted = self.desk.notes(&worker, &mut bench.out.notes, self.now);
        self.return_queues(&mut bench);
        noted?;
        let action = action.map_err(|error| Ended::failed(&error))?;
        self.drive_unread(Side::Client, Some(action), &mut bench, context)
    }
}

impl Desk {
    /// Decides a released command. It may be held again, by a second rule.
    fn rule_again(
        &mut self,
        worker: &Worker,
        (ordinal, lane): (u64, Lane),
        request: &Request<'_>,
        now: Now,
    ) -> Result<Verdict, Ended> {
        let Some(opened) = &self.opened else {
            return Ok(Verdict::Deny(denial("(login)", Reason::Unauthenticated, "log in first")));
        };
        let verdict = judge(worker, &opened.caller, request, now.timestamp());
        let last = self.as_command(ordinal);
        let concluded = self.conclude(worker, lane, request, verdict, now);
        self.as_command(last);
        concluded
    }

    /// A retry of a command that was put off finds what people said since. `Err`: they have said nothing yet.
    pub(super) fn recall(
        &mut self,
        worker: &Worker,
        lane: Lane,
        hold: &Hold,
        request: &Request<'_>,
        now: Now,
    ) -> Result<Result<Verdict, Option<Parked>>, Ended> {
        let Some(parked) = worker.shared.parked.take(&hold.digest, now.wall_ms()) else {
            return Ok(Err(None));
        };
        let release = match &parked.answer {
            None => return Ok(Err(Some(parked))),
            Some(Answer::Refused(refusal)) => {
                let (outcome, text) = refusal_text(refusal);
                self.put_release(
                    worker,
                    &parked.hold,
                    (self.ordinal(), lane),
                    (outcome, &text),
                    (&[], &[]),
                    now,
                )?;
                return Ok(Ok(Verdict::Deny(denial(&hold.rule, Reason::NotApproved, &text))));
            }
            Some(Answer::Released(release)) => release,
        };
        let Ok((approval, signature)) = self.approval(release) else { return Ok(Err(None)) };
        let reason = release.reason.as_deref().unwrap_or_default();
        let proof = (approval.approvers(), signature.as_slice());
        let place = (self.ordinal(), lane);
        self.put_release(worker, &parked.hold, place, (Released::Approved, reason), proof, now)?;
        let Some(opened) = &self.opened else { return Ok(Err(None)) };
        Ok(Ok(judge(worker, &opened.caller, &request.approved_by(&approval), now.timestamp())))
    }

    pub(super) fn put_release(
        &self,
        worker: &Worker,
        hold: &str,
        (ordinal, lane): (u64, Lane),
        (outcome, reason): (Released, &str),
        (approvers, signature): (&[String], &[u8]),
        now: Now,
    ) -> Result<(), Ended> {
        if !self.is_recorded() {
            return Ok(());
        }
        let body = Body::Release(weir_segment::Release {
            hold: hold.into(),
            outcome,
            approvers: approvers.into(),
            reason: reason.into(),
            signature: signature.into(),
        });
        self.put(worker, ordinal, lane, Direction::Gateway, (0, 0), body, now).map(drop)
    }
}

const NO_LONGER: &str = "no longer waiting";

fn refusal_text(refusal: &Refusal) -> (Released, String) {
    let (outcome, text) = match refusal.outcome.as_str() {
        "expired" => (Released::Expired, "nobody approved it in time"),
        _ => (Released::Denied, "not approved"),
    };
    match refusal.reason.as_deref().filter(|reason| !reason.is_empty()) {
        Some(reason) => (outcome, format!("{text}: {reason}")),
        None => (outcome, text.to_owned()),
    }
}

/// 60 random bits, in digits that are read out without mistakes.
fn hold_name(worker: &Worker) -> Option<String> {
    const DIGITS: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
    let mut random = [0; 12];
    worker.random.fill(&mut random).ok()?;
    random.iter().map(|byte| DIGITS.get(usize::from(byte & 31)).copied().map(char::from)).collect()
}
