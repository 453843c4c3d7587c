//! Rules with memory, with a purse made by hand: when they act, what a permit is to be charged to, and what an approval for
//! a whole run covers.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::rc::Rc;
use std::sync::Arc;

use ring::rand::SystemRandom;
use ring::signature::{Ed25519KeyPair, KeyPair};
use weir_policy::{
    About, Binds, Budget, Bundle, Caller, Decide, Effect, Facts, Hold, Identity, Kind, Moment, Permit,
    Policy, Purse, Reason, RecordLevel, Request, RunApproval, RunClaim, Sql, StatementFacts, Target,
    Timestamp, Verdict, table,
};

const NOW: Timestamp = Timestamp::from_unix_seconds(1_000);

/// Covers budgets of these rules, up to so many rows, and knows these approvals.
#[derive(Debug, Default)]
struct Hand {
    covered: Vec<&'static str>,
    rows: u64,
    runs: Vec<Arc<RunApproval>>,
}

impl Purse for Hand {
    fn covers(&self, budget: &Arc<Budget>, rows: Option<u64>, _: Timestamp) -> bool {
        self.covered.contains(&&*budget.rule) && rows.is_none_or(|rows| rows <= self.rows)
    }

    fn run_approval(&self, rule: &[u8; 32], scope: &[u8; 32], now: Timestamp) -> Option<Arc<RunApproval>> {
        let fits = |run: &&Arc<RunApproval>| {
            let claim = run.claim();
            claim.rule_hash == *rule && claim.scope == *scope && now < claim.expires
        };
        self.runs.iter().find(fits).cloned()
    }
}

fn rule(id: &str, action: table::Action, budget: Option<u64>) -> table::Rule {
    let budget = budget.map(|statements| table::Budget {
        statements: Some(statements),
        within_ms: 60_000,
        ..table::Budget::default()
    });
    let sql = table::Sql { kinds: vec!["select".into()], ..table::Sql::default() };
    table::Rule { id: id.into(), action, budget, sql: Some(sql), ..table::Rule::default() }
}

fn hold(run: bool) -> table::Action {
    table::Action::Hold(table::Hold {
        approvers: vec!["dpo".into()],
        quorum: 1,
        expires_ms: 60_000,
        in_transaction_ms: 1_000,
        run: run.then_some(table::RunLimits { statements: 10, rows: None, expires_ms: 60_000 }),
    })
}

fn policy(rules: Vec<table::Rule>) -> Policy {
    let tables = table::Tables { rules, ..table::Tables::default() };
    Policy::new(Bundle::from_tables(About::default(), &tables, None, None).unwrap())
}

fn caller(run: Option<&str>, hand: Hand) -> Caller {
    let identity = Identity {
        issuer: "https://ci".into(),
        subject: "repo:a".into(),
        groups: Vec::new(),
        claims: Vec::new(),
        token_id: None,
        run: run.map(str::to_owned),
        purpose: None,
        expires: Timestamp::from_unix_seconds(2_000),
    };
    let target = Target { connection: "clinic".into(), role: "job".into() };
    Caller::new(Arc::new(identity), target, None, RecordLevel::Fast).with_purse(Rc::new(hand))
}

fn facts(id: u64, limit: Option<u64>) -> Facts {
    let statement = StatementFacts { kind: Kind::Select, limit, ..StatementFacts::default() };
    Facts { id, fingerprint: [7; 32], statements: [statement].into(), ..Facts::default() }
}

fn decide_at(policy: &Policy, caller: &Caller, facts: &Facts, moment: Moment) -> Verdict {
    let text = format!("SELECT {}", facts.id);
    let sql = Sql {
        text: text.as_bytes(),
        facts,
        moment,
        binds: Binds::default(),
        in_transaction: false,
        approval: None,
    };
    policy.decide(caller, &Request::Sql(sql), NOW)
}

fn decide(policy: &Policy, caller: &Caller, facts: &Facts) -> Verdict {
    decide_at(policy, caller, facts, Moment::Query)
}

fn permit(verdict: Verdict) -> Permit {
    match verdict {
        Verdict::Allow(permit) => permit,
        verdict @ (Verdict::Deny(_) | Verdict::Hold(_)) => panic!("wanted a permit, got {verdict:?}"),
    }
}

fn held(verdict: Verdict) -> Hold {
    match verdict {
        Verdict::Hold(hold) => hold,
        verdict @ (Verdict::Allow(_) | Verdict::Deny(_)) => panic!("wanted a hold, got {verdict:?}"),
    }
}

fn charged(permit: &Permit) -> Vec<&str> {
    permit.budgets().map(|budget| &*budget.rule).collect()
}

fn covered() -> Hand {
    Hand { covered: vec!["paging"], rows: 100, ..Hand::default() }
}

#[test]
fn a_rule_with_a_budget_acts_only_once_it_is_spent_whatever_was_decided_before() {
    let policy = policy(vec![rule("paging", table::Action::Block, Some(5))]);
    let facts = facts(1, None);
    for _ in 0..2 {
        assert_eq!(charged(&permit(decide(&policy, &caller(None, covered()), &facts))), ["paging"]);
    }
    match decide(&policy, &caller(None, Hand::default()), &facts) {
        Verdict::Deny(denial) => assert_eq!((&*denial.rule, denial.reason), ("paging", Reason::Limit)),
        verdict @ (Verdict::Allow(_) | Verdict::Hold(_)) => panic!("{verdict:?}"),
    }
}

