//! `decide`: the one function that says yes. Rules in, caller and request in, verdict out; everything else is a cache.
//!
//! All rules that apply to the caller count. Any block wins, then any hold; a text that was not understood is refused
//! wherever any rule applies; what no rule matched is allowed, unless the bundle's default says otherwise.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::bundle::{Bundle, LoadScanner, TrustedKey};
use crate::cache::{About, Conditions, Outcome, Verdicts};
use crate::class::{Class, Classes};
use crate::evaluate::{Evaluation, Scratch};
use crate::rule::Action;
use crate::trace::{Observe, RuleTrace, Silent, Teller, Trace};
use crate::{
    Budget, Caller, Decide, Denial, Effect, Error, Http, MaskPlan, Moment, Noted, Permit, Purse, Reason,
    Request, SshKind, Timestamp, Verdict, hold,
};

/// Numbers every `Policy` of the process, so that no caller's class is taken for another policy's.
static INSTANCES: AtomicU64 = AtomicU64::new(1);

/// One core's view of a bundle: the shared rules and this core's caches. Cheap to make, not to be shared.
pub struct Policy {
    bundle: Arc<Bundle>,
    instance: u64,
    classes: RefCell<Classes>,
    verdicts: RefCell<Verdicts>,
    scratch: RefCell<Scratch>,
    expired: Denial,
}

impl std::fmt::Debug for Policy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Policy").field("about", &self.bundle.about).finish_non_exhaustive()
    }
}

impl Policy {
    /// Loads a bundle for one core. Where several cores share it: [`Bundle::load`] once, [`Policy::new`] on each.
    ///
    /// # Errors
    /// As [`Bundle::load`].
    pub fn load(bytes: &[u8], trusted: &[TrustedKey], load_scanner: LoadScanner<'_>) -> Result<Self, Error> {
        Bundle::load(bytes, trusted, load_scanner).map(Self::new)
    }

    pub fn new(bundle: Arc<Bundle>) -> Self {
        Self {
            bundle,
            instance: INSTANCES.fetch_add(1, Ordering::Relaxed),
            classes: RefCell::default(),
            verdicts: RefCell::default(),
            scratch: RefCell::default(),
            expired: Denial {
                rule: "(expired)".into(),
                reason: Reason::Unauthenticated,
                message: "the token has expired: connect again with a fresh one".into(),
            },
        }
    }

    pub fn bundle(&self) -> &Arc<Bundle> {
        &self.bundle
    }

    pub fn generation(&self) -> u64 {
        self.bundle.about.generation
    }

    /// True where any command rule, mask rule or default is about this caller. Where it is false, everything passes.
    pub fn applies(&self, caller: &Caller) -> bool {
        self.class(caller).1.any
    }

    /// What to mask for this caller; `None`: nothing.
    pub fn mask_plan(&self, caller: &Caller) -> Option<Arc<MaskPlan>> {
        self.class(caller).1.obligations.mask.clone()
    }

    /// Whether the body of this request, which is still to come, has a say in what is decided: some rule looks into it, or
    /// an approval would cover it. [`Decide::decide`] refuses where such a rule acts and the body is not there.
    pub fn wants_body(&self, caller: &Caller, http: &Http<'_>) -> bool {
        let class = self.class(caller).1;
        let evaluation = Evaluation { bundle: &self.bundle, class: &class };
        evaluation.looking_into_body(http).next().is_some()
    }

    /// The budgets that this caller may come to spend.
    pub fn budgets(&self, caller: &Caller) -> Vec<Arc<Budget>> {
        let rules = &self.bundle.rules.rules;
        let class = self.class(caller).1;
        class.rules.iter().filter_map(|index| rules.get(*index)?.budget.clone()).collect()
    }

