//! The HTTP API that the command line speaks: JSON over loopback, a bearer token on every request but `/healthz`.

use std::sync::Arc;

use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use weir_control::{Ending, Revocation, SessionSummary};

use super::Hub;
use super::answers::{self, NotCounted};
use super::catalogue;
use super::checkpoints::RecordingStatus;
use super::door::Person;
use super::hub::LinkStatus;
use super::run_approvals::RunAnswer;
use crate::access::Access;
use crate::chain::NotRecorded;
use crate::clock;
use crate::state::{StoredBudget, StoredHold};

pub(super) fn router(hub: Arc<Hub>) -> Router {
    Router::new()
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/v1/status", get(status))
        .route("/v1/holds", get(holds))
        .route("/v1/holds/{hold}", get(hold))
        .route("/v1/holds/{hold}/approve", post(approve))
        .route("/v1/holds/{hold}/deny", post(deny))
        .route("/v1/budgets", get(budgets))
        .route("/v1/sessions", get(sessions))
        .route("/v1/sessions/{session}/kill", post(kill))
        .route("/v1/catalogue", get(catalogue::list))
        .route("/v1/checkpoints", get(checkpoints))
        .route("/v1/access", get(access))
        .route("/v1/ssh/certificates", post(super::ssh::issue))
        .route("/v1/revocations", get(revocations).post(revoke))
        .layer(axum::extract::DefaultBodyLimit::max(64 << 10))
        .with_state(hub)
}

/// An answer that is not what was asked for.
pub(crate) struct Failure {
    status: StatusCode,
    text: String,
}

impl Failure {
    pub(super) fn new(status: StatusCode, text: &str) -> Self {
        Self { status, text: text.to_owned() }
    }

    pub(super) fn forbidden(text: &str) -> Self {
        Self::new(StatusCode::FORBIDDEN, text)
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        (self.status, Json(serde_json::json!({ "error": self.text }))).into_response()
    }
}

impl From<NotCounted> for Failure {
    fn from(why: NotCounted) -> Self {
        let status = match &why {
            NotCounted::FourEyes | NotCounted::NotApprover(_) => StatusCode::FORBIDDEN,
            NotCounted::NotFound(_) => StatusCode::NOT_FOUND,
            NotCounted::NoRun | NotCounted::OverRun(..) => StatusCode::UNPROCESSABLE_ENTITY,
            NotCounted::Already | NotCounted::Ambiguous(_) | NotCounted::Ended(_) => StatusCode::CONFLICT,
            NotCounted::Internal(error) => return Self::from(anyhow::anyhow!("{error:#}")),
        };
        Self::new(status, &why.to_string())
    }
}

impl From<NotRecorded> for Failure {
    fn from(why: NotRecorded) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, &why.to_string())
    }
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        tracing::error!(error = format!("{error:#}"), "request failed");
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "admin failed; see its log")
    }
}

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

async fn status(State(hub): State<Arc<Hub>>, person: Person) -> Result<Json<Status>, Failure> {
    person.needs_view()?;
    let current = hub.current();
    let issuers = current.state.issuers.iter();
    Ok(Json(Status {
        state_version: current.state.version,
        connections: current.access.connections.len(),
        waiting: hub.store.holds(false).await?.len(),
        issuers: issuers
            .map(|issuer| IssuerStatus { issuer: issuer.issuer.clone(), keys: issuer.jwks.is_some() })
            .collect(),
        dataplanes: hub.linked(),
        recording: hub.checkpoints.status(),
    }))
}

/// Checkpoints that one answer holds at most.
pub(crate) const CHECKPOINTS_A_PAGE: u32 = 1000;

#[derive(Deserialize)]
struct After {
    #[serde(default)]
    after: u64,
}

/// Signed checkpoints of segments after a number, in order: they hold nothing of what was recorded.
async fn checkpoints(
    State(hub): State<Arc<Hub>>,
    person: Person,
    Query(query): Query<After>,
) -> Result<Json<Vec<String>>, Failure> {
    person.needs_view()?;
    Ok(Json(hub.store.checkpoints(query.after, CHECKPOINTS_A_PAGE).await?))
}

#[derive(Deserialize)]
struct All {
    #[serde(default)]
    all: bool,
}

/// Approvers see what they may answer; administrators and auditors see everything.
async fn holds(
    State(hub): State<Arc<Hub>>,
    person: Person,
    Query(query): Query<All>,
) -> Result<Json<Vec<StoredHold>>, Failure> {
    hub.chain.read("read-holds", &person.identity, json!({ "all": query.all })).await?;
    let mut holds = hub.store.holds(query.all).await?;
    holds.retain(|hold| may_see(&person, hold));
    Ok(Json(holds))
}

fn may_see(person: &Person, hold: &StoredHold) -> bool {
    person.administrator || person.auditor || answers::may_answer(hold, &person.identity)
}

