//! Somebody who was let in, by a token or by signing in, and what they may do. Which groups have which role is asked here
//! and nowhere else; which held command somebody may answer is its rule's to say besides.

use weir_policy::Identity;

use super::answers;
use super::api::Failure;
use crate::config::Admin;
use crate::state::StoredHold;

/// What somebody's groups make of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Roles {
    /// May change things and see everything.
    pub administrator: bool,
    /// May answer the commands that rules leave to their groups.
    pub approver: bool,
    /// May see everything.
    pub auditor: bool,
    /// May see what goes on, but no command.
    pub viewer: bool,
}

impl Roles {
    pub(crate) fn of(groups: &[String], admin: &Admin) -> Self {
        let any_of = |wanted: &[String]| groups.iter().any(|group| wanted.contains(group));
        Self {
            administrator: any_of(&admin.administrators),
            approver: admin.approvers.as_deref().is_none_or(any_of),
            auditor: any_of(&admin.auditors),
            viewer: any_of(&admin.viewers),
        }
    }

    /// Names of the roles, the most powerful first; `configured` says whether approvers are named at all.
    pub(crate) fn names(self, configured: bool) -> Vec<&'static str> {
        let roles = [
            (self.administrator, "administrator"),
            (self.auditor, "auditor"),
            (self.approver && configured, "approver"),
            (self.viewer, "viewer"),
        ];
        roles.into_iter().filter_map(|(has, name)| has.then_some(name)).collect()
    }
}

/// Somebody whose token verified, or who signed in. What they may do is each act's question.
#[derive(Clone, Debug)]
pub(crate) struct Person {
    pub identity: Identity,
    pub roles: Roles,
}

impl Person {
    pub(crate) fn needs_administrator(&self) -> Result<(), Failure> {
        if self.roles.administrator {
            Ok(())
        } else {
            Err(Failure::forbidden("only administrators may do this"))
        }
    }

    pub(crate) fn needs_view(&self) -> Result<(), Failure> {
        if self.may_view() {
            Ok(())
        } else {
            Err(Failure::forbidden("only administrators, auditors and viewers may see this"))
        }
    }

    pub(crate) fn needs_approver(&self) -> Result<(), Failure> {
        if self.roles.approver { Ok(()) } else { Err(Failure::forbidden("only approvers may do this")) }
    }

    pub(crate) const fn may_view(&self) -> bool {
        self.roles.administrator || self.roles.auditor || self.roles.viewer
    }

    /// Approvers see what they may answer; administrators and auditors see every command.
    pub(crate) fn may_see(&self, hold: &StoredHold) -> bool {
        self.roles.administrator || self.roles.auditor || self.may_answer(hold)
    }

    /// Whether this person's answer would count, as far as groups go and apart from whose command it is.
    pub(crate) fn may_answer(&self, hold: &StoredHold) -> bool {
        self.roles.approver && answers::may_answer(hold, &self.identity)
    }

    pub(crate) fn asked_for(&self, hold: &StoredHold) -> bool {
        let request = &hold.request;
        request.issuer == self.identity.issuer && request.subject == self.identity.subject
    }
}
