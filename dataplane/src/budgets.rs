//! What callers have left of budgets: one table of atomics a node, filled with shares that admin leases. It decides
//! nothing: `decide` asks whether a budget covers a command, the session charges what passes.
//!
//! Without a valid share nothing is covered. A share outlives its window by a moment, in which the next one is asked
//! for: what is used of it then was charged to the window before, so that no window ever lets more pass than it has.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use ring::digest::{Context, SHA256};
use weir_control::{Lease, LeaseAsk, LeaseReturn};
use weir_policy::{Budget, Identity, Per, RunApproval};

use crate::clock::Now;

/// How long after its window a share still counts.
const GRACE_MS: u64 = 2_000;
/// A share is asked for at most this often.
const ASK_EVERY_MS: u64 = 1_000;

/// One budget of one caller on this node.
#[derive(Debug)]
pub(crate) struct Account {
    pub ask: LeaseAsk,
    statements: AtomicU64,
    rows: AtomicU64,
    /// End of the window that the share belongs to; 0: there is none.
    until_ms: AtomicU64,
    /// As leased, in this window: what "little is left" is measured by.
    leased: AtomicU64,
    asked_ms: AtomicU64,
}

impl Account {
    fn new(ask: LeaseAsk) -> Self {
        Self {
            ask,
            statements: AtomicU64::new(0),
            rows: AtomicU64::new(0),
            until_ms: AtomicU64::new(0),
            leased: AtomicU64::new(0),
            asked_ms: AtomicU64::new(0),
        }
    }

    /// One that lasts as long as its session, and that nobody else spends from.
    pub(crate) fn of_session(budget: &Budget) -> Self {
        let account = Self::new(ask_for(String::new(), budget, None));
        account.statements.store(budget.statements.unwrap_or(0), Ordering::Relaxed);
        account.rows.store(budget.rows.unwrap_or(0), Ordering::Relaxed);
        account.until_ms.store(u64::MAX, Ordering::Relaxed);
        account
    }

    pub(crate) fn is_valid(&self, now_ms: u64) -> bool {
        now_ms < self.until_ms.load(Ordering::Acquire).saturating_add(GRACE_MS)
            && self.until_ms.load(Ordering::Relaxed) != 0
    }

    /// Whether one more command that wants at most `rows` (`None`: unknown) is within what is left.
    pub(crate) fn covers(&self, rows: Option<u64>, now_ms: u64) -> bool {
        let left = self.rows.load(Ordering::Relaxed);
        self.is_valid(now_ms)
            && (self.ask.statements.is_none() || self.statements.load(Ordering::Relaxed) > 0)
            && (self.ask.rows.is_none() || (left > 0 && left >= rows.unwrap_or(1)))
    }

    /// False where another session has taken the last one.
    pub(crate) fn take_statement(&self) -> bool {
        self.ask.statements.is_none()
            || self
                .statements
                .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1))
                .is_ok()
    }

    pub(crate) const fn counts_rows(&self) -> bool {
        self.ask.rows.is_some()
    }

    /// Takes up to `most` rows; what does not pass is given back.
    pub(crate) fn take_rows(&self, most: u64) -> u64 {
        let mut taken = 0;
        let _ = self.rows.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| {
            taken = left.min(most);
            Some(left - taken)
        });
        taken
    }

    pub(crate) fn give_rows(&self, rows: u64) {
        self.rows.fetch_add(rows, Ordering::Relaxed);
    }

    /// Whether now is the time to ask admin for more: none is there, its window is over, or little is left.
    pub(crate) fn wants(&self, now_ms: u64) -> bool {
        let until = self.until_ms.load(Ordering::Relaxed);
        let low = self.leased.load(Ordering::Relaxed) / 4;
        let left = match self.ask.statements {
            Some(_) => self.statements.load(Ordering::Relaxed),
            None => self.rows.load(Ordering::Relaxed),
        };
        let due = now_ms >= until || left <= low;
        let asked = self.asked_ms.load(Ordering::Relaxed);
        due && until != u64::MAX
            && now_ms >= asked.saturating_add(ASK_EVERY_MS)
            && self.asked_ms.compare_exchange(asked, now_ms, Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }

    /// Admin's link was lost with what was asked on it.
    pub(crate) fn ask_again(&self) {
        self.asked_ms.store(0, Ordering::Relaxed);
    }

    fn put(&self, lease: &Lease) {
        let (statements, rows) = (lease.statements.unwrap_or(0), lease.rows.unwrap_or(0));
        let share = if lease.statements.is_some() { statements } else { rows };
        if self.until_ms.load(Ordering::Relaxed) == lease.until_unix_ms {
            self.statements.fetch_add(statements, Ordering::Relaxed);
            self.rows.fetch_add(rows, Ordering::Relaxed);
            self.leased.fetch_add(share, Ordering::Relaxed);
        } else {
            self.statements.store(statements, Ordering::Relaxed);
            self.rows.store(rows, Ordering::Relaxed);
            self.leased.store(share, Ordering::Relaxed);
            self.until_ms.store(lease.until_unix_ms, Ordering::Release);
        }
    }

    fn give_back(&self) -> LeaseReturn {
        LeaseReturn {
            account: self.ask.account.clone(),
            statements: self.statements.swap(0, Ordering::Relaxed),
            rows: self.rows.swap(0, Ordering::Relaxed),
            until_unix_ms: self.until_ms.load(Ordering::Relaxed),
        }
    }
}