async fn hold(
    State(hub): State<Arc<Hub>>,
    person: Person,
    Path(hold): Path<String>,
) -> Result<Json<StoredHold>, Failure> {
    let stored = answers::find(&hub, &hold).await?;
    if !may_see(&person, &stored) {
        return Err(NotCounted::NotFound(hold).into());
    }
    hub.chain.read("read-hold", &person.identity, json!({ "hold": stored.request.hold })).await?;
    Ok(Json(stored))
}

#[derive(Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Answer {
    pub reason: Option<String>,
    /// Everything alike of the command's run, too. Not with a refusal.
    pub run: Option<RunAnswer>,
}

async fn approve(
    State(hub): State<Arc<Hub>>,
    person: Person,
    Path(hold): Path<String>,
    Json(answer): Json<Answer>,
) -> Result<Json<StoredHold>, Failure> {
    let Answer { reason, run } = answer;
    let what = json!({ "hold": hold, "reason": reason, "run": run });
    hub.chain.record("approve", Some(&person.identity), what.clone()).await?;
    let answered = answers::approve(&hub, &hold, &person.identity, reason.as_deref(), run).await;
    told(&hub, "approve", &person, what, answered).await
}

async fn deny(
    State(hub): State<Arc<Hub>>,
    person: Person,
    Path(hold): Path<String>,
    Json(answer): Json<Answer>,
) -> Result<Json<StoredHold>, Failure> {
    if answer.run.is_some() {
        return Err(Failure::new(StatusCode::BAD_REQUEST, "only an approval can be for a whole run"));
    }
    let what = json!({ "hold": hold, "reason": answer.reason });
    hub.chain.record("deny", Some(&person.identity), what.clone()).await?;
    let answered = answers::deny(&hub, &hold, &person.identity, answer.reason.as_deref()).await;
    told(&hub, "deny", &person, what, answered).await
}

/// An answer that did not count is in the record as such.
async fn told(
    hub: &Hub,
    action: &str,
    person: &Person,
    what: Value,
    answered: Result<StoredHold, NotCounted>,
) -> Result<Json<StoredHold>, Failure> {
    match answered {
        Ok(stored) => Ok(Json(stored)),
        Err(why) => {
            hub.chain.refused(action, &person.identity, what, &why.to_string()).await;
            Err(why.into())
        }
    }
}

/// Budgets in their present window: what data planes took of them, used or not.
async fn budgets(State(hub): State<Arc<Hub>>, person: Person) -> Result<Json<Vec<StoredBudget>>, Failure> {
    person.needs_view()?;
    hub.chain.read("read-budgets", &person.identity, Value::Null).await?;
    Ok(Json(hub.store.budgets(clock::unix_ms()).await?))
}

async fn sessions(State(hub): State<Arc<Hub>>, person: Person) -> Result<Json<Vec<SessionSummary>>, Failure> {
    person.needs_view()?;
    hub.chain.read("read-sessions", &person.identity, Value::Null).await?;
    Ok(Json(hub.live()))
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Kill {
    pub reason: String,
}

async fn kill(
    State(hub): State<Arc<Hub>>,
    person: Person,
    Path(session): Path<String>,
    Json(kill): Json<Kill>,
) -> Result<Json<SessionSummary>, Failure> {
    person.needs_administrator()?;
    let mut live = hub.live();
    live.retain(|live| live.session.starts_with(&session));
    match live.as_slice() {
        [only] => {
            let what = json!({ "session": only.session, "reason": kill.reason });
            hub.chain.record("kill", Some(&person.identity), what).await?;
            hub.end(&Ending::Session { session: only.session.clone(), reason: kill.reason });
            Ok(Json(only.clone()))
        }
        [] => Err(Failure::new(StatusCode::NOT_FOUND, "no live session begins so")),
        _ => Err(Failure::new(StatusCode::CONFLICT, "several live sessions begin so; give more of the id")),
    }
}

async fn access(State(hub): State<Arc<Hub>>, person: Person) -> Result<Json<Access>, Failure> {
    person.needs_view()?;
    hub.chain.read("read-access", &person.identity, Value::Null).await?;
    Ok(Json(hub.current().access.clone()))
}

async fn revocations(State(hub): State<Arc<Hub>>, person: Person) -> Result<Json<Vec<Revocation>>, Failure> {
    person.needs_view()?;
    hub.chain.read("read-revocations", &person.identity, Value::Null).await?;
    Ok(Json(hub.current().state.revocations.clone()))
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

async fn revoke(
    State(hub): State<Arc<Hub>>,
    person: Person,
    Json(revoke): Json<Revoke>,
) -> Result<Json<Revocation>, Failure> {
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
        _ => return Err(Failure::new(StatusCode::BAD_REQUEST, "give a subject or a token, not both")),
    };
    let what = json!({ "revocation": revocation, "reason": reason });
    hub.chain.record("revoke", Some(&person.identity), what).await?;
    hub.store.revoke(&revocation, &person.identity.subject, &reason, now_ms).await?;
    // In force before the sessions end: a client that dials again at once must find the door closed.
    hub.reload_if_changed().await?;
    hub.end(&ending);
    Ok(Json(revocation))
}
