//! The HTTP API that the command line speaks: JSON over loopback, a bearer token on every request but `/healthz` and the API's own
//! description (`openapi.json`). What was not done is told as RFC 9457 has it.
//!
//! No cookie opens it, so no page of somebody's browser can use it; what may be done is `acts`' matter.

use std::sync::Arc;

use axum::extract::rejection::{JsonRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::Deserialize;
use weir_control::{Revocation, SessionSummary};

use super::Hub;
use super::acts::{self, Answer, Kill, Revoke, Status};
use super::answers::NotCounted;
use super::catalogue;
use super::person::Person;
use crate::access::Access;
use crate::chain::NotRecorded;
use crate::state::{StoredBudget, StoredHold};

pub(super) fn router(hub: Arc<Hub>) -> Router {
    Router::new()
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/v1/openapi.json", get(|| async { ([(CONTENT_TYPE, "application/json")], OPENAPI) }))
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

/// What there is, for programs and people (OpenAPI 3.1).
const OPENAPI: &str = include_str!("openapi.json");

/// An answer that is not what was asked for.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) status: StatusCode,
    pub(crate) text: String,
}

impl Failure {
    pub(crate) fn new(status: StatusCode, text: &str) -> Self {
        Self { status, text: text.to_owned() }
    }

    pub(crate) fn forbidden(text: &str) -> Self {
        Self::new(StatusCode::FORBIDDEN, text)
    }

    pub(crate) fn bad_request(text: &str) -> Self {
        Self::new(StatusCode::BAD_REQUEST, text)
    }

    pub(crate) fn not_found(text: &str) -> Self {
        Self::new(StatusCode::NOT_FOUND, text)
    }

    pub(crate) fn conflict(text: &str) -> Self {
        Self::new(StatusCode::CONFLICT, text)
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let title = self.status.canonical_reason().unwrap_or("Failed");
        let problem = serde_json::json!({
            "type": "about:blank", "title": title, "status": self.status.as_u16(), "detail": self.text,
        });
        (self.status, [(CONTENT_TYPE, "application/problem+json")], problem.to_string()).into_response()
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

impl From<JsonRejection> for Failure {
    fn from(why: JsonRejection) -> Self {
        Self::new(why.status(), &why.body_text())
    }
}

impl From<QueryRejection> for Failure {
    fn from(why: QueryRejection) -> Self {
        Self::new(why.status(), &why.body_text())
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

async fn status(State(hub): State<Arc<Hub>>, person: Person) -> Result<Json<Status>, Failure> {
    acts::status(&hub, &person).await.map(Json)
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
    query: Result<Query<After>, QueryRejection>,
) -> Result<Json<Vec<String>>, Failure> {
    person.needs_view()?;
    let Query(query) = query?;
    Ok(Json(hub.store.checkpoints(query.after, CHECKPOINTS_A_PAGE).await?))
}

#[derive(Deserialize)]
struct All {
    #[serde(default)]
    all: bool,
}

async fn holds(
    State(hub): State<Arc<Hub>>,
    person: Person,
    query: Result<Query<All>, QueryRejection>,
) -> Result<Json<Vec<StoredHold>>, Failure> {
    let Query(query) = query?;
    acts::holds(&hub, &person, query.all).await.map(Json)
}

async fn hold(
    State(hub): State<Arc<Hub>>,
    person: Person,
    Path(hold): Path<String>,
) -> Result<Json<StoredHold>, Failure> {
    acts::hold(&hub, &person, &hold).await.map(Json)
}

async fn approve(
    State(hub): State<Arc<Hub>>,
    person: Person,
    Path(hold): Path<String>,
    answer: Result<Json<Answer>, JsonRejection>,
) -> Result<Json<StoredHold>, Failure> {
    let Json(answer) = answer?;
    acts::approve(&hub, &person, &hold, answer).await.map(Json)
}

async fn deny(
    State(hub): State<Arc<Hub>>,
    person: Person,
    Path(hold): Path<String>,
    answer: Result<Json<Answer>, JsonRejection>,
) -> Result<Json<StoredHold>, Failure> {
    let Json(answer) = answer?;
    acts::deny(&hub, &person, &hold, answer).await.map(Json)
}

async fn budgets(State(hub): State<Arc<Hub>>, person: Person) -> Result<Json<Vec<StoredBudget>>, Failure> {
    acts::budgets(&hub, &person).await.map(Json)
}

async fn sessions(State(hub): State<Arc<Hub>>, person: Person) -> Result<Json<Vec<SessionSummary>>, Failure> {
    acts::live(&hub, &person).await.map(Json)
}

async fn kill(
    State(hub): State<Arc<Hub>>,
    person: Person,
    Path(session): Path<String>,
    kill: Result<Json<Kill>, JsonRejection>,
) -> Result<Json<SessionSummary>, Failure> {
    let Json(kill) = kill?;
    acts::kill(&hub, &person, &session, kill.reason).await.map(Json)
}

async fn access(State(hub): State<Arc<Hub>>, person: Person) -> Result<Json<Access>, Failure> {
    acts::access(&hub, &person).await.map(Json)
}

async fn revocations(State(hub): State<Arc<Hub>>, person: Person) -> Result<Json<Vec<Revocation>>, Failure> {
    acts::revocations(&hub, &person).await.map(Json)
}

async fn revoke(
    State(hub): State<Arc<Hub>>,
    person: Person,
    revoke: Result<Json<Revoke>, JsonRejection>,
) -> Result<Json<Revocation>, Failure> {
    let Json(revoke) = revoke?;
    acts::revoke(&hub, &person, revoke).await.map(Json)
}