/// All accounts of the node that more than one session may spend from. Looked at by logins and by the control thread.
#[derive(Debug, Default)]
pub(crate) struct Accounts(Mutex<HashMap<String, Arc<Account>>>);

impl Accounts {
    /// The account of this identity with this budget, made where there is none. `None`: a run's, and there is no run.
    pub(crate) fn of(&self, budget: &Budget, identity: &Identity) -> Option<Arc<Account>> {
        let run = match budget.per {
            Per::Run => Some(identity.run.as_deref()?),
            Per::Identity | Per::Session => None,
        };
        let name = name(budget, identity, run);
        Some(self.open(&name, || ask_for(name.clone(), budget, Some((identity, run)))))
    }

    /// The account of what people released for a run.
    pub(crate) fn of_run(&self, approval: &RunApproval) -> Arc<Account> {
        let claim = approval.claim();
        let name = format!("run:{}", claim.hold);
        self.open(&name, || LeaseAsk {
            account: name.clone(),
            rule: String::new(),
            issuer: String::new(),
            subject: String::new(),
            run: None,
            statements: Some(claim.statements),
            rows: claim.rows,
            within_ms: 0,
        })
    }

    fn open(&self, name: &str, ask: impl FnOnce() -> LeaseAsk) -> Arc<Account> {
        let mut accounts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(accounts.entry(name.to_owned()).or_insert_with(|| Arc::new(Account::new(ask()))))
    }

    /// Puts a share where it belongs. False: nobody has that account any more.
    pub(crate) fn put(&self, lease: &Lease) -> bool {
        let accounts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let account = accounts.get(&lease.account);
        account.inspect(|account| account.put(lease)).is_some()
    }

    /// Asks to send now, for accounts that somebody spends from; forgets those that nobody does and whose window is over.
    pub(crate) fn due(&self, now: Now) -> Vec<LeaseAsk> {
        let now_ms = now.wall_ms();
        let mut accounts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        accounts.retain(|_, account| Arc::strong_count(account) > 1 || account.is_valid(now_ms));
        let used = accounts.values().filter(|account| Arc::strong_count(account) > 1);
        used.filter(|account| account.wants(now_ms)).map(|account| account.ask.clone()).collect()
    }

    pub(crate) fn ask_again(&self) {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .values()
            .for_each(|account| account.ask_again());
    }

    /// What is left of all shares; nothing is covered any more.
    pub(crate) fn give_back(&self) -> Vec<LeaseReturn> {
        let accounts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        accounts.values().map(|account| account.give_back()).collect()
    }
}

fn ask_for(account: String, budget: &Budget, whose: Option<(&Identity, Option<&str>)>) -> LeaseAsk {
    LeaseAsk {
        account,
        rule: budget.rule.to_string(),
        issuer: whose.map(|(identity, _)| identity.issuer.clone()).unwrap_or_default(),
        subject: whose.map(|(identity, _)| identity.subject.clone()).unwrap_or_default(),
        run: whose.and_then(|(_, run)| run).map(str::to_owned),
        statements: budget.statements,
        rows: budget.rows,
        within_ms: budget.within_ms,
    }
}

/// The same on every node, and not to be made by choosing names cleverly.
fn name(budget: &Budget, identity: &Identity, run: Option<&str>) -> String {
    let mut context = Context::new(&SHA256);
    context.update(b"weir budget v1\0");
    context.update(&budget.rule_hash);
    for part in [Some(identity.issuer.as_str()), Some(identity.subject.as_str()), run] {
        context.update(&[u8::from(part.is_some())]);
        let part = part.unwrap_or_default();
        context.update(&(part.len() as u64).to_le_bytes());
        context.update(part.as_bytes());
    }
    crate::session::hex(context.finish().as_ref())
}