    /// Decides as [`Decide::decide`] does, without the cache, and tells how.
    pub fn explain(&self, caller: &Caller, request: &Request<'_>, now: Timestamp) -> (Verdict, Trace) {
        let mut teller = Teller::default();
        let class = self.class(caller).1;
        let verdict = if now >= caller.identity.expires {
            Verdict::Deny(self.expired.clone())
        } else {
            let evaluation = Evaluation { bundle: &self.bundle, class: &class };
            let mut scratch = self.scratch.borrow_mut();
            match evaluation.scan(request, &mut scratch, &mut teller) {
                Ok(()) => {
                    let outcome = evaluation.outcome(request, &scratch, &mut teller);
                    self.conclude(&outcome, caller, request, now)
                }
                Err(denial) => Verdict::Deny(denial),
            }
        };
        if !class.any {
            teller.note(|| "no rule is about this caller: everything passes".into());
        }
        let mut trace = teller.trace;
        let rules = &self.bundle.rules.rules;
        let told = |rule: &crate::rule::Rule| {
            let found = trace.rules.iter().find(|told| told.rule == *rule.id).cloned();
            found.unwrap_or_else(|| RuleTrace {
                rule: rule.id.to_string(),
                applies: false,
                matched: false,
                action: rule.action_words(),
                conditions: Vec::new(),
            })
        };
        trace.rules = rules.iter().map(told).collect();
        (verdict, trace)
    }

    /// What the rules lead to, from the cache where no literal of the text has a say in it.
    ///
    /// # Errors
    /// The text could not be scanned now: refused, but not to be remembered.
    fn evaluate(&self, index: Option<u32>, class: &Class, request: &Request<'_>) -> Result<Outcome, Denial> {
        let evaluation = Evaluation { bundle: &self.bundle, class };
        let mut scratch = self.scratch.borrow_mut();
        evaluation.scan(request, &mut scratch, &mut Silent)?;
        let (Request::Sql(sql), Some(index)) = (request, index) else {
            return Ok(evaluation.outcome(request, &scratch, &mut Silent));
        };
        let shape = About::Shape(if scratch.any_hit() { 0 } else { sql.facts.shape });
        let mut verdicts = self.verdicts.borrow_mut();
        let outcome = match verdicts.get(shape, index) {
            Some(outcome) => outcome.clone(),
            None => {
                let outcome = evaluation.outcome(request, &scratch, &mut Silent);
                verdicts.put(shape, index, outcome.clone());
                outcome
            }
        };
        verdicts.put(About::Text(sql.facts.id), index, outcome.clone());
        Ok(outcome)
    }

    fn conclude(&self, outcome: &Outcome, caller: &Caller, request: &Request<'_>, now: Timestamp) -> Verdict {
        match outcome {
            Outcome::Allow(obligations) => Verdict::Allow(permit(obligations, caller)),
            Outcome::Deny(denial) => Verdict::Deny(denial.clone()),
            Outcome::Conditional(conditions) if is_parse(request) => {
                Verdict::Allow(permit(&conditions.obligations, caller))
            }
            Outcome::Conditional(conditions) => self.weigh(conditions, caller, request, now),
        }
    }

    /// Rules that act or not by what is left of their budgets and by what people released.
    fn weigh(
        &self,
        conditions: &Rc<Conditions>,
        caller: &Caller,
        request: &Request<'_>,
        now: Timestamp,
    ) -> Verdict {
        let rules = &self.bundle.rules.rules;
        let mut permit = permit(&conditions.obligations, caller);
        let mut holds = Vec::new();
        for (index, budget) in &conditions.budgets {
            let covers = |purse: &Rc<dyn Purse>| purse.covers(budget, most_rows(request), now);
            let Some(rule) = rules.get(*index) else { continue };
            if caller.purse.as_ref().is_some_and(covers) {
                continue;
            }
            match (&rule.action, rule.observe) {
                (Action::Block, false) => {
                    let denial = rule.denial(Arc::clone(&rule.message));
                    return Verdict::Deny(Denial { reason: Reason::Limit, ..denial });
                }
                (Action::Hold(_), false) => holds.push(*index),
                (action, _) => {
                    let held = matches!(action, Action::Hold(_));
                    let effect = if held { Effect::WouldHold } else { Effect::WouldDeny };
                    permit.spent.push(Noted { rule: Arc::clone(&rule.id), effect });
                }
            }
        }
        let (pending, released) = if conditions.holds.is_empty() && holds.is_empty() {
            (None, Vec::new())
        } else if holds.is_empty() {
            hold::next(conditions.holds.iter().copied(), rules, caller, request, now)
        } else {
            holds.extend(&conditions.holds);
            holds.sort_unstable();
            hold::next(holds.into_iter(), rules, caller, request, now)
        };
        match pending {
            Some(hold) if cannot_wait(request) => Verdict::Deny(Denial {
                rule: hold.rule,
                reason: Reason::NotApproved,
                message: "listening cannot wait for approval: ask for a rule that allows or blocks it".into(),
            }),
            Some(hold) => Verdict::Hold(hold),
            None => Verdict::Allow(Permit { conditions: Some(Rc::clone(conditions)), released, ..permit }),
        }
    }

