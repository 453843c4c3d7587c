//! The sample HTTP upstream: patients as JSON and as text, behind a credential that only the gateway has.

use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Result;
use axum::extract::{Path, Query, Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::net::TcpListener;

const PATIENTS: u32 = 1_000;

struct Sample {
    /// What `Authorization` must say.
    authorization: String,
    deleted: Mutex<Vec<u32>>,
}

/// Serves for ever.
pub(super) async fn serve(listener: TcpListener, authorization: String) -> Result<()> {
    let sample = Arc::new(Sample { authorization, deleted: Mutex::default() });
    let router = Router::new()
        .route("/v1/patients", get(list).post(create))
        .route("/v1/patients/{id}", get(show).delete(remove))
        .route("/v1/patients/{id}/letter", get(letter))
        .route("/v1/visits", post(create))
        .route("/v1/exports", post(export))
        .layer(middleware::from_fn_with_state(sample.clone(), guard))
        .route("/health", get(|| async { "ok\n" }))
        .with_state(sample);
    Ok(axum::serve(listener, router).await?)
}

async fn guard(State(sample): State<Arc<Sample>>, request: Request, next: Next) -> Response {
    let shown = request.headers().get(header::AUTHORIZATION);
    if shown.is_some_and(|shown| shown.as_bytes() == sample.authorization.as_bytes()) {
        next.run(request).await
    } else {
        (StatusCode::UNAUTHORIZED, "this upstream knows the gateway's credential only\n").into_response()
    }
}

fn ssn(id: u32) -> String {
    format!("{:03}-{:02}-{:04}", 1 + id * 7 % 665, 1 + id % 99, 1 + id * 13 % 9999)
}

fn patient(id: u32) -> Value {
    json!({
        "id": id,
        "name": format!("Patient {id}"),
        "ssn": ssn(id),
        "email": format!("patient{id}@example.org"),
        "phone": format!("+1-202-555-{:04}", id % 10_000),
    })
}

impl Sample {
    fn exists(&self, id: u32) -> bool {
        let deleted = self.deleted.lock().unwrap_or_else(PoisonError::into_inner);
        (1..=PATIENTS).contains(&id) && !deleted.contains(&id)
    }
}

#[derive(Deserialize)]
struct Page {
    #[serde(default)]
    limit: Option<u32>,
}

async fn list(State(sample): State<Arc<Sample>>, Query(page): Query<Page>) -> Json<Value> {
    let limit = page.limit.unwrap_or(10).min(PATIENTS);
    Json((1..=PATIENTS).filter(|id| sample.exists(*id)).take(limit as usize).map(patient).collect())
}

async fn show(State(sample): State<Arc<Sample>>, Path(id): Path<u32>) -> Response {
    if sample.exists(id) { Json(patient(id)).into_response() } else { StatusCode::NOT_FOUND.into_response() }
}

async fn letter(State(sample): State<Arc<Sample>>, Path(id): Path<u32>) -> Response {
    if !sample.exists(id) {
        return StatusCode::NOT_FOUND.into_response();
    }
    format!("Dear Patient {id},\nyour number is {}. Write to patient{id}@example.org.\n", ssn(id))
        .into_response()
}

async fn create(Json(body): Json<Value>) -> Response {
    (StatusCode::CREATED, Json(json!({"created": body}))).into_response()
}

/// All of them, one a line.
async fn export(State(sample): State<Arc<Sample>>) -> String {
    (1..=PATIENTS).filter(|id| sample.exists(*id)).map(|id| format!("{}\n", patient(id))).collect()
}

async fn remove(State(sample): State<Arc<Sample>>, Path(id): Path<u32>) -> StatusCode {
    if !sample.exists(id) {
        return StatusCode::NOT_FOUND;
    }
    sample.deleted.lock().unwrap_or_else(PoisonError::into_inner).push(id);
    StatusCode::NO_CONTENT
}
