//! A session's budgets: what `decide` asks of them, and what its commands are charged to.
//!
//! Rows come without saying which command they belong to, and one text may hold several. So whatever is under way at
//! once, up to the end of its transaction (a suspended portal lives as long), is charged to every budget that any of it spends from, and so is what a cursor or an SQL-level prepared statement
//! brings that was made under a budget. That errs on the strict side, and nothing slips between two commands.

use std::cell::RefCell;
use std::fmt;
use std::rc::Rc;
use std::sync::Arc;

use weir_policy::{
    Budget, Identity, Kind, Per, Permit, Purse, Reason, Request, RunApproval, Timestamp, Verdict,
};

use super::desk::{Desk, denial};
use super::tell::is_run;
use crate::budgets::Account;
use crate::clock::Now;
use crate::shared::Errand;
use crate::worker::Worker;

/// Rows taken from the accounts before a step; what did not pass is given back after it.
const ROWS_A_STEP: u64 = 4_096;

pub(crate) struct SessionPurse {
    worker: Rc<Worker>,
    identity: Arc<Identity>,
    /// By the rule's content.
    known: RefCell<Vec<([u8; 32], Arc<Account>)>>,
}

impl fmt::Debug for SessionPurse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SessionPurse").field("known", &self.known).finish_non_exhaustive()
    }
}

impl SessionPurse {
    pub(crate) fn new(worker: &Rc<Worker>, identity: &Arc<Identity>) -> Rc<Self> {
        Rc::new(Self { worker: Rc::clone(worker), identity: Arc::clone(identity), known: RefCell::default() })
    }

    /// The session's account with this budget. `None`: it is a run's, and the session is of none.
    fn account(&self, budget: &Budget) -> Option<Arc<Account>> {
        let mut known = self.known.borrow_mut();
        if let Some((_, account)) = known.iter().find(|(hash, _)| *hash == budget.rule_hash) {
            return Some(Arc::clone(account));
        }
        let account = match budget.per {
            Per::Session => Arc::new(Account::of_session(budget)),
            Per::Identity | Per::Run => self.worker.shared.accounts.of(budget, &self.identity)?,
        };
        known.push((budget.rule_hash, Arc::clone(&account)));
        Some(account)
    }

    /// Opens the accounts of these budgets, and asks for shares where there are none. True: none is missing.
    pub(crate) fn open(&self, budgets: &[Arc<Budget>], now: Now) -> bool {
        let mut complete = true;
        for account in budgets.iter().filter_map(|budget| self.account(budget)) {
            if !account.is_valid(now.wall_ms()) {
                complete = false;
                self.ask(&account, now.wall_ms());
            }
        }
        complete
    }

    fn ask(&self, account: &Account, now_ms: u64) {
        if account.wants(now_ms) {
            self.worker.shared.control.send(Errand::Lease(Box::new(account.ask.clone())));
        }
    }
}

impl Purse for SessionPurse {
    fn covers(&self, budget: &Arc<Budget>, rows: Option<u64>, now: Timestamp) -> bool {
        let Some(account) = self.account(budget) else { return false };
        self.ask(&account, now.unix_ms());
        account.covers(rows, now.unix_ms())
    }

    fn run_approval(
        &self,
        rule_hash: &[u8; 32],
        scope: &[u8; 32],
        now: Timestamp,
    ) -> Option<Arc<RunApproval>> {
        let standing = self.worker.standing.borrow();
        let covers = |approval: &&Arc<RunApproval>| {
            now < approval.claim().expires
                && self.worker.shared.accounts.of_run(approval).covers(None, now.unix_ms())
        };
        standing.as_ref()?.run_approvals(rule_hash, scope).iter().find(covers).cloned()
    }
}

/// What the session's commands are charged to at the moment.
#[derive(Default)]
pub(super) struct Tabs {
    /// Row budgets of everything that is under way, up to the end of the transaction.
    open: Vec<Arc<Account>>,
    /// Row budgets that cursors and prepared statements were made under.
    handles: Vec<Arc<Account>>,
}

fn add(tabs: &mut Vec<Arc<Account>>, account: &Arc<Account>) {
    if account.counts_rows() && !tabs.iter().any(|tab| Arc::ptr_eq(tab, account)) {
        tabs.push(Arc::clone(account));
    }
}

impl Desk {
    /// Charges an allowed command. Where another session took the last of a budget in this moment, it is denied.
    pub(super) fn charge(&mut self, request: &Request<'_>, verdict: Verdict, now: Now) -> Verdict {
        let (Verdict::Allow(permit), true) = (&verdict, is_run(request)) else { return verdict };
        let accounts = self.accounts(permit, now);
        if accounts.is_empty() && self.tabs.handles.is_empty() {
            return verdict;
        }
        for account in &accounts {
            if !account.take_statement() {
                let text = "the last of its budget was just taken: wait or ask for approval";
                return Verdict::Deny(denial(&account.ask.rule, Reason::Limit, text));
            }
            add(&mut self.tabs.open, account);
        }
        let mut kinds = request.kinds_of_all();
        let makes = kinds.clone().any(|kind| matches!(kind, Kind::Declare | Kind::Prepare));
        if makes {
            accounts.iter().for_each(|account| add(&mut self.tabs.handles, account));
        }
        if !self.tabs.handles.is_empty() && kinds.any(|kind| matches!(kind, Kind::Execute | Kind::Fetch)) {
            let Tabs { open, handles } = &mut self.tabs;
            handles.iter().for_each(|account| add(open, account));
        }
        verdict
    }

    /// Those with something left: one that has nothing let the command pass because people did.
    fn accounts(&self, permit: &Permit, now: Now) -> Vec<Arc<Account>> {
        let Some(opened) = &self.opened else { return Vec::new() };
        let purse = &opened.purse;
        let budgets = permit.budgets().filter_map(|budget| purse.account(budget));
        let budgets = budgets.filter(|account| account.covers(None, now.wall_ms()));
        let runs = permit.run_approvals().iter().map(|run| purse.worker.shared.accounts.of_run(run));
        budgets.chain(runs).collect()
    }

    /// Takes what the next step may let pass.
    pub(super) fn take_rows(&self) -> u64 {
        let [first, rest @ ..] = self.tabs.open.as_slice() else { return u64::MAX };
        let mut taken = first.take_rows(ROWS_A_STEP);
        for (at, account) in rest.iter().enumerate() {
            let least = account.take_rows(taken);
            if least < taken {
                let before = self.tabs.open.iter().take(at + 1);
                before.for_each(|account| account.give_rows(taken - least));
                taken = least;
            }
        }
        taken
    }

    /// Gives back what did not pass.
    pub(super) fn give_rows(&self, left: u64) {
        if left > 0 && left != u64::MAX {
            self.tabs.open.iter().for_each(|account| account.give_rows(left));
        }
    }

    /// Nothing is under way, and no transaction is open.
    pub(super) fn close_tabs(&mut self) {
        self.tabs.open.clear();
    }

    /// New rules may bring new budgets.
    pub(super) fn open_budgets(&self, worker: &Worker, now: Now) {
        let Some(opened) = &self.opened else { return };
        let budgets = worker.policy.borrow().budgets(&opened.caller);
        opened.purse.open(&budgets, now);
    }
}
