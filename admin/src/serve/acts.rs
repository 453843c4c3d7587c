//! What people may ask of the service, whichever door they came in by: the right, the record, the deed, in this order.
//!
//! The API and the pages only put these answers into words.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use weir_control::{Ending, Revocation, SessionSummary};
use weir_segment::SessionId;

use super::Hub;
use super::answers::{self, NotCounted};
use super::api::Failure;
use super::checkpoints::RecordingStatus;
use super::hub::LinkStatus;
use super::person::Person;
use super::run_approvals::RunAnswer;
use crate::access::Access;
use crate::clock;
use crate::sessions::Summary;
use crate::sessions::filter::{ListFilter, SessionFilter};
use crate::state::{StoredBudget, StoredHold};

#[derive(Serialize, Deserialize)]
pub(crate) struct Status {
    pub state_version: u64,
    pub connections: usize,
    pub waiting: usize,
    pub issuers: Vec<IssuerStatus>,
    pub dataplanes: Vec<LinkStatus>,
    pub recording: RecordingStatus,
}

#[derive(Serialize, Deserialize)]
pub(crate) struct IssuerStatus {
    pub issuer: String,
    pub keys: bool,
}

#[derive(Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Answer {
    pub reason: Option<String>,
    /// Everything alike of the command's run, too. Not with a refusal.
    pub run: Option<RunAnswer>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Kill {
    pub reason: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Revoke {
    pub issuer: String,
    /// Exactly one of these two.
    pub subject: Option<String>,
    pub token: Option<String>,
    pub reason: String,
}

pub(crate) async fn status(hub: &Hub, person: &Person) -> Result<Status, Failure> {
    person.needs_view()?;
    let current = hub.current();
    let issuers = current.state.issuers.iter();
    Ok(Status {
        state_version: current.state.version,
        connections: current.access.connections.len(),
        waiting: hub.store.holds(false).await?.len(),
        issuers: issuers
            .map(|issuer| IssuerStatus { issuer: issuer.issuer.clone(), keys: issuer.jwks.is_some() })
            .collect(),
        dataplanes: hub.linked(),
        recording: hub.checkpoints.status(),
    })
}

/// Approvers see what they may answer; administrators and auditors see everything.
pub(crate) async fn holds(hub: &Hub, person: &Person, all: bool) -> Result<Vec<StoredHold>, Failure> {
    hub.chain.read("read-holds", &person.identity, json!({ "all": all })).await?;
    let mut holds = hub.store.holds(all).await?;
    holds.retain(|hold| person.may_see(hold));
    Ok(holds)
}

pub(crate) async fn hold(hub: &Hub, person: &Person, hold: &str) -> Result<StoredHold, Failure> {
    let stored = answers::find(hub, hold).await?;
    if !person.may_see(&stored) {
        return Err(NotCounted::NotFound(hold.to_owned()).into());
    }
    hub.chain.read("read-hold", &person.identity, json!({ "hold": stored.request.hold })).await?;
    Ok(stored)
}

pub(crate) async fn approve(
    hub: &Hub,
    person: &Person,
    hold: &str,
    answer: Answer,
) -> Result<StoredHold, Failure> {
    person.needs_approver()?;
    let Answer { reason, run } = answer;
    let what = json!({ "hold": hold, "reason": reason, "run": run });
    hub.chain.record("approve", Some(&person.identity), what.clone()).await?;
    let answered = answers::approve(hub, hold, &person.identity, reason.as_deref(), run).await;
    told(hub, "approve", person, what, answered).await
}

pub(crate) async fn deny(
    hub: &Hub,
    person: &Person,
    hold: &str,
    answer: Answer,
) -> Result<StoredHold, Failure> {
    person.needs_approver()?;
    if answer.run.is_some() {
        return Err(Failure::bad_request("only an approval can be for a whole run"));
    }
    let what = json!({ "hold": hold, "reason": answer.reason });
    hub.chain.record("deny", Some(&person.identity), what.clone()).await?;
    let answered = answers::deny(hub, hold, &person.identity, answer.reason.as_deref()).await;
    told(hub, "deny", person, what, answered).await
}

/// An answer that did not count is in the record as such.
async fn told(
    hub: &Hub,
    action: &str,
    person: &Person,
    what: Value,
    answered: Result<StoredHold, NotCounted>,
) -> Result<StoredHold, Failure> {
    match answered {
        Ok(stored) => Ok(stored),
        Err(why) => {
            hub.chain.refused(action, &person.identity, what, &why.to_string()).await;
            Err(why.into())
        }
    }
}

/// Budgets in their present window: what data planes took of them, used or not.
pub(crate) async fn budgets(hub: &Hub, person: &Person) -> Result<Vec<StoredBudget>, Failure> {
    person.needs_view()?;
    hub.chain.read("read-budgets", &person.identity, Value::Null).await?;
    Ok(hub.store.budgets(clock::unix_ms()).await?)
}

pub(crate) async fn live(hub: &Hub, person: &Person) -> Result<Vec<SessionSummary>, Failure> {
    person.needs_view()?;
    hub.chain.read("read-sessions", &person.identity, Value::Null).await?;
    Ok(hub.live())
}

/// Recorded sessions, as the catalogue has them, in the order they began.
pub(crate) async fn recorded(
    hub: &Hub,
    person: &Person,
    (filter, listed): (SessionFilter, ListFilter),
) -> Result<Vec<Summary>, Failure> {
    person.needs_view()?;
    hub.chain.read("read-sessions", &person.identity, Value::Null).await?;
    Ok(hub.catalogue.recorded(&filter, &listed).await?)
}

/// What the catalogue has of one session.
pub(crate) async fn recorded_session(
    hub: &Hub,
    person: &Person,
    session: &str,
) -> Result<Option<Summary>, Failure> {
    person.needs_view()?;
    let Ok(id) = session.parse::<SessionId>() else { return Ok(None) };
    hub.chain.read("read-session", &person.identity, json!({ "session": session })).await?;
    // Of those that began before the next id, the newest.
    let before = id.0.checked_add(1).map(SessionId);
    let listed = ListFilter { before, newest: Some(1), ..ListFilter::default() };
    let found = hub.catalogue.recorded(&SessionFilter::default(), &listed).await?;
    Ok(found.into_iter().find(|one| one.session == id))
}

/// Ends the only live session that begins so.
pub(crate) async fn kill(
    hub: &Hub,
    person: &Person,
    session: &str,
    reason: String,
) -> Result<SessionSummary, Failure> {
    person.needs_administrator()?;
    let mut live = hub.live();
    live.retain(|live| live.session.starts_with(session));
    match live.as_slice() {
        [only] => {
            let what = json!({ "session": only.session, "reason": reason });
            hub.chain.record("kill", Some(&person.identity), what).await?;
            hub.end(&Ending::Session { session: only.session.clone(), reason });
            Ok(only.clone())
        }
        [] => Err(Failure::not_found("no live session begins so")),
        _ => Err(Failure::conflict("several live sessions begin so; give more of the id")),
    }
}

pub(crate) async fn access(hub: &Hub, person: &Person) -> Result<Access, Failure> {
    person.needs_view()?;
    hub.chain.read("read-access", &person.identity, Value::Null).await?;
    Ok(hub.current().access.clone())
}

pub(crate) async fn revocations(hub: &Hub, person: &Person) -> Result<Vec<Revocation>, Failure> {
    person.needs_view()?;
    hub.chain.read("read-revocations", &person.identity, Value::Null).await?;
    Ok(hub.current().state.revocations.clone())
}

pub(crate) async fn revoke(hub: &Hub, person: &Person, revoke: Revoke) -> Result<Revocation, Failure> {
    person.needs_administrator()?;
    let Revoke { issuer, subject, token, reason } = revoke;
    let now_ms = clock::unix_ms();
    let (revocation, ending) = match (subject, token) {
        (Some(subject), None) => (
            Revocation::Subject { issuer: issuer.clone(), subject: subject.clone(), before_unix_ms: now_ms },
            Ending::Subject { issuer, subject, reason: reason.clone() },
        ),
        (None, Some(token_id)) => (
            Revocation::Token { issuer: issuer.clone(), token_id: token_id.clone() },
            Ending::Token { issuer, token_id, reason: reason.clone() },
        ),
        _ => return Err(Failure::bad_request("give a subject or a token, not both")),
    };
    let what = json!({ "revocation": revocation, "reason": reason });
    hub.chain.record("revoke", Some(&person.identity), what).await?;
    hub.store.revoke(&revocation, &person.identity.subject, &reason, now_ms).await?;
    // In force before the sessions end: a client that dials again at once must find the door closed.
    hub.reload_if_changed().await?;
    hub.end(&ending);
    Ok(revocation)
}
