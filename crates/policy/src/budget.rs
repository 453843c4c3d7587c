//! Rules with memory: what a budget is, and how `decide` asks what is left of one. It counts nothing: the driver does.

use std::fmt::Debug;
use std::sync::Arc;

pub use crate::table::{Per, RunLimits};
use crate::{RunApproval, Timestamp};

/// What one rule lets a caller do before it acts. Shared by all callers; what is left is a matter of each.
#[derive(Debug, PartialEq, Eq)]
pub struct Budget {
    pub rule: Arc<str>,
    /// SHA-256 of the rule's content: a rule that changes begins anew.
    pub rule_hash: [u8; 32],
    pub per: Per,
    pub statements: Option<u64>,
    /// Rows of answers.
    pub rows: Option<u64>,
    /// Milliseconds in which it may be spent. 0: as long as the session lasts.
    pub within_ms: u64,
}

/// What a caller has left, as the driver counts it.
pub trait Purse: Debug {
    /// Whether `budget` covers one more command that asks for at most `rows` rows (`None`: who knows how many).
    /// Where nothing is known of it, it does not.
    fn covers(&self, budget: &Arc<Budget>, rows: Option<u64>, now: Timestamp) -> bool;

    /// What people released for this caller's run: by the rule that held it and by [`crate::Hold::scope`]. None where
    /// it is used up.
    fn run_approval(
        &self,
        rule_hash: &[u8; 32],
        scope: &[u8; 32],
        now: Timestamp,
    ) -> Option<Arc<RunApproval>>;
}

impl Budget {
    /// For the client: what there was, and how long it lasts.
    pub(crate) fn words(&self) -> String {
        let mut parts = Vec::new();
        parts.extend(self.statements.map(|count| format!("{count} statements")));
        parts.extend(self.rows.map(|count| format!("{count} rows")));
        let who = match self.per {
            Per::Identity => "an identity",
            Per::Run => "a run",
            Per::Session => "a session",
        };
        let within = match self.within_ms {
            0 => String::new(),
            ms => format!(" in {} s", ms / 1000),
        };
        format!("{} {who}{within}", parts.join(" and "))
    }
}
