//! A repeated statement's verdict costs no allocation.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::Arc;

use weir_policy::{
    About, Binds, Bundle, Caller, Decide, Facts, Identity, Kind, Moment, Policy, RecordLevel, Request, Sql,
    StatementFacts, Target, Timestamp, table,
};

thread_local! {
    static COUNT: Cell<u64> = const { Cell::new(0) };
}

/// Counts this thread's allocations.
struct Counting;

// SAFETY: passes everything to the system's allocator unchanged; the counter neither allocates nor unwinds.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        COUNT.with(|count| count.set(count.get() + 1));
        // SAFETY: the caller's promise, passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise, passed on.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn rule(id: &str, action: table::Action, kind: &str) -> table::Rule {
    let sql = table::Sql { kinds: vec![kind.into()], ..table::Sql::default() };
    table::Rule { id: id.into(), action, sql: Some(sql), ..table::Rule::default() }
}

#[test]
fn a_repeated_verdict_allocates_nothing() {
    let rules = vec![
        rule("seen", table::Action::Alert, "select"),
        rule("no", table::Action::Block, "drop"),
        rule("wait", table::Action::Hold(table::Hold { quorum: 1, ..table::Hold::default() }), "delete"),
    ];
    let tables = table::Tables { rules, ..table::Tables::default() };
    let policy = Policy::new(Bundle::from_tables(About::default(), &tables, None, None).unwrap());
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
    let target = Target { connection: "c".into(), role: "r".into() };
    let caller = Caller::new(Arc::new(identity), target, None, RecordLevel::Fast);
    for (id, kind) in [(1, Kind::Select), (2, Kind::Drop), (3, Kind::Delete), (4, Kind::Insert)] {
        let statement = StatementFacts { kind, ..StatementFacts::default() };
        let facts = Facts { id, statements: [statement].into(), ..Facts::default() };
        let request = Request::Sql(Sql {
            text: b"text",
            facts: &facts,
            moment: Moment::Query,
            binds: Binds::default(),
            in_transaction: false,
            approval: None,
        });
        policy.decide(&caller, &request, Timestamp::default());
        let before = COUNT.with(Cell::get);
        let verdicts: [_; 8] =
            std::array::from_fn(|_| policy.decide(&caller, &request, Timestamp::default()));
        assert_eq!(COUNT.with(Cell::get), before, "{kind:?}");
        drop(verdicts);
    }
    assert!(COUNT.with(Cell::get) > 0);
}
