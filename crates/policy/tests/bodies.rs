//! Which requests must be here whole before they are decided, and what is decided where they are not.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::sync::Arc;

use weir_policy::{
    About, Body, Bundle, Caller, Decide as _, Fields, Http, Identity, PatternIndex, Policy, Reason,
    RecordLevel, Request, ScanError, Scanner, Target, Timestamp, Verdict, table,
};

/// Its one pattern is `bad`.
#[derive(Debug)]
struct Bad;

impl Scanner for Bad {
    fn scan(&self, text: &[u8], hit: &mut dyn FnMut(PatternIndex, usize)) -> Result<(), ScanError> {
        for at in 3..=text.len() {
            if text[..at].ends_with(b"bad") {
                hit(PatternIndex(0), at);
            }
        }
        Ok(())
    }

    fn start(&self, _: PatternIndex, _: &[u8], end: usize) -> Option<usize> {
        end.checked_sub(3)
    }

    fn max_width(&self, _: PatternIndex) -> Option<usize> {
        Some(3)
    }
}

fn rule(id: &str, action: table::Action, path: &str, looks: bool) -> table::Rule {
    let patterns = if looks { vec!["bad".to_owned()] } else { Vec::new() };
    let http = table::Http { paths: vec![path.into()], patterns, ..table::Http::default() };
    table::Rule { id: id.into(), action, http: Some(http), ..table::Rule::default() }
}

fn policy() -> Policy {
    let hold = || table::Action::Hold(table::Hold { quorum: 1, ..table::Hold::default() });
    let rules = vec![
        rule("looks", table::Action::Block, "/looks", true),
        rule("watches", table::Action::Alert, "/watches", true),
        table::Rule { observe: true, ..rule("observes", table::Action::Block, "/observes", true) },
        rule("holds", hold(), "/holds", false),
        table::Rule { observe: true, ..rule("would-hold", hold(), "/would", false) },
        rule("blocks", table::Action::Block, "/blocks", false),
    ];
    let pattern = table::Pattern { text: "bad".into(), max_width: Some(3), ..table::Pattern::default() };
    let tables = table::Tables { rules, command_patterns: vec![pattern], ..table::Tables::default() };
    Policy::new(Bundle::from_tables(About::default(), &tables, Some(Arc::new(Bad)), None).unwrap())
}

fn caller() -> Caller {
    let identity = Identity {
        issuer: "i".into(),
        subject: "s".into(),
        groups: Vec::new(),
        claims: Vec::new(),
        token_id: None,
        run: None,
        purpose: None,
        expires: Timestamp::from_unix_seconds(10),
    };
    let target = Target { connection: "api".into(), role: "job".into() };
    Caller::new(Arc::new(identity), target, None, RecordLevel::Fast)
}

fn http<'a>(path: &'a str, body: Body<'a>) -> Http<'a> {
    Http { method: "POST", host: "up", path, query: None, fields: Fields::default(), body, approval: None }
}

#[test]
fn a_body_is_wanted_where_a_rule_looks_into_it_or_an_approval_would_cover_it() {
    let (policy, caller) = (policy(), caller());
    for (path, wanted) in [
        ("/looks", true),
        ("/watches", true),
        ("/observes", true),
        ("/holds", true),
        ("/would", false),
        ("/blocks", false),
        ("/elsewhere", false),
    ] {
        assert_eq!(policy.wants_body(&caller, &http(path, Body::Coming)), wanted, "{path}");
    }
}

#[test]
fn a_rule_that_acts_and_cannot_see_the_body_refuses_the_request_by_name() {
    let (policy, caller) = (policy(), caller());
    let decide = |path, body| policy.decide(&caller, &Request::Http(http(path, body)), Timestamp::default());
    for body in [Body::Unseen, Body::Coming] {
        for path in ["/looks", "/holds"] {
            match decide(path, body) {
                Verdict::Deny(denial) => {
                    assert_eq!((&*denial.rule, denial.reason), (&path[1..], Reason::NotUnderstood));
                }
                verdict @ (Verdict::Allow(_) | Verdict::Hold(_)) => panic!("{path}: {verdict:?}"),
            }
        }
        for path in ["/watches", "/observes", "/would", "/elsewhere"] {
            assert!(
                matches!(decide(path, body), Verdict::Allow(_)),
                "{path}: who only watches refuses nothing"
            );
        }
    }
    assert!(matches!(decide("/looks", Body::Whole(b"a bad one")), Verdict::Deny(_)));
    assert!(matches!(decide("/looks", Body::Whole(b"a good one")), Verdict::Allow(_)));
    assert!(matches!(decide("/holds", Body::Whole(b"")), Verdict::Hold(_)));
}
