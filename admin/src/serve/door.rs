//! Who speaks to the HTTP API: a bearer token of a trusted issuer. What its bearer may do is `person`'s to say.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::FromRequestParts;
use axum::http::StatusCode;
use axum::http::header::AUTHORIZATION;
use axum::http::request::Parts;
use weir_token::Refusal;

use super::api::Failure;
use super::person::{Person, Roles};
use super::{Hub, issuers};
use crate::clock;

impl FromRequestParts<Arc<Hub>> for Person {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, hub: &Arc<Hub>) -> Result<Self, Failure> {
        let field = parts.headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
        let token = field.and_then(|value| {
            let (scheme, token) = value.split_once(' ')?;
            scheme.eq_ignore_ascii_case("bearer").then_some(token)
        });
        let token = token.ok_or_else(|| Failure::new(StatusCode::UNAUTHORIZED, "no bearer token"))?;
        let refused = |reason: String| {
            tracing::warn!(reason, "token refused at the admin API");
            Failure::new(StatusCode::UNAUTHORIZED, Refusal::PUBLIC)
        };
        let current = hub.current();
        let mut outcome = current.verifier.verify(token.as_bytes(), clock::now());
        if let Err(Refusal::UnknownKey { issuer } | Refusal::KeysMissing(issuer)) = &outcome {
            issuers::refetch(hub, issuer).await;
            outcome = hub.current().verifier.verify(token.as_bytes(), clock::now());
        }
        let verified = outcome.map_err(|refusal| refused(refusal.to_string()))?;
        if verified.bound_to.is_some() {
            return Err(refused("bound to a certificate, and none is asked for here".into()));
        }
        if verified.revoked_by(&hub.current().state.revocations) {
            return Err(refused("revoked".into()));
        }
        // `status` tells how things are also while the recorder is away.
        if parts.uri.path() != "/v1/status" {
            let until = verified.identity.expires.since_ms(clock::now());
            hub.chain.login(token.as_bytes(), &verified.identity, Duration::from_millis(until)).await?;
        }
        let roles = Roles::of(&verified.identity.groups, &hub.config.admin);
        Ok(Self { roles, identity: verified.identity })
    }
}
