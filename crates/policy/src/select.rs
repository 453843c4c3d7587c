//! Whom a rule is about: selectors against a caller. Asked once a caller, never once a command.

use crate::table::{Claim, Selector, Subjects};
use crate::{Caller, glob};

pub(crate) fn includes(subjects: &Subjects, caller: &Caller) -> bool {
    fits(&subjects.include, caller) && !subjects.except.iter().any(|selector| fits(selector, caller))
}

fn fits(selector: &Selector, caller: &Caller) -> bool {
    let identity = &caller.identity;
    glob::any(&selector.connections, &caller.target.connection)
        && glob::any(&selector.roles, &caller.target.role)
        && glob::any(&selector.issuers, &identity.issuer)
        && glob::any(&selector.subjects, &identity.subject)
        && (selector.groups.is_empty()
            || identity.groups.iter().any(|group| glob::any(&selector.groups, group)))
        && selector.claims.iter().all(|claim| has_claim(claim, caller))
}

fn has_claim(wanted: &Claim, caller: &Caller) -> bool {
    caller
        .identity
        .claims
        .iter()
        .any(|(name, value)| *name == wanted.name && glob::any(&wanted.values, value))
}
