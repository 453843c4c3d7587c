//! User certificates for SSH, issued against a token: for the token's identity, until the token's own end at the latest, and for
//! connections that it was granted.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::extract::rejection::JsonRejection;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::json;
use weir_control::{Grant, Protocol};
use weir_policy::Identity;
use weir_ssh::{NewCertificate, Permits, PublicKey, Voucher};

use super::Hub;
use super::api::Failure;
use super::person::Person;
use crate::clock;
use crate::ssh_authorities::serial;

const LONGEST_S: u64 = 12 * 3600;
/// Gateways' clocks may differ.
const CLOCKS_DIFFER_S: u64 = 60;

/// What is asked for.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct CertificateAsk {
    /// The line of a `.pub` file.
    pub public_key: String,
    /// Empty: every SSH connection that was granted.
    #[serde(default)]
    pub connections: Vec<String>,
    pub ttl_s: u64,
    #[serde(default)]
    pub force_command: Option<String>,
    #[serde(default)]
    pub source_address: Option<String>,
}

#[derive(Serialize, Deserialize)]
pub(crate) struct Issued {
    /// The line of a `-cert.pub` file.
    pub certificate: String,
    pub connections: Vec<String>,
    pub expires_unix_s: u64,
}

pub(super) async fn issue(
    State(hub): State<Arc<Hub>>,
    person: Person,
    ask: Result<Json<CertificateAsk>, JsonRejection>,
) -> Result<Json<Issued>, Failure> {
    let Json(ask) = ask?;
    let unusable = |text: &str| Failure::new(StatusCode::UNPROCESSABLE_ENTITY, text);
    let authority = hub.keys.ssh.callers.as_ref().ok_or_else(|| {
        Failure::new(
            StatusCode::NOT_FOUND,
            "no listener of this gateway is SSH: nobody would take the certificate (`weir-admin init` makes its authority)",
        )
    })?;
    let key = PublicKey::from_line(&ask.public_key).map_err(|error| unusable(&error.to_string()))?;
    let connections = granted(&hub, &person.identity, &ask.connections)?;
    let now_s = clock::unix_ms() / 1_000;
    let until_s = (now_s + ask.ttl_s.clamp(1, LONGEST_S)).min(person.identity.expires.unix_ms() / 1_000);
    let key_id = format!("{} ({})", person.identity.subject, person.identity.issuer);
    let voucher = voucher(&person.identity).text().map_err(anyhow::Error::from)?;
    let serial = serial()?;
    let what = json!({
        "serial": serial, "key": key.fingerprint(), "connections": connections, "until_unix_s": until_s,
    });
    hub.chain.record("ssh-certificate", Some(&person.identity), what).await?;
    let certificate = NewCertificate {
        key: &key,
        serial,
        key_id: &key_id,
        principals: &connections,
        valid_s: (now_s.saturating_sub(CLOCKS_DIFFER_S), until_s),
        force_command: ask.force_command.as_deref(),
        source_address: ask.source_address.as_deref(),
        permits: Permits::ALL,
        identity: Some(&voucher),
    }
    .issue(authority)
    .map_err(|error| unusable(&error.to_string()))?;
    Ok(Json(Issued { certificate, connections, expires_unix_s: until_s }))
}

/// The SSH connections that are asked for, all of which must have been granted.
fn granted(hub: &Hub, identity: &Identity, asked: &[String]) -> Result<Vec<String>, Failure> {
    let current = hub.current();
    let ssh = current.state.connections.iter().filter(|one| one.protocol == Protocol::Ssh);
    let mine = |name: &str| {
        current.state.grants.iter().any(|grant| grant.connection == name && fits(grant, identity))
    };
    let mut names: Vec<String> = ssh.filter(|one| mine(&one.name)).map(|one| one.name.clone()).collect();
    if !asked.is_empty() {
        if let Some(wrong) = asked.iter().find(|name| !names.contains(name)) {
            return Err(Failure::forbidden(&format!("no SSH connection {wrong:?} is granted to you")));
        }
        names.retain(|name| asked.contains(name));
    }
    if names.is_empty() {
        return Err(Failure::forbidden("no SSH connection is granted to you"));
    }
    Ok(names)
}

/// As data planes judge it.
fn fits(grant: &Grant, identity: &Identity) -> bool {
    grant.issuer.as_ref().is_none_or(|issuer| *issuer == identity.issuer)
        && (grant.subjects.contains(&identity.subject)
            || grant.groups.iter().any(|group| identity.groups.contains(group)))
}

fn voucher(identity: &Identity) -> Voucher {
    Voucher {
        issuer: identity.issuer.clone(),
        subject: identity.subject.clone(),
        groups: identity.groups.clone(),
        claims: identity.claims.clone(),
        token_id: identity.token_id.clone(),
        run: identity.run.clone(),
        purpose: identity.purpose.clone(),
    }
}
