//! Who asks, and for what: the verified identity, the target it asked for, and both together as a caller.
//!
//! Nothing here verifies a token: an `Identity` is built by the one place that did (`dataplane/identity`).

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;

use crate::{Purse, Timestamp};

/// What a verified token says. Issuer and subject together name the machine; everything else refines it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    pub issuer: String,
    pub subject: String,
    pub groups: Vec<String>,
    /// String-valued claims that the issuer's configuration keeps, in the token's order.
    pub claims: Vec<(String, String)>,
    /// `jti`, where the token has one.
    pub token_id: Option<String>,
    /// The one execution this token was minted for (a CI run, a job); what approvals are bound to.
    pub run: Option<String>,
    /// Purpose of use from a claim; a caller's own statement of it is in [`Caller::purpose`].
    pub purpose: Option<String>,
    pub expires: Timestamp,
}

/// What the identity asked for. Requests, never facts: a grant must confirm them.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Target {
    /// Connection name, as `access/*.toml` declares it.
    pub connection: String,
    /// Requested role on that connection.
    pub role: String,
}

/// An identity at a target: the subject of every decision of one session.
#[derive(Debug)]
pub struct Caller {
    pub identity: Arc<Identity>,
    pub target: Target,
    pub purpose: Option<String>,
    /// How this session is recorded: the grant's choice, which `decide` copies into each permit.
    pub record: crate::RecordLevel,
    /// What this caller has left of budgets. `None`: nothing, so that every rule with a budget acts.
    pub purse: Option<Rc<dyn Purse>>,
    /// Where `decide` keeps this caller's class between calls, with the generation it was computed for.
    pub(crate) class: Cell<Option<(u64, u32)>>,
}

impl Caller {
    pub fn new(
        identity: Arc<Identity>,
        target: Target,
        purpose: Option<String>,
        record: crate::RecordLevel,
    ) -> Self {
        Self { identity, target, purpose, record, purse: None, class: Cell::new(None) }
    }

    #[must_use]
    pub fn with_purse(self, purse: Rc<dyn Purse>) -> Self {
        Self { purse: Some(purse), ..self }
    }
}