    /// The number of the caller's class, kept in the caller once it is known.
    fn class_index(&self, caller: &Caller) -> Option<u32> {
        if let Some((instance, index)) = caller.class.get()
            && instance == self.instance
        {
            return Some(index);
        }
        let index = self.classes.borrow_mut().intern(&self.bundle, caller);
        caller.class.set(index.map(|index| (self.instance, index)));
        index
    }

    /// The caller's class and its number; the number is `None` for one that has no place in the cache.
    fn class(&self, caller: &Caller) -> (Option<u32>, Rc<Class>) {
        let index = self.class_index(caller);
        let known = index.and_then(|index| self.classes.borrow().get(index).cloned());
        (index, known.unwrap_or_else(|| Classes::transient(&self.bundle, caller)))
    }

    /// What was decided for this text and class before: the hot path.
    fn remembered(
        &self,
        class: Option<u32>,
        caller: &Caller,
        request: &Request<'_>,
        now: Timestamp,
    ) -> Option<Verdict> {
        let Request::Sql(sql) = request else { return None };
        let verdicts = self.verdicts.borrow();
        let outcome = verdicts.get(About::Text(sql.facts.id), class?)?;
        Some(self.conclude(outcome, caller, request, now))
    }
}

impl Decide for Policy {
    fn decide(&self, caller: &Caller, request: &Request<'_>, now: Timestamp) -> Verdict {
        if now >= caller.identity.expires {
            return Verdict::Deny(self.expired.clone());
        }
        if let Some(verdict) = self.remembered(self.class_index(caller), caller, request, now) {
            return verdict;
        }
        let (index, class) = self.class(caller);
        match self.evaluate(index, &class, request) {
            Ok(outcome) => self.conclude(&outcome, caller, request, now),
            Err(denial) => Verdict::Deny(denial),
        }
    }
}

fn permit(obligations: &Rc<crate::Obligations>, caller: &Caller) -> Permit {
    Permit {
        obligations: Rc::clone(obligations),
        record: caller.record,
        conditions: None,
        released: Vec::new(),
        spent: Vec::new(),
    }
}

/// The most rows that a command says it wants, where it says so. An empty answer costs nothing.
fn most_rows(request: &Request<'_>) -> Option<u64> {
    match request {
        Request::Sql(sql) => {
            sql.facts.statements.iter().try_fold(0u64, |sum, it| Some(sum.saturating_add(it.limit?)))
        }
        Request::Connect(_) | Request::Http(_) | Request::Ssh(_) => None,
    }
}

/// It belongs to no channel that could be held.
fn cannot_wait(request: &Request<'_>) -> bool {
    matches!(request, Request::Ssh(ssh) if ssh.kind == SshKind::Listen)
}

/// Held later, at Bind: drivers wait for Parse and Describe to be answered.
fn is_parse(request: &Request<'_>) -> bool {
    matches!(request, Request::Sql(sql) if sql.moment == Moment::Parse)
}
