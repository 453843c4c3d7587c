//! A held command on its way to people, and their answer on its way back.

use serde::{Deserialize, Serialize};

/// Everything an approver needs to see, and what the answer will be bound to.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct HoldRequest {
    /// Unique: chosen by the data plane.
    pub hold: String,
    pub session: String,
    pub at_unix_ms: u64,
    pub expires_unix_ms: u64,
    pub rule: String,
    pub message: String,
    /// Groups whose members may approve, and how many distinct people it takes.
    pub approvers: Vec<String>,
    pub quorum: u8,
    /// Hex SHA-256 of the command as bound, and of the rule's content.
    pub digest: String,
    pub rule_hash: String,
    /// Where one approval may release all alike of the caller's run: what it would be bound to (hex SHA-256), and the most
    /// it may release.
    pub scope: Option<RunScope>,
    pub issuer: String,
    pub subject: String,
    pub groups: Vec<String>,
    pub claims: Vec<(String, String)>,
    pub run: Option<String>,
    pub purpose: Option<String>,
    pub connection: String,
    pub role: String,
    /// The exact command, lossily as UTF-8, and its bind values as the client sent them.
    pub command: String,
    pub binds: Vec<Option<String>>,
    /// The facts it was decided on, for people.
    pub facts: serde_json::Value,
    pub in_transaction: bool,
}

/// See [`HoldRequest::scope`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunScope {
    pub digest: String,
    pub most: RunTerms,
}

/// How much an approval for a run releases.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RunTerms {
    pub statements: u64,
    /// `None`: rows are not counted.
    pub rows: Option<u64>,
    pub minutes: u64,
}

/// Approved: `claim` is `weir_policy`'s approval encoding, signed by admin's approval key (both hex).
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Release {
    pub hold: String,
    pub claim: String,
    pub signature: String,
    pub reason: Option<String>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Refusal {
    pub hold: String,
    /// `denied` or `expired`.
    pub outcome: String,
    pub by: Option<String>,
    pub reason: Option<String>,
}
