//! Decisions by hand-made rules and facts: holds and approvals, the cache, classes, obligations.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::rc::Rc;
use std::sync::Arc;

use ring::rand::SystemRandom;
use ring::signature::{Ed25519KeyPair, KeyPair};
use weir_policy::{
    About, Approval, ApprovalClaim, Binds, Bundle, Caller, Decide, Facts, Hold, Identity, Kind, Moment,
    Opaque, PatternIndex, Policy, Reason, RecordLevel, Request, ScanError, Scanner, Sql, StatementFacts,
    Target, Timestamp, Verdict, table,
};

const NOW: Timestamp = Timestamp::from_unix_seconds(1_000);
const LATER: Timestamp = Timestamp::from_unix_seconds(2_000);

fn rule(id: &str, action: table::Action, kinds: &[&str]) -> table::Rule {
    table::Rule {
        id: id.into(),
        action,
        sql: Some(table::Sql {
            kinds: kinds.iter().map(|kind| (*kind).to_owned()).collect(),
            ..table::Sql::default()
        }),
        ..table::Rule::default()
    }
}

fn hold(approvers: &[&str]) -> table::Action {
    table::Action::Hold(table::Hold {
        approvers: approvers.iter().map(|group| (*group).to_owned()).collect(),
        quorum: 1,
        expires_ms: 60_000,
        in_transaction_ms: 1_000,
        run: None,
    })
}

fn tables(rules: Vec<table::Rule>) -> table::Tables {
    table::Tables { rules, ..table::Tables::default() }
}

fn policy(tables: &table::Tables) -> Policy {
    let about = About { generation: 7, ..About::default() };
    Policy::new(Bundle::from_tables(about, tables, None, None).unwrap())
}

fn identity() -> Identity {
    Identity {
        issuer: "https://ci".into(),
        subject: "repo:a".into(),
        groups: vec!["g".into()],
        claims: Vec::new(),
        token_id: None,
        run: Some("run-1".into()),
        purpose: None,
        expires: LATER,
    }
}

fn caller_of(identity: Identity, connection: &str) -> Caller {
    let target = Target { connection: connection.into(), role: "job".into() };
    Caller::new(Arc::new(identity), target, None, RecordLevel::Fast)
}

fn caller() -> Caller {
    caller_of(identity(), "clinic")
}

fn facts(id: u64, kinds: &[Kind]) -> Facts {
    let statement = |kind: &Kind| StatementFacts { kind: *kind, ..StatementFacts::default() };
    Facts { id, statements: kinds.iter().map(statement).collect(), ..Facts::default() }
}

fn sql<'a>(facts: &'a Facts, text: &'a [u8]) -> Sql<'a> {
    Sql { text, facts, moment: Moment::Query, binds: Binds::default(), in_transaction: false, approval: None }
}

fn decide(policy: &Policy, caller: &Caller, sql: Sql<'_>) -> Verdict {
    policy.decide(caller, &Request::Sql(sql), NOW)
}

fn held(verdict: Verdict) -> Hold {
    match verdict {
        Verdict::Hold(hold) => hold,
        verdict @ (Verdict::Allow(_) | Verdict::Deny(_)) => panic!("wanted a hold, got {verdict:?}"),
    }
}

fn is_allowed(verdict: &Verdict) -> bool {
    matches!(verdict, Verdict::Allow(_))
}

/// An approval as admin makes one.
fn approve(hold: &Hold, expires: Timestamp) -> Approval {
    let document = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).unwrap();
    let key = Ed25519KeyPair::from_pkcs8(document.as_ref()).unwrap();
    let claim = ApprovalClaim {
        hold: "h".into(),
        digest: hold.digest,
        rule_hash: hold.rule_hash,
        approvers: vec!["ann".into()],
        expires,
    };
    let bytes = claim.to_bytes();
    Approval::verify(&bytes, key.sign(&bytes).as_ref(), key.public_key().as_ref()).unwrap()
}

