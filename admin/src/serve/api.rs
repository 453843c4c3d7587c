//! The HTTP API that the command line speaks: JSON over loopback, a bearer token on every request but `/healthz`.
//!
//! No cookie opens it, so no page of somebody's browser can use it; what may be done is `acts`' matter.

use std::sync::Arc;

use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
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
        .route("/v1/revocations", get(revocations).post(revoke))
        .layer(axum::extract::DefaultBodyLimit::max(64 << 10))
        .with_state(hub)
}

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

async fn holds(
    State(hub): State<Arc<Hub>>,
    person: Person,
    Query(query): Query<All>,
) -> Result<Json<Vec<StoredHold>>, Failure> {
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
    Json(answer): Json<Answer>,
) -> Result<Json<StoredHold>, Failure> {
    acts::approve(&hub, &person, &hold, answer).await.map(Json)
}

async fn deny(
    State(hub): State<Arc<Hub>>,
    person: Person,
    Path(hold): Path<String>,
    Json(answer): Json<Answer>,
) -> Result<Json<StoredHold>, Failure> {
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
    Json(kill): Json<Kill>,
) -> Result<Json<SessionSummary>, Failure> {
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
    Json(revoke): Json<Revoke>,
) -> Result<Json<Revocation>, Failure> {
    acts::revoke(&hub, &person, revoke).await.map(Json)
}
