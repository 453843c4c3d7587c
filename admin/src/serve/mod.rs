//! The admin service: one state, its data planes on the control socket, and people on the HTTP API.
//!
//! Nothing in the data path waits for this process, except what needs a person or a fresh credential.

pub(crate) mod acts;
mod answers;
mod api;
mod catalogue;
mod checkpoints;
mod control;
mod door;
mod hub;
mod issuers;
mod person;
mod run_approvals;
mod ssh;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use axum::Router;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

pub(crate) use acts::{Answer, Kill, Revoke, Status};
pub(crate) use api::{CHECKPOINTS_A_PAGE, Failure};
pub(crate) use hub::Hub;
pub(crate) use person::{Person, Roles};
pub(crate) use run_approvals::RunAnswer;
pub(crate) use ssh::{CertificateAsk, Issued};

use crate::config::Config;
use crate::web::{self, TlsListener};

/// How often changes made by `apply` beside this process are looked for.
const POLL: Duration = Duration::from_millis(250);
/// How often sessions' roles are looked through.
const SWEEP: Duration = Duration::from_secs(15);

/// Runs until SIGTERM or SIGINT.
pub(crate) async fn run(config: Config) -> Result<()> {
    let hub = Arc::new(Hub::open(config).await?);
    let control = control::Door::bind(&hub.config.control)?;
    let api = TcpListener::bind(hub.config.admin.listen)
        .await
        .with_context(|| format!("cannot listen on {}", hub.config.admin.listen))?;
    tracing::info!(api = %api.local_addr()?, control = %hub.config.control.socket.display(), "serving");
    tokio::spawn(issuers::refresh(hub.clone()));
    tokio::spawn(watch(hub.clone()));
    tokio::spawn(sweep(hub.clone()));
    tokio::spawn(checkpoints::watch(hub.clone()));
    tokio::spawn(catalogue::follow(hub.clone()));
    let started = hub.clone();
    tokio::spawn(async move {
        started.record_start().await;
        control::serve(control, started).await;
    });
    let (router, pages) = with_pages(api::router(hub.clone()), &hub).await?;
    if let Some((listener, router)) = pages {
        tokio::spawn(async move { axum::serve(listener, router).with_graceful_shutdown(stop()).await });
    }
    axum::serve(api, router).with_graceful_shutdown(stop()).await?;
    Ok(())
}

/// Puts the pages where `weir.toml` wants them: behind a listener of their own, or beside the API, for a proxy in front.
async fn with_pages(api: Router, hub: &Arc<Hub>) -> Result<(Router, Option<(TlsListener, Router)>)> {
    let admin = &hub.config.admin;
    let (Some(web), Some(sign_in)) = (&admin.web, &admin.sign_in) else { return Ok((api, None)) };
    let pages = web::router(Arc::new(web::Site::new(hub.clone(), web, sign_in)?));
    tracing::info!(url = web.url, issuer = sign_in.issuer, "pages for people");
    let (Some(listen), Some(cert), Some(key)) = (web.listen, &web.cert, &web.key) else {
        return Ok((api.merge(pages), None));
    };
    let listener = TcpListener::bind(listen).await.with_context(|| format!("cannot listen on {listen}"))?;
    Ok((api, Some((TlsListener::new(listener, cert, key)?, pages))))
}

/// Drops what a killed process left on upstreams, and budgets whose window is over: at the start, and now and then.
async fn sweep(hub: Arc<Hub>) {
    let mut ticks = tokio::time::interval(SWEEP);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        hub.sweep_roles().await;
        if let Err(error) = hub.store.forget_old_budgets(crate::clock::unix_ms()).await {
            tracing::error!(%error, "budgets whose window is over could not be forgotten");
        }
        if let Err(error) = hub.forget_old_visits().await {
            tracing::error!(
                error = format!("{error:#}"),
                "people's sessions that are over could not be forgotten"
            );
        }
    }
}

/// Until somebody asks this process to end.
pub(crate) async fn stop() {
    let Ok(mut term) = signal(SignalKind::terminate()) else { return };
    tokio::select! {
        _ = term.recv() => {}
        _ = tokio::signal::ctrl_c() => {}
    }
}

/// Pushes what changed, and ends holds whose time is over.
async fn watch(hub: Arc<Hub>) {
    let mut ticks = tokio::time::interval(POLL);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        if let Err(error) = hub.reload_if_changed().await {
            tracing::error!(%error, "the state was not taken over; what was pushed stays in force");
        }
        if let Err(error) = hub.expire_holds().await {
            tracing::error!(%error, "holds could not be expired");
        }
    }
}
