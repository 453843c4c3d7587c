//! Approvals for a whole run: what one hold's approvers release of everything alike, signed and pushed to data planes.
//! They are never wider than the rule allows, nor than the narrowest of the answers that make up the quorum.

use weir_control::{HoldRequest, RunTerms};
use weir_policy::{RunClaim, Timestamp};

use super::Hub;
use super::answers::{NotCounted, digest, name};
use crate::clock;
use crate::state::{NewRun, StoredHold};

/// How much of a run somebody releases; what is not said is as much as the rule allows.
#[derive(Clone, Copy, Debug, Default, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RunAnswer {
    pub statements: Option<u64>,
    pub rows: Option<u64>,
    pub minutes: Option<u64>,
}

impl RunAnswer {
    /// # Errors
    /// The rule releases no runs, or less than is asked for: the approver's to change.
    pub(super) fn terms(self, request: &HoldRequest) -> Result<RunTerms, NotCounted> {
        let most = request.scope.as_ref().ok_or(NotCounted::NoRun)?.most;
        let within = |what, asked: Option<u64>, most: u64| match asked.unwrap_or(most) {
            0 => Err(NotCounted::OverRun(what, most)),
            asked if asked > most => Err(NotCounted::OverRun(what, most)),
            asked => Ok(asked),
        };
        Ok(RunTerms {
            statements: within("statements", self.statements, most.statements)?,
            rows: match (self.rows, most.rows) {
                (asked, Some(most)) => Some(within("rows", asked, most)?),
                (asked, None) => asked.filter(|rows| *rows > 0),
            },
            minutes: within("minutes", self.minutes, most.minutes)?,
        })
    }
}

/// The narrowest of all answers; `None` where somebody released this one command alone.
fn agreed(hold: &StoredHold) -> Option<RunTerms> {
    let mut answers = hold.approvals.iter().map(|by| by.run);
    let first = answers.next()??;
    answers.try_fold(first, |agreed, answer| {
        let answer = answer?;
        let rows = agreed.rows.into_iter().chain(answer.rows).min();
        Some(RunTerms {
            statements: agreed.statements.min(answer.statements),
            rows,
            minutes: agreed.minutes.min(answer.minutes),
        })
    })
}

/// Puts the run's approval in force that an approved hold amounts to, if it does.
pub(super) async fn grant(hub: &Hub, hold: &StoredHold) -> anyhow::Result<()> {
    let request = &hold.request;
    let (Some(terms), Some(scope)) = (agreed(hold), &request.scope) else { return Ok(()) };
    let (Some(scope), Some(rule_hash)) = (digest(&scope.digest), digest(&request.rule_hash)) else {
        anyhow::bail!("data plane sent a digest that is none; its run is not released");
    };
    let now_ms = clock::unix_ms();
    let expires_ms = now_ms.saturating_add(terms.minutes.saturating_mul(60_000));
    let claim = RunClaim {
        hold: request.hold.clone(),
        scope,
        rule_hash,
        statements: terms.statements,
        rows: terms.rows,
        approvers: hold.approvals.iter().map(|by| name(&by.issuer, &by.subject)).collect(),
        expires: Timestamp::from_unix_ms(expires_ms),
    };
    let bytes = claim.to_bytes();
    let signature = hub.approval_key().sign(&bytes);
    let run = NewRun { request, terms, claim: &bytes, signature: signature.as_ref(), now_ms, expires_ms };
    hub.store.keep_run_approval(&run).await?;
    tracing::info!(hold = request.hold, run = request.run, statements = terms.statements, "run released");
    hub.reload_if_changed().await
}