#[test]
fn an_approval_lets_exactly_the_approved_command_through() {
    let policy = policy(&tables(vec![rule("wait", hold(&["dba"]), &["delete"])]));
    let facts = facts(1, &[Kind::Delete]);
    let base = Sql {
        binds: Binds { raw: b"\0\x01", count: 1 },
        moment: Moment::Bind,
        ..sql(&facts, b"DELETE FROM t WHERE id = $1")
    };
    let caller = caller();
    let hold = held(decide(&policy, &caller, base));
    assert_eq!(hold.terms.approvers, ["dba"]);
    let approval = approve(&hold, LATER);
    let approved = |sql: Sql<'_>, caller: &Caller| {
        is_allowed(&decide(&policy, caller, Sql { approval: Some(&approval), ..sql }))
    };
    assert!(approved(base, &caller));
    assert!(!approved(Sql { text: b"DELETE FROM t WHERE id = $2", ..base }, &caller));
    assert!(!approved(Sql { binds: Binds { raw: b"\0\x02", count: 1 }, ..base }, &caller));
    assert!(!approved(Sql { binds: Binds { raw: b"\0\x01", count: 2 }, ..base }, &caller));
    for other in [
        Identity { subject: "repo:b".into(), ..identity() },
        Identity { issuer: "https://cj".into(), ..identity() },
        Identity { run: Some("run-2".into()), ..identity() },
        Identity { run: None, ..identity() },
    ] {
        assert!(!approved(base, &caller_of(other, "clinic")));
    }
    assert!(!approved(base, &caller_of(identity(), "clinic2")));
    let late = approve(&hold, NOW);
    assert!(!is_allowed(&decide(&policy, &caller, Sql { approval: Some(&late), ..base })));
}

#[test]
fn moving_a_byte_between_statement_and_binds_is_another_command() {
    let policy = policy(&tables(vec![rule("wait", hold(&["dba"]), &["delete"])]));
    let facts = facts(1, &[Kind::Delete]);
    let digest = |text: &'static [u8], raw: &'static [u8]| {
        held(decide(&policy, &caller(), Sql { binds: Binds { raw, count: 1 }, ..sql(&facts, text) })).digest
    };
    assert_ne!(digest(b"ab", b"c"), digest(b"a", b"bc"));
}

#[test]
fn a_rolled_out_change_elsewhere_leaves_an_approval_valid_and_a_change_of_the_rule_does_not() {
    let facts = facts(1, &[Kind::Delete]);
    let command = sql(&facts, b"DELETE FROM t");
    let waiting = rule("wait", hold(&["dba"]), &["delete"]);
    let first = policy(&tables(vec![waiting.clone()]));
    let approval = approve(&held(decide(&first, &caller(), command)), LATER);
    let command = Sql { approval: Some(&approval), ..command };
    let grown = policy(&tables(vec![rule("other", table::Action::Block, &["drop"]), waiting.clone()]));
    assert!(is_allowed(&decide(&grown, &caller(), command)));
    let changed = policy(&tables(vec![table::Rule { message: "changed".into(), ..waiting }]));
    assert!(!is_allowed(&decide(&changed, &caller(), command)));
}

#[test]
fn two_holds_ask_two_groups_one_after_the_other() {
    let policy = policy(&tables(vec![
        rule("first", hold(&["dba"]), &["delete"]),
        rule("second", hold(&["privacy"]), &["delete"]),
    ]));
    let facts = facts(1, &[Kind::Delete]);
    let command = sql(&facts, b"DELETE FROM t");
    let caller = caller();
    let first = held(decide(&policy, &caller, command));
    assert_eq!(&*first.rule, "first");
    let by_dba = approve(&first, LATER);
    let second = held(decide(&policy, &caller, Sql { approval: Some(&by_dba), ..command }));
    assert_eq!(&*second.rule, "second");
    let by_privacy = approve(&second, LATER);
    assert!(is_allowed(&decide(&policy, &caller, Sql { approval: Some(&by_privacy), ..command })));
}

#[test]
fn a_hold_waits_for_bind_but_a_denial_comes_at_parse() {
    let policy = policy(&tables(vec![
        rule("wait", hold(&["dba"]), &["delete"]),
        rule("no", table::Action::Block, &["drop"]),
    ]));
    let (delete, drop) = (facts(1, &[Kind::Delete]), facts(2, &[Kind::Drop]));
    let caller = caller();
    for (moment, holds) in
        [(Moment::Parse, false), (Moment::Bind, true), (Moment::Execute, true), (Moment::Query, true)]
    {
        let verdict = decide(&policy, &caller, Sql { moment, ..sql(&delete, b"x") });
        assert_eq!(matches!(verdict, Verdict::Hold(_)), holds, "{moment:?}");
        let verdict = decide(&policy, &caller, Sql { moment, ..sql(&drop, b"y") });
        assert!(matches!(verdict, Verdict::Deny(_)), "{moment:?}");
    }
}

