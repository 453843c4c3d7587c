//! What admin pushes: everything a data plane needs to serve sessions while admin is away.
//!
//! No upstream credential is in it; those come by [`crate::ToAdmin::Mint`] and are kept by the data plane.

use serde::{Deserialize, Serialize};

use crate::MaskKey;

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct State {
    /// Grows with every change, within one admin database.
    pub version: u64,
    pub issuers: Vec<Issuer>,
    pub connections: Vec<Connection>,
    pub grants: Vec<Grant>,
    pub revocations: Vec<Revocation>,
    pub mask_key: MaskKey,
    /// Ed25519 public keys (raw, 32 bytes, hex) that releases are signed with; two while rotating.
    pub approval_keys: Vec<String>,
    /// What people released for whole runs and has not expired.
    pub run_approvals: Vec<SignedRun>,
}

/// `weir_policy`'s encoding of an approval for a run, signed by admin's approval key (both hex), and whose it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignedRun {
    pub claim: String,
    pub signature: String,
}

/// A trusted token issuer, with its keys.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Issuer {
    /// Exact `iss`.
    pub issuer: String,
    /// Any one of these must be in `aud`. Never empty.
    pub audiences: Vec<String>,
    /// Allowed `alg` values, asymmetric only.
    pub algorithms: Vec<String>,
    /// The key set as published (JSON), already checked by admin; absent until first fetched.
    pub jwks: Option<String>,
    /// All must hold.
    pub conditions: Vec<ClaimCondition>,
    /// Claim that lists groups (array of strings, or one string).
    pub groups_claim: String,
    /// Claim that names the run; none: tokens of this issuer have no run.
    pub run_claim: Option<String>,
    pub purpose_claim: Option<String>,
    /// Claims kept in the identity for rules, approvers and the record.
    pub kept_claims: Vec<String>,
}

/// A claim must equal one of these, or match one with a trailing `*`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClaimCondition {
    pub claim: String,
    pub any_of: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    Http,
    Postgres,
    Ssh,
}

impl Protocol {
    /// As configuration, rules and the record spell it.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Postgres => "postgres",
            Self::Ssh => "ssh",
        }
    }
}

/// A protected upstream, by the name clients use.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Connection {
    pub name: String,
    pub protocol: Protocol,
    pub upstream: UpstreamAddress,
    pub tls: UpstreamTls,
    #[serde(default)]
    pub channel_binding: ChannelBinding,
    /// Database on the upstream; empty for protocols without.
    pub database: String,
    pub record: Record,
    /// Whom this connection's sessions seal what was said before masking to: X25519 public keys; empty: it is not kept.
    #[serde(default)]
    pub originals: Vec<[u8; 32]>,
    /// SSH: the server's own public keys, as lines of `.pub` files; behind `@cert-authority ` a key whose host certificates count.
    #[serde(default)]
    pub host_keys: Vec<String>,
    /// Milliseconds an HTTP request waits on hold before it is answered 503.
    pub hold_wait_ms: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum UpstreamAddress {
    Tcp { host: String, port: u16 },
    Unix { path: String },
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "mode")]
pub enum UpstreamTls {
    /// Plain: Unix sockets, and where the operator says so in as many words.
    Off,
    /// Certificate and host name are checked against these roots (PEM); empty: the system's roots.
    VerifyFull { roots_pem: String, server_name: Option<String> },
}

/// Whether a login upstream is bound to the TLS connection that it goes by (SCRAM-SHA-256-PLUS, `tls-server-end-point`).
/// The words are libpq's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ChannelBinding {
    /// Never: for a proxy that ends TLS on the way to the server.
    Disable,
    /// Where the upstream offers it.
    #[default]
    Prefer,
    /// Nothing else will do.
    Require,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Record {
    Durable,
    Fast,
    /// For measurement only.
    Off,
}

/// Who may use a role on a connection. Several grants add up.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grant {
    pub connection: String,
    pub role: String,
    /// `None`: any trusted issuer.
    pub issuer: Option<String>,
    /// Any of these groups, or any of `subjects`; both empty grants nobody.
    pub groups: Vec<String>,
    pub subjects: Vec<String>,
    pub max_sessions: Option<u32>,
}

/// What is no longer trusted, although its token still verifies.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "what")]
pub enum Revocation {
    Subject { issuer: String, subject: String, before_unix_ms: u64 },
    Token { issuer: String, token_id: String },
}

/// Which live sessions to end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "what")]
pub enum Ending {
    Group { group: String, reason: String },
    Session { session: String, reason: String },
    Subject { issuer: String, subject: String, reason: String },
    Token { issuer: String, token_id: String, reason: String },
}
