//! What a decision says. A [`Permit`] is a proof: only `decide` makes one, and an upstream opens for nothing less.
//!
//! There is no default verdict, no integer form and no wildcard arm: a new kind of verdict breaks every match.

use std::rc::Rc;
use std::sync::Arc;

use crate::cache::Conditions;
use crate::{Budget, MaskPlan, Request, RunApproval, RunLimits, Timestamp};

#[derive(Debug)]
pub enum Verdict {
    Allow(Permit),
    Deny(Denial),
    Hold(Hold),
}

/// Proof that `decide` said yes, with the obligations that come with it. Moved, never copied.
#[derive(Debug)]
pub struct Permit {
    pub(crate) obligations: Rc<Obligations>,
    pub(crate) record: RecordLevel,
    /// The rules that let it pass because something is left of their budgets, among others.
    pub(crate) conditions: Option<Rc<Conditions>>,
    pub(crate) released: Vec<Arc<RunApproval>>,
    pub(crate) spent: Vec<Noted>,
}

impl Permit {
    pub fn obligations(&self) -> &Rc<Obligations> {
        &self.obligations
    }

    pub const fn record(&self) -> RecordLevel {
        self.record
    }

    /// What it is to be charged to: one statement now, rows as they come. Those that do not cover it are listed too.
    pub fn budgets(&self) -> impl Iterator<Item = &Arc<Budget>> {
        self.conditions.iter().flat_map(|conditions| conditions.budgets.iter().map(|(_, budget)| budget))
    }

    /// Releases for its run that let it pass: charged likewise.
    pub fn run_approvals(&self) -> &[Arc<RunApproval>] {
        &self.released
    }

    /// Rules that matched and let it pass.
    pub fn noted(&self) -> impl Iterator<Item = &Noted> {
        self.obligations.noted.iter().chain(&self.spent)
    }

    /// A permit that nobody decided: for the simulations of machines and drivers, which have no upstream.
    /// Behind a feature that only `dev-dependencies` turn on.
    #[cfg(feature = "simulation")]
    pub const fn simulated(obligations: Rc<Obligations>, record: RecordLevel) -> Self {
        Self { obligations, record, conditions: None, released: Vec::new(), spent: Vec::new() }
    }
}

/// What an allowed command still owes: shared by every repetition of the same command by the same caller class.
#[derive(Debug)]
pub struct Obligations {
    /// Some rule of the bundle is about this caller. Where false, what a machine cannot understand may pass.
    pub applies: bool,
    /// Of the bundle that decided.
    pub generation: u64,
    /// What to mask in the answer; `None`: nothing.
    pub mask: Option<Arc<MaskPlan>>,
    /// Rules that matched without stopping it: `alert`, `allow`, and any rule in `observe` mode.
    pub noted: Vec<Noted>,
}

/// A rule that matched and let the command pass.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Noted {
    pub rule: Arc<str>,
    pub effect: Effect,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    Alert,
    Allow,
    /// Mode `observe`: it would have been denied.
    WouldDeny,
    /// Mode `observe`: it would have been held.
    WouldHold,
}

/// How long a command waits for the record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecordLevel {
    /// The intent is on disk before the first byte goes upstream.
    Durable,
    /// The intent is in the ring, which survives any process, before the first byte goes upstream.
    Fast,
    /// Not recorded at all: for measurement only; configuration must say so twice.
    Off,
}

/// A refusal: the rule to name and a text fit for the client's eyes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Denial {
    /// Rule id, or a built-in reason's name in parentheses, such as `(opaque)`.
    pub rule: Arc<str>,
    pub reason: Reason,
    /// What was wrong and what to do. Holds no data of the command.
    pub message: Arc<str>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// A `block` rule, or no permission.
    Forbidden,
    /// The held command was not approved: denied by a person, expired, withdrawn, or unreachable approvers.
    NotApproved,
    /// A limit of the gateway.
    Limit,
    /// The identity is expired, revoked or unknown.
    Unauthenticated,
    /// Parse or scan failure: the command was not understood, so it is not forwarded.
    NotUnderstood,
    /// The gateway cannot serve it now: upstream, admin or recorder out of reach.
    Unavailable,
}

/// The command waits for people. Nothing of it has been forwarded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hold {
    pub rule: Arc<str>,
    pub terms: Arc<HoldTerms>,
    /// SHA-256 over what an approval is bound to: caller, target, request bytes and the rule's content.
    pub digest: [u8; 32],
    /// SHA-256 of the rule's content: a roll-out that leaves the rule alone leaves the hold alone.
    pub rule_hash: [u8; 32],
    /// What an approval for the whole run would be bound to: caller, run, target, and the statement without its
    /// literals. `None` where the rule allows none, the caller has no run, or the text was not understood.
    pub scope: Option<[u8; 32]>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HoldTerms {
    /// Groups whose members may approve.
    pub approvers: Vec<String>,
    /// Distinct people needed; at least one.
    pub quorum: u8,
    /// Milliseconds until it counts as denied.
    pub expires_ms: u64,
    /// Milliseconds it may wait inside an open transaction.
    pub in_transaction_ms: u64,
    /// The most that one approval may release for a run.
    pub run: Option<RunLimits>,
    /// Why it is held, for the approver and the client.
    pub message: String,
}

/// A release by people: an input to `decide`, bound to one command's digest and used once.
///
/// Built only by [`crate::approval`] from bytes that admin's approval key signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Approval {
    pub(crate) hold: String,
    pub(crate) digest: [u8; 32],
    pub(crate) rule_hash: [u8; 32],
    pub(crate) approvers: Vec<String>,
    pub(crate) expires: Timestamp,
}

impl Approval {
    pub fn hold(&self) -> &str {
        &self.hold
    }

    pub fn approvers(&self) -> &[String] {
        &self.approvers
    }

    pub const fn expires(&self) -> Timestamp {
        self.expires
    }
}

/// The one decision function, as the driver sees it: `Policy` implements it, simulations may too.
pub trait Decide {
    fn decide(&self, caller: &crate::Caller, request: &Request<'_>, now: Timestamp) -> Verdict;
}