#[test]
fn any_block_wins_over_any_hold() {
    let policy = policy(&tables(vec![
        rule("wait", hold(&["dba"]), &["delete"]),
        rule("yes", table::Action::Allow, &["delete"]),
        rule("no", table::Action::Block, &["delete"]),
    ]));
    let facts = facts(1, &[Kind::Delete]);
    let Verdict::Deny(denial) = decide(&policy, &caller(), sql(&facts, b"x")) else { panic!() };
    assert_eq!((&*denial.rule, denial.reason), ("no", Reason::Forbidden));
}

#[test]
fn a_repeated_statement_shares_its_obligations_and_another_caller_class_does_not() {
    let only_clinic = table::Subjects {
        include: table::Selector { connections: vec!["clinic".into()], ..table::Selector::default() },
        except: Vec::new(),
    };
    let policy = policy(&tables(vec![table::Rule {
        subjects: only_clinic,
        ..rule("seen", table::Action::Alert, &["select"])
    }]));
    let facts = facts(1, &[Kind::Select]);
    let permit = |caller: &Caller| match decide(&policy, caller, sql(&facts, b"SELECT 1")) {
        Verdict::Allow(permit) => permit,
        verdict @ (Verdict::Deny(_) | Verdict::Hold(_)) => panic!("{verdict:?}"),
    };
    let (clinic, scratch) = (caller(), caller_of(identity(), "scratch"));
    let first = permit(&clinic);
    assert_eq!(first.obligations().noted.len(), 1);
    assert_eq!(first.obligations().generation, 7);
    assert_eq!(first.record(), RecordLevel::Fast);
    assert!(Rc::ptr_eq(first.obligations(), permit(&clinic).obligations()));
    assert!(Rc::ptr_eq(first.obligations(), permit(&caller()).obligations()));
    assert!(permit(&scratch).obligations().noted.is_empty());
    assert!(policy.applies(&clinic) && !policy.applies(&scratch));
}

#[test]
fn a_caller_kept_over_a_roll_out_gets_the_new_rules_even_of_the_same_generation() {
    let facts = facts(1, &[Kind::Drop]);
    let caller = caller();
    let old = policy(&tables(Vec::new()));
    assert!(is_allowed(&decide(&old, &caller, sql(&facts, b"DROP TABLE t"))));
    let new = policy(&tables(vec![rule("no", table::Action::Block, &["drop"])]));
    assert!(!is_allowed(&decide(&new, &caller, sql(&facts, b"DROP TABLE t"))));
    assert!(is_allowed(&decide(&old, &caller, sql(&facts, b"DROP TABLE t"))));
}

#[test]
fn an_expired_token_is_refused_whatever_was_decided_before() {
    let policy = policy(&tables(Vec::new()));
    let facts = facts(1, &[Kind::Select]);
    let caller = caller();
    let request = Request::Sql(sql(&facts, b"SELECT 1"));
    assert!(is_allowed(&policy.decide(&caller, &request, NOW)));
    let Verdict::Deny(denial) = policy.decide(&caller, &request, LATER) else { panic!() };
    assert_eq!(denial.reason, Reason::Unauthenticated);
}

#[test]
fn what_was_not_understood_passes_only_where_no_rule_applies() {
    let opaque = Facts { opaque: Some(Opaque::TooDeep), ..facts(1, &[]) };
    let none = policy(&tables(Vec::new()));
    assert!(is_allowed(&decide(&none, &caller(), sql(&opaque, b"?"))));
    let mask = table::Mask { id: "m".into(), columns: vec!["ssn".into()], ..table::Mask::default() };
    let masks = policy(&table::Tables { masks: vec![mask], ..table::Tables::default() });
    let Verdict::Deny(denial) = decide(&masks, &caller(), sql(&opaque, b"?")) else { panic!() };
    assert_eq!(denial.reason, Reason::NotUnderstood);
}

/// An engine that fails once.
#[derive(Debug, Default)]
struct FailsOnce(std::sync::atomic::AtomicBool);

impl Scanner for FailsOnce {
    fn scan(&self, _: &[u8], _: &mut dyn FnMut(PatternIndex, usize)) -> Result<(), ScanError> {
        if self.0.swap(true, std::sync::atomic::Ordering::Relaxed) { Ok(()) } else { Err(ScanError(-2)) }
    }

