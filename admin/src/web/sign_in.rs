//! Signing in and out: away to the issuer with a state, a nonce and a challenge, back with a code, and from there a visit
//! whose id nobody had before.

use std::sync::Arc;

use anyhow::Context as _;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{AppendHeaders, IntoResponse, Redirect, Response};
use maud::{Markup, html};
use serde::Deserialize;
use serde_json::json;
use subtle::ConstantTimeEq as _;

use super::failure::Oops;
use super::layout;
use super::provider::{Exchange, encoded};
use super::signing_in::{self, SigningIn};
use super::visit::{self, Posted};
use super::{Site, cookies};
use crate::clock;
use crate::state::StoredVisit;

pub(super) const CALLBACK: &str = "/sign-in/callback";

#[derive(Deserialize)]
pub(super) struct To {
    to: Option<String>,
}

/// The page that says where signing in leads.
pub(super) async fn page(
    State(site): State<Arc<Site>>,
    headers: HeaderMap,
    Query(To { to }): Query<To>,
) -> Result<Response, Oops> {
    if visit::visitor(&site, &headers, true).await?.is_some() {
        return Ok(Redirect::to("/").into_response());
    }
    let go = match to.as_deref() {
        Some(to) => format!("/sign-in/go?to={}", encoded(to)),
        None => "/sign-in/go".to_owned(),
    };
    let issuer = &site.provider.config.issuer;
    let body = html! {
        p { "Approve held commands, watch sessions, question the policy. What you do here is recorded." }
        p { a.button.primary href=(go) { "Sign in" } }
        p.quiet { "You sign in at " (issuer) "." }
    };
    Ok(layout::door("Sign in", &body).into_response())
}

/// Away to the issuer.
pub(super) async fn go(State(site): State<Arc<Site>>, Query(To { to }): Query<To>) -> Result<Response, Oops> {
    let mut url = site.provider.authorization().await.map_err(|error| {
        tracing::error!(error = format!("{error:#}"), "the sign-in's issuer does not answer");
        Oops::outage()
    })?;
    let attempt = SigningIn::new(to.as_deref(), clock::unix_ms())?;
    let config = &site.provider.config;
    url.query_pairs_mut()
        .append_pair("response_type", "code")
        .append_pair("client_id", &config.client_id)
        .append_pair("redirect_uri", &format!("{}{CALLBACK}", site.origin.url))
        .append_pair("scope", &config.scopes.join(" "))
        .append_pair("state", &attempt.state)
        .append_pair("nonce", &attempt.nonce)
        .append_pair("code_challenge", &attempt.challenge())
        .append_pair("code_challenge_method", "S256");
    let sealed = site.sealing.seal(&attempt)?;
    let cookie = cookies::write(&site.origin, cookies::SIGNING_IN, &sealed, Some(signing_in::SECONDS));
    Ok((AppendHeaders(cookie), Redirect::to(url.as_str())).into_response())
}

/// What an issuer sends a browser back with.
#[derive(Deserialize)]
pub(super) struct Back {
    code: Option<String>,
    state: Option<String>,
    error: Option<String>,
    iss: Option<String>,
}

/// Back from the issuer.
pub(super) async fn callback(
    State(site): State<Arc<Site>>,
    headers: HeaderMap,
    Query(back): Query<Back>,
) -> Response {
    // Whatever comes of it, the attempt is over.
    let over = cookies::write(&site.origin, cookies::SIGNING_IN, "", Some(0));
    match came_back(&site, &headers, &back).await {
        Ok((to, id)) => {
            let visit = cookies::write(&site.origin, cookies::VISIT, &id, None);
            let to = format!("{}{to}", site.origin.url);
            (AppendHeaders(over.into_iter().chain(visit).collect::<Vec<_>>()), Redirect::to(&to))
                .into_response()
        }
        Err(oops) => (AppendHeaders(over), oops).into_response(),
    }
}

async fn came_back(
    site: &Site,
    headers: &HeaderMap,
    back: &Back,
) -> Result<(String, zeroize::Zeroizing<String>), Oops> {
    let now_ms = clock::unix_ms();
    let sealed = cookies::read(&site.origin, headers, cookies::SIGNING_IN);
    let attempt = sealed.and_then(|sealed| site.sealing.open(sealed, now_ms));
    let attempt = attempt.ok_or_else(|| refused("this browser did not begin it, or took too long"))?;
    let state = back.state.as_deref().unwrap_or_default();
    if !bool::from(attempt.state.as_bytes().ct_eq(state.as_bytes())) {
        return Err(refused("the answer is not for this browser's attempt (state)"));
    }
    if !site.provider.said_it(back.iss.as_deref()).await? {
        return Err(refused("the answer is another issuer's (iss)"));
    }
    if let Some(error) = &back.error {
        return Err(refused(&format!("the issuer said {:?}", error.chars().take(40).collect::<String>())));
    }
    let code = back.code.as_deref().ok_or_else(|| refused("the answer has no code"))?;
    let redirect_uri = format!("{}{CALLBACK}", site.origin.url);
    let exchange =
        Exchange { code, verifier: &attempt.verifier, nonce: &attempt.nonce, redirect_uri: &redirect_uri };
    let signed_in =
        site.provider.exchange(&exchange).await.map_err(|error| refused(&format!("{error:#}")))?;
    // A visit that this browser had is over: its id was known before.
    visit::end(site, headers).await?;
    let identity = signed_in.identity;
    let what = json!({ "ends_unix_ms": now_ms + u64::try_from(site.provider.config.longest.as_millis()).unwrap_or(0) });
    site.hub.chain.record("sign-in", Some(&identity), what).await?;
    let visit = StoredVisit {
        issuer: identity.issuer,
        subject: identity.subject,
        name: signed_in.name,
        groups: identity.groups,
        token_id: identity.token_id,
        token_issued_ms: signed_in.issued_ms,
        signed_in_ms: now_ms,
        seen_ms: now_ms,
        ends_ms: now_ms,
    };
    let id = visit::begin(site, visit, now_ms).await.context("the sign-in could not be kept")?;
    Ok((attempt.back, id))
}

/// Why is for the log: a stranger learns nothing.
fn refused(why: &str) -> Oops {
    tracing::warn!(why, "a sign-in was refused");
    Oops::SignIn
}

#[derive(Deserialize)]
pub(super) struct Nothing {}

pub(super) async fn sign_out(
    State(site): State<Arc<Site>>,
    posted: Posted<Nothing>,
) -> Result<Response, Oops> {
    let Posted { visitor, form: Nothing {} } = posted;
    site.hub.store.end_visit(&visitor.id).await?;
    site.hub.chain.record("sign-out", Some(&visitor.person.identity), serde_json::Value::Null).await?;
    let over = cookies::write(&site.origin, cookies::VISIT, "", Some(0));
    Ok((AppendHeaders(over), Redirect::to("/signed-out")).into_response())
}

pub(super) async fn signed_out(State(site): State<Arc<Site>>) -> (StatusCode, Markup) {
    let issuer = site.provider.end_session().map(|mut url| {
        url.query_pairs_mut().append_pair("client_id", &site.provider.config.client_id);
        url.to_string()
    });
    let body = html! {
        p { "You are signed out of Weir." }
        p { a.button href="/sign-in" { "Sign in again" } }
        @if let Some(url) = issuer {
            p.quiet { "Your issuer may still know this browser. " a href=(url) rel="noreferrer" { "Sign out there, too" } "." }
        }
    };
    (StatusCode::OK, layout::door("Signed out", &body))
}
