//! Releases that do not come to a command that waits for just them: with a whole run, or after its token expired.

use std::rc::Rc;
use std::task::Context;

use weir_control::Release;
use weir_policy::{Permit, Reason, Verdict};
use weir_segment::Released;
use weir_wire::{Lane, Machine};

use super::desk::{Desk, denial};
use super::held::Held;
use super::{Ended, Session, judge};
use crate::clock::Now;
use crate::shared::Answer;
use crate::worker::Worker;

const WITH_ITS_RUN: &str = "released with its run";

impl<M: Machine + 'static> Session<M> {
    /// People said yes to somebody whose token ran out while they thought about it: the same command of the same identity
    /// and run finds the answer, once it comes with a fresh one.
    pub(super) fn keep_for_a_fresh_token(
        &mut self,
        held: Held,
        release: &Release,
        context: &mut Context<'_>,
    ) -> Result<(), Ended> {
        let parked = &self.worker.shared.parked;
        parked.park(held.digest, held.name, held.expires_unix_ms, self.now.wall_ms());
        parked.answer(Answer::Released(release.clone()));
        let text =
            "approved, but the token has expired: connect again with a fresh one and send the same command";
        self.resume(held.lane, Verdict::Deny(denial("(expired)", Reason::Unauthenticated, text)), context)
    }

    /// What is held may have been released since, with everything alike of its run.
    pub(super) fn released_with_its_run(&mut self, context: &mut Context<'_>) -> Result<(), Ended> {
        let worker = Rc::clone(&self.worker);
        let held = self.desk.held.iter().map(|held| (held.name.clone(), held.lane, held.ordinal));
        for (name, lane, ordinal) in held.collect::<Vec<_>>() {
            let verdict = {
                let Self { machine, desk, now, .. } = self;
                let (Some(request), Some(opened)) = (machine.held(lane), &desk.opened) else { continue };
                let verdict = judge(&worker, &opened.caller, &request, now.timestamp());
                if !matches!(verdict, Verdict::Allow(_)) {
                    continue;
                }
                desk.end_hold(&worker, &name, (Released::Approved, WITH_ITS_RUN), (&[], &[]), *now)?;
                let last = desk.as_command(ordinal);
                let concluded = desk.conclude(&worker, lane, &request, verdict, *now);
                desk.as_command(last);
                concluded?
            };
            self.withdraw(&name, WITH_ITS_RUN);
            self.resume(lane, verdict, context)?;
        }
        Ok(())
    }
}

impl Desk {
    /// Says in the record by whose leave a command passes that people released with its whole run.
    pub(super) fn put_run_releases(
        &self,
        worker: &Worker,
        lane: Lane,
        permit: &Permit,
        now: Now,
    ) -> Result<(), Ended> {
        for approval in permit.run_approvals() {
            let claim = approval.claim();
            let proof = (claim.approvers.as_slice(), approval.signature());
            let told = (Released::Approved, WITH_ITS_RUN);
            self.put_release(worker, &claim.hold, (self.ordinal(), lane), told, proof, now)?;
        }
        Ok(())
    }
}