    fn start(&self, _: PatternIndex, _: &[u8], _: usize) -> Option<usize> {
        None
    }

    fn max_width(&self, _: PatternIndex) -> Option<usize> {
        None
    }
}

#[test]
fn a_failed_scan_denies_and_is_not_remembered() {
    let pattern = table::Pattern { text: "x".into(), ..table::Pattern::default() };
    let mut seeking = rule("seek", table::Action::Block, &[]);
    seeking.sql.as_mut().unwrap().patterns = vec!["x".into()];
    let tables = table::Tables { command_patterns: vec![pattern], ..tables(vec![seeking]) };
    let scanner: Arc<dyn Scanner> = Arc::new(FailsOnce::default());
    let bundle = Bundle::from_tables(About::default(), &tables, Some(scanner), None).unwrap();
    let policy = Policy::new(bundle);
    let facts = facts(1, &[Kind::Select]);
    let caller = caller();
    let Verdict::Deny(denial) = decide(&policy, &caller, sql(&facts, b"SELECT 1")) else { panic!() };
    assert_eq!(denial.reason, Reason::NotUnderstood);
    assert!(is_allowed(&decide(&policy, &caller, sql(&facts, b"SELECT 1"))));
}

/// Sees pattern 0 wherever a text has `secret` in it.
#[derive(Debug)]
struct Seeks;

impl Scanner for Seeks {
    fn scan(&self, text: &[u8], on_end: &mut dyn FnMut(PatternIndex, usize)) -> Result<(), ScanError> {
        if text.windows(6).any(|part| part == b"secret") {
            on_end(PatternIndex(0), text.len());
        }
        Ok(())
    }

    fn start(&self, _: PatternIndex, _: &[u8], _: usize) -> Option<usize> {
        None
    }

    fn max_width(&self, _: PatternIndex) -> Option<usize> {
        None
    }
}

#[test]
fn a_verdict_serves_all_texts_of_a_shape_but_those_with_a_pattern_in_their_literals() {
    let pattern = table::Pattern { text: "secret".into(), ..table::Pattern::default() };
    let mut seeking = rule("seek", table::Action::Block, &[]);
    seeking.sql.as_mut().unwrap().patterns = vec!["secret".into()];
    let tables = table::Tables { command_patterns: vec![pattern], ..tables(vec![seeking]) };
    let policy =
        Policy::new(Bundle::from_tables(About::default(), &tables, Some(Arc::new(Seeks)), None).unwrap());
    let caller = caller();
    let texts = [
        (5, "a"),
        (0, "a secret"),
        (0, "b"),
        (6, "another secret"),
        (0, "c"),
        (5, "a"),
        (6, "another secret"),
    ];
    for (id, text) in texts {
        let facts = Facts { shape: 5, normalised: text.into(), ..facts(id, &[Kind::Select]) };
        let verdict = decide(&policy, &caller, sql(&facts, text.as_bytes()));
        assert_eq!(is_allowed(&verdict), !text.contains("secret"), "{text}");
    }
}

#[test]
fn masks_come_with_the_permit_strictest_first() {
    let mask = |id: &str, method| table::Mask {
        id: id.into(),
        columns: vec!["public.patients.ssn".into(), "mrn".into()],
        method,
        ..table::Mask::default()
    };
    let masks =
        vec![mask("soft", table::Method::Partial { keep_last: 4 }), mask("hard", table::Method::Null)];
    let policy = policy(&table::Tables { masks, ..table::Tables::default() });
    let facts = facts(1, &[Kind::Select]);
    let Verdict::Allow(permit) = decide(&policy, &caller(), sql(&facts, b"SELECT 1")) else { panic!() };
    let plan = permit.obligations().mask.clone().unwrap();
    assert_eq!(plan.columns.iter().map(|it| &*it.rule).collect::<Vec<_>>(), ["hard", "hard", "soft", "soft"]);
    let ssn = &plan.columns[0];
    assert_eq!(
        (ssn.schema.as_deref(), ssn.table.as_deref(), ssn.column.as_str()),
        (Some("public"), Some("patients"), "ssn")
    );
    assert_eq!((plan.columns[1].table.as_deref(), plan.columns[1].column.as_str()), (None, "mrn"));
    assert!(plan.scanner.is_none());
    assert!(Arc::ptr_eq(&plan, &policy.mask_plan(&caller()).unwrap()));
}