#[test]
fn without_a_purse_every_budget_is_spent() {
    let policy = policy(vec![rule("paging", hold(false), Some(5))]);
    let mut caller = caller(None, covered());
    caller.purse = None;
    assert_eq!(&*held(decide(&policy, &caller, &facts(1, None))).rule, "paging");
}

#[test]
fn a_limit_over_what_is_left_is_over_the_budget() {
    let policy = policy(vec![rule("paging", table::Action::Block, Some(5))]);
    let caller = caller(None, covered());
    assert!(matches!(decide(&policy, &caller, &facts(1, Some(100))), Verdict::Allow(_)));
    assert!(matches!(decide(&policy, &caller, &facts(2, Some(101))), Verdict::Deny(_)));
}

#[test]
fn parsing_asks_no_budget_and_is_charged_to_none() {
    let policy = policy(vec![rule("paging", table::Action::Block, Some(5))]);
    let spent = caller(None, Hand::default());
    let permit = permit(decide_at(&policy, &spent, &facts(1, None), Moment::Parse));
    assert_eq!(charged(&permit), Vec::<&str>::new());
}

#[test]
fn an_observing_rule_says_what_it_would_do_once_its_budget_is_spent() {
    let observing = table::Rule { observe: true, ..rule("paging", hold(false), Some(5)) };
    let policy = policy(vec![observing]);
    let fresh = permit(decide(&policy, &caller(None, covered()), &facts(1, None)));
    assert_eq!(fresh.noted().count(), 0);
    let spent = permit(decide(&policy, &caller(None, Hand::default()), &facts(1, None)));
    let noted: Vec<_> = spent.noted().map(|noted| (&*noted.rule, noted.effect)).collect();
    assert_eq!(noted, [("paging", Effect::WouldHold)]);
}

#[test]
fn a_block_wins_whatever_is_left() {
    let policy =
        policy(vec![rule("paging", hold(false), Some(5)), rule("never", table::Action::Block, None)]);
    let verdict = decide(&policy, &caller(None, covered()), &facts(1, None));
    assert!(matches!(verdict, Verdict::Deny(denial) if &*denial.rule == "never"));
}

#[test]
fn only_a_rule_that_says_so_and_a_caller_with_a_run_can_be_released_for_the_run() {
    let facts = facts(1, None);
    let scope = |run, may| {
        let policy = policy(vec![rule("ask", hold(may), None)]);
        held(decide(&policy, &caller(run, Hand::default()), &facts)).scope
    };
    assert!(scope(Some("run-1"), true).is_some());
    assert_ne!(scope(Some("run-1"), true), scope(Some("run-2"), true));
    assert_eq!(scope(None, true), None);
    assert_eq!(scope(Some("run-1"), false), None);
}

fn approve(hold: &Hold, expires: Timestamp) -> Arc<RunApproval> {
    let document = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).unwrap();
    let key = Ed25519KeyPair::from_pkcs8(document.as_ref()).unwrap();
    let claim = RunClaim {
        hold: "h".into(),
        scope: hold.scope.unwrap(),
        rule_hash: hold.rule_hash,
        statements: 10,
        rows: None,
        approvers: vec!["ann".into()],
        expires,
    };
    let bytes = claim.to_bytes();
    let approval = RunApproval::verify(&bytes, key.sign(&bytes).as_ref(), key.public_key().as_ref()).unwrap();
    assert_eq!(*approval.claim(), claim);
    Arc::new(approval)
}

#[test]
fn an_approval_for_a_run_covers_what_is_alike_in_that_run_and_nothing_else() {
    let policy = policy(vec![rule("ask", hold(true), None)]);
    let first = held(decide(&policy, &caller(Some("run-1"), Hand::default()), &facts(1, None)));
    let approval = approve(&first, Timestamp::from_unix_seconds(1_001));
    let knowing = |run| caller(Some(run), Hand { runs: vec![Arc::clone(&approval)], ..Hand::default() });
    // Another text with the same shape.
    let permit = permit(decide(&policy, &knowing("run-1"), &facts(2, None)));
    assert_eq!(permit.run_approvals(), [Arc::clone(&approval)]);
    let other_shape = Facts { fingerprint: [8; 32], ..facts(3, None) };
    held(decide(&policy, &knowing("run-1"), &other_shape));
    held(decide(&policy, &knowing("run-2"), &facts(2, None)));
    // The rule changed.
    let changed = self::policy(vec![table::Rule { message: "why".into(), ..rule("ask", hold(true), None) }]);
    held(decide(&changed, &knowing("run-1"), &facts(2, None)));
}

#[test]
fn of_two_rules_an_approval_for_a_run_satisfies_its_own_only() {
    let policy = policy(vec![rule("ask", hold(true), None), rule("ask-too", hold(false), None)]);
    let first = held(decide(&policy, &caller(Some("run-1"), Hand::default()), &facts(1, None)));
    assert_eq!(&*first.rule, "ask");
    let runs = vec![approve(&first, Timestamp::from_unix_seconds(1_001))];
    let second =
        held(decide(&policy, &caller(Some("run-1"), Hand { runs, ..Hand::default() }), &facts(1, None)));
    assert_eq!(&*second.rule, "ask-too");
}
