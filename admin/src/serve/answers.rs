//! Holds and people's answers to them.
//!
//! Who may answer: never the requester (same issuer and subject), only members of the rule's groups, each person once.
//! The quorum of distinct people releases; one refusal refuses. A release is signed over the command's digest; a data
//! plane that reconnects is told again, and uses it once.

use weir_control::{HoldRequest, Refusal, Release, ToDataplane};
use weir_policy::{ApprovalClaim, Identity, Timestamp};

use super::Hub;
use super::run_approvals::{self, RunAnswer};
use crate::clock;
use crate::state::{Ending, Status, StoredHold, Vote};

/// Why an answer does not count: the caller's doing, but for `Internal`.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NotCounted {
    #[error("you approved this command already; another person must, too")]
    Already,
    #[error("this command was {0} before")]
    Ended(&'static str),
    #[error("this is your own command: somebody else must answer")]
    FourEyes,
    #[error("no held command begins with {0:?}")]
    NotFound(String),
    #[error("only members of {0} may answer")]
    NotApprover(String),
    #[error("several held commands begin with {0:?}; give more of the id")]
    Ambiguous(String),
    #[error("the rule releases single commands only, or the command belongs to no run")]
    NoRun,
    #[error("the rule lets an approval for a run release 1 to {1} {0}")]
    OverRun(&'static str, u64),
    #[error("internal: {0:#}")]
    Internal(#[from] anyhow::Error),
}

/// A command waits. One that is known already (a reconnect) gets the answer it has by now.
pub(super) async fn hold(hub: &Hub, node: &str, boot: u64, request: &HoldRequest) -> anyhow::Result<()> {
    if request.expires_unix_ms <= clock::unix_ms() || i64::try_from(request.expires_unix_ms).is_err() {
        let refusal =
            Refusal { hold: request.hold.clone(), outcome: "expired".into(), by: None, reason: None };
        hub.send_to(node, boot, ToDataplane::Refuse(refusal));
        return Ok(());
    }
    let stored = hub.store.keep_hold(node, boot, request).await?;
    tracing::info!(hold = request.hold, rule = request.rule, subject = request.subject, "command held");
    tell(hub, &stored);
    Ok(())
}

pub(super) async fn withdraw(hub: &Hub, hold: &str, reason: &str) -> anyhow::Result<()> {
    let ending =
        Ending { hold, status: Status::Withdrawn, by: None, reason: Some(reason), now_ms: clock::unix_ms() };
    hub.store.end_hold(&ending).await?;
    hub.stir();
    Ok(())
}

/// A data plane is back: answers that it may have missed are given again, its former life's holds are closed.
pub(super) async fn resume(hub: &Hub, node: &str, boot: u64) -> anyhow::Result<()> {
    let now = clock::unix_ms();
    let former = hub.store.withdraw_former(node, boot, now).await?;
    if former > 0 {
        tracing::info!(node, former, "holds of the node's former process are withdrawn");
    }
    for stored in hub.store.holds_of(node, boot, now).await? {
        tell(hub, &stored);
    }
    Ok(())
}

pub(crate) async fn approve(
    hub: &Hub,
    hold: &str,
    person: &Identity,
    reason: Option<&str>,
    run: Option<RunAnswer>,
) -> Result<StoredHold, NotCounted> {
    let stored = answerable(hub, hold, person).await?;
    let same = |by: &crate::state::Approver| by.issuer == person.issuer && by.subject == person.subject;
    if stored.approvals.iter().any(same) {
        return Err(NotCounted::Already);
    }
    let vote = Vote {
        hold: &stored.request.hold,
        issuer: &person.issuer,
        subject: &person.subject,
        reason,
        run: run.map(|run| run.terms(&stored.request)).transpose()?,
        now_ms: clock::unix_ms(),
    };
    let after = hub.store.approve(&vote, stored.request.quorum).await?;
    let after = after.ok_or(NotCounted::Ended("answered"))?;
    tracing::info!(hold = vote.hold, by = vote.subject, status = after.status.word(), "approval given");
    if after.status == Status::Approved {
        run_approvals::grant(hub, &after).await?;
    }
    tell(hub, &after);
    Ok(after)
}

pub(crate) async fn deny(
    hub: &Hub,
    hold: &str,
    person: &Identity,
    reason: Option<&str>,
) -> Result<StoredHold, NotCounted> {
    let stored = answerable(hub, hold, person).await?;
    let by = name(&person.issuer, &person.subject);
    let ending = Ending {
        hold: &stored.request.hold,
        status: Status::Denied,
        by: Some(&by),
        reason,
        now_ms: clock::unix_ms(),
    };
    let after = hub.store.end_hold(&ending).await?.ok_or(NotCounted::Ended("answered"))?;
    tracing::info!(hold = ending.hold, by = person.subject, "approval refused");
    tell(hub, &after);
    Ok(after)
}

/// The hold with this id, or the only one whose id begins so.
pub(crate) async fn find(hub: &Hub, hold: &str) -> Result<StoredHold, NotCounted> {
    if let Some(stored) = hub.store.hold(hold).await? {
        return Ok(stored);
    }
    match hub.store.holds_beginning(hold).await?.as_slice() {
        [only] if !hold.is_empty() => {
            hub.store.hold(only).await?.ok_or_else(|| NotCounted::NotFound(hold.to_owned()))
        }
        [_, _] => Err(NotCounted::Ambiguous(hold.to_owned())),
        _ => Err(NotCounted::NotFound(hold.to_owned())),
    }
}

async fn answerable(hub: &Hub, hold: &str, person: &Identity) -> Result<StoredHold, NotCounted> {
    let stored = find(hub, hold).await?;
    let request = &stored.request;
    if request.issuer == person.issuer && request.subject == person.subject {
        return Err(NotCounted::FourEyes);
    }
    if !may_answer(&stored, person) {
        return Err(NotCounted::NotApprover(request.approvers.join(", ")));
    }
    if stored.status != Status::Waiting {
        return Err(NotCounted::Ended(stored.status.word()));
    }
    if request.expires_unix_ms <= clock::unix_ms() {
        return Err(NotCounted::Ended(Status::Expired.word()));
    }
    Ok(stored)
}

/// Whether somebody belongs to a group that the rule names.
pub(crate) fn may_answer(stored: &StoredHold, person: &Identity) -> bool {
    person.groups.iter().any(|group| stored.request.approvers.contains(group))
}

pub(super) fn name(issuer: &str, subject: &str) -> String {
    format!("{subject} ({issuer})")
}

/// Sends a hold's answer to the process that waits for it, if there is one yet.
fn tell(hub: &Hub, stored: &StoredHold) {
    hub.stir();
    let message = match stored.status {
        Status::Waiting | Status::Withdrawn => return,
        Status::Approved => match release(hub, stored) {
            Some(release) => ToDataplane::Release(release),
            None => {
                tracing::error!(
                    hold = stored.request.hold,
                    "data plane sent a digest that is none; not released"
                );
                return;
            }
        },
        Status::Denied | Status::Expired => ToDataplane::Refuse(Refusal {
            hold: stored.request.hold.clone(),
            outcome: stored.status.word().to_owned(),
            by: stored.ended_by.clone(),
            reason: stored.reason.clone(),
        }),
    };
    hub.send_to(&stored.node, stored.boot, message);
}

/// 32 bytes of hex.
pub(super) fn digest(text: &str) -> Option<[u8; 32]> {
    hex::decode(text).ok()?.try_into().ok()
}

fn release(hub: &Hub, stored: &StoredHold) -> Option<Release> {
    let request = &stored.request;
    let claim = ApprovalClaim {
        hold: request.hold.clone(),
        digest: digest(&request.digest)?,
        rule_hash: digest(&request.rule_hash)?,
        approvers: stored.approvals.iter().map(|by| name(&by.issuer, &by.subject)).collect(),
        expires: Timestamp::from_unix_ms(request.expires_unix_ms),
    };
    let bytes = claim.to_bytes();
    let signature = hub.approval_key().sign(&bytes);
    Some(Release {
        hold: request.hold.clone(),
        claim: hex::encode(bytes),
        signature: hex::encode(signature),
        reason: stored.reason.clone(),
    })
}

impl Hub {
    /// Ends holds whose time is over, and says so to who waits.
    pub(crate) async fn expire_holds(&self) -> anyhow::Result<()> {
        let now_ms = clock::unix_ms();
        for hold in self.store.overdue(now_ms).await? {
            let ending = Ending { hold: &hold, status: Status::Expired, by: None, reason: None, now_ms };
            if let Some(stored) = self.store.end_hold(&ending).await? {
                tracing::info!(hold, "hold expired");
                tell(self, &stored);
            }
        }
        Ok(())
    }
}
