//! The pages: what people see and do in a browser. Rendered here, compiled in, with no build step.
//!
//! A page asks `serve::acts`, as the API does: rights and the record are there. Everything that was recorded or typed by
//! anybody is text: `maud` escapes what it is given, and nothing here says otherwise. What is said by cookies alone changes
//! nothing: see `visit` and `guard`.

mod approvals;
mod assets;
mod chart;
mod cookies;
mod evidence;
mod failure;
mod guard;
mod identities;
mod layout;
mod listener;
mod live;
mod me;
mod overview;
mod policy;
mod provider;
mod sessions;
mod sign_in;
mod signing_in;
mod visit;
mod words;

use std::sync::Arc;

use anyhow::Result;
use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::middleware::from_fn_with_state;
use axum::routing::{get, post};
use tokio::sync::Semaphore;

pub(crate) use listener::TlsListener;

use crate::config::{Origin, SignIn, Web};
use crate::serve::Hub;

/// Questions to the policy at once.
const QUESTIONS: usize = 2;

/// What every page needs.
pub(crate) struct Site {
    pub hub: Arc<Hub>,
    pub origin: Origin,
    pub provider: provider::Provider,
    sealing: signing_in::Sealing,
    /// Places of live pages, and of questions to the policy.
    streams: Arc<Semaphore>,
    questions: Semaphore,
}

impl Site {
    /// # Errors
    /// The operator's: a file that `weir.toml` names cannot be read.
    pub(crate) fn new(hub: Arc<Hub>, web: &Web, sign_in: &SignIn) -> Result<Self> {
        let origin = web.origin()?;
        let provider = provider::Provider::new(sign_in)?;
        Ok(Self {
            hub,
            origin,
            provider,
            sealing: signing_in::Sealing::new()?,
            streams: Arc::new(Semaphore::new(live::MAX_STREAMS)),
            questions: Semaphore::new(QUESTIONS),
        })
    }
}

/// Every page, behind its guard.
pub(crate) fn router(site: Arc<Site>) -> Router {
    Router::new()
        .route("/", get(overview::page))
        .route("/approvals", get(approvals::inbox))
        .route("/approvals/{hold}", get(approvals::one).post(approvals::answer))
        .route("/sessions", get(sessions::list))
        .route("/sessions/{session}", get(sessions::one))
        .route("/sessions/{session}/kill", post(sessions::kill))
        .route("/policy", get(policy::page).post(policy::tried))
        .route("/identities", get(identities::identities))
        .route("/identities/revoke", post(identities::revoke))
        .route("/connections", get(identities::connections))
        .route("/evidence", get(evidence::page))
        .route("/live", get(live::events))
        .route("/me", get(me::page))
        .route("/sign-in", get(sign_in::page))
        .route("/sign-in/go", get(sign_in::go))
        .route(sign_in::CALLBACK, get(sign_in::callback))
        .route("/sign-out", post(sign_in::sign_out))
        .route("/signed-out", get(sign_in::signed_out))
        .route("/assets/{name}", get(assets::asset))
        .layer(from_fn_with_state(site.clone(), guard::guard))
        .layer(DefaultBodyLimit::max(64 << 10))
        .with_state(site)
}
