//! Shares of budgets: admin keeps the account, a data plane leases what it may let pass, and charges it as it does.
//!
//! What is leased counts as spent until it is returned: a process that dies takes its share with it, up to the end of
//! the window.

use serde::{Deserialize, Serialize};

/// A data plane wants a share.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeaseAsk {
    /// Whose and which: one name, the same on every node.
    pub account: String,
    pub rule: String,
    pub issuer: String,
    pub subject: String,
    pub run: Option<String>,
    /// The whole budget, as the rule has it. Not looked at for what people released: that is admin's own.
    pub statements: Option<u64>,
    pub rows: Option<u64>,
    pub within_ms: u64,
}

/// A share. Added to what the asker has of the same window, which `until_unix_ms` names.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lease {
    pub account: String,
    /// `None`: not counted.
    pub statements: Option<u64>,
    pub rows: Option<u64>,
    pub until_unix_ms: u64,
}

/// What is left of a share.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeaseReturn {
    pub account: String,
    pub statements: u64,
    pub rows: u64,
    pub until_unix_ms: u64,
}
