//! Depth and odd bytes: a hostile text ends in facts, never in the process's end.

use proptest::prelude::*;
use weir_policy::Opaque;

use super::table;

/// Texts deeper than any stack, on a small one.
#[test]
fn bottomless_texts_end_cleanly_on_a_small_stack() {
    let nested = |open: &str, times: usize, middle: &str, close: &str| {
        format!("{}{middle}{}", open.repeat(times), close.repeat(times))
    };
    let texts = vec![
        format!("select 1{}", "+1".repeat(100_000)),
        format!("select {}", nested("(", 50_000, "1", ")")),
        format!("select 1{}", " union all select 1".repeat(100_000)),
        format!("select {}true", "not ".repeat(50_000)),
        format!("select {}", nested("f(", 50_000, "1", ")")),
        format!("select {}", nested("array[", 50_000, "1", "]")),
        format!("select * from {}", nested("(select * from ", 50_000, "t", ") x")),
        format!("select {}", nested("case when a then ", 50_000, "1", " end")),
        format!("select a{}", "::int".repeat(100_000)),
        format!("select a{}", " is null".repeat(100_000)),
        format!("delete from t where {}", nested("(a or (b and ", 1_000, "c", "))")),
        format!("with {} select 1", "a as (select 1), ".repeat(20_000) + "b as (select 1)"),
        format!("select 1 from {}", vec!["a"; 20_000].join(", ")),
        format!("do $a$ {} $a$", nested("begin ", 5_000, "null;", " end;")),
        format!("do $a$ {} $a$", nested("begin ", 2_000, "null; exception when others then null;", " end;")),
        format!(
            "create function f({}) returns int language plpgsql as 'begin end'",
            vec!["int"; 20_000].join(", ")
        ),
    ];
    let run = move || {
        for text in &texts {
            let facts = weir_sql::analyse(text.as_bytes());
            // Read in full, where a build's frames are small enough, or refused: never the end of the process.
            let clean = matches!(
                facts.opaque,
                None | Some(Opaque::TooDeep | Opaque::Syntax { .. } | Opaque::Unknown(_))
            );
            assert!(clean, "{:?} for {:.60}", facts.opaque, text);
        }
    };
    std::thread::Builder::new().stack_size(256 << 10).spawn(run).unwrap().join().unwrap();
}

#[test]
fn a_long_list_is_not_deep() {
    for (text, columns) in [
        (format!("select * from t where {}", vec!["a = 1"; 20_000].join(" or ")), 1),
        (
            format!("select {} from t", (0..5_000).map(|n| format!("c{n}")).collect::<Vec<_>>().join(", ")),
            5_000,
        ),
        (format!("insert into t values {}", vec!["(1, 'x')"; 10_000].join(", ")), 0),
    ] {
        let facts = weir_sql::analyse(text.as_bytes());
        assert_eq!(facts.opaque, None);
        assert_eq!(facts.statements[0].columns.len(), columns);
    }
}

/// Function bodies take more stack than the rest; on an ordinary thread they are read all the same.
#[test]
fn bodies_are_read_on_an_ordinary_stack_and_refused_on_a_small_one() {
    let read = || weir_sql::analyse(b"do $$ begin drop table users; end $$").opaque;
    let on =
        |bytes: usize| std::thread::Builder::new().stack_size(bytes).spawn(read).unwrap().join().unwrap();
    assert_eq!(on(2 << 20), None);
    assert_eq!(on(256 << 10), Some(Opaque::TooDeep));
}

/// The compiler of bodies recurses without looking at the stack; its grammar's own bound must come first.
#[test]
fn bottomless_bodies_end_cleanly_on_the_smallest_stack_that_they_are_read_on() {
    let run = || {
        for (open, close) in [
            ("begin ", " null; exception when others then null; end;"),
            ("loop ", " end loop;"),
            ("while a loop ", " end loop;"),
            ("for i in 1..2 loop ", " end loop;"),
            ("if a then ", " end if;"),
            ("case when a then ", " end case;"),
            ("begin null; exception when others then ", " end;"),
        ] {
            for depth in [300, 450, 900, 950, 1_000, 1_500, 2_500, 5_000] {
                let inner = format!("{} null; {}", open.repeat(depth), close.repeat(depth));
                let text = format!("do $a$ begin {inner} exception when others then null; end $a$");
                let facts = weir_sql::analyse(text.as_bytes());
                assert!(depth > 300 || facts.opaque.is_none(), "{:?} for {open}", facts.opaque);
            }
        }
    };
    std::thread::Builder::new().stack_size(1_700 << 10).spawn(run).unwrap().join().unwrap();
}

/// `WEIR_SCALE` multiplies the counts; `make torture` sets it.
fn cases(base: u32) -> ProptestConfig {
    let scale = std::env::var("WEIR_SCALE").ok().and_then(|scale| scale.parse().ok()).unwrap_or(1);
    ProptestConfig {
        cases: base.saturating_mul(scale),
        failure_persistence: None,
        ..ProptestConfig::default()
    }
}

proptest! {
    #![proptest_config(cases(2_000))]

    #[test]
    fn any_bytes_end_in_facts(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = weir_sql::analyse(&bytes);
    }

    /// Tables' texts with pieces cut, doubled and swapped: near enough to SQL to reach the walk and the compiler.
    #[test]
    fn any_mangled_statement_ends_in_facts(
        first in any::<prop::sample::Index>(),
        second in any::<prop::sample::Index>(),
        cut in any::<prop::sample::Index>(),
        resume in any::<prop::sample::Index>(),
        wrap in 0..5,
    ) {
        let rows = table("statements.txt");
        let (first, second) = (&first.get(&rows).0, &second.get(&rows).0);
        let words = |text: &str| text.split_inclusive(' ').map(str::to_owned).collect::<Vec<_>>();
        let (first, second) = (words(first), words(second));
        let mut text = first[..cut.index(first.len() + 1)].concat();
        text.push_str(&second[resume.index(second.len() + 1)..].concat());
        let text = match wrap {
            0 => format!("do $w$ begin {text}; end $w$"),
            1 => format!("create function f({text}) returns int language plpgsql as $w$ begin {text}; end $w$"),
            2 => format!("do $w$ declare {text}; begin null; end $w$"),
            _ => text,
        };
        let facts = weir_sql::analyse(text.as_bytes());
        prop_assert_eq!(&weir_sql::analyse(text.as_bytes()), &facts, "the same twice");
    }
}
