//! Facts that a text takes over from one like it are the facts that it would have had by itself.

use weir_policy::Facts;
use weir_sql::{Cache, Limits};

use super::{render, table};

/// Other values for the literals of a text, by a reading that need not be the server's: whatever comes out is a text.
fn with_other_literals(text: &str, turn: usize) -> String {
    const NUMBERS: [&str; 6] = ["7", "0", "99999999999", "1.5", "1", "2147483647"];
    const STRINGS: [&str; 5] = ["b", "select", "", "it''s", "patients"];
    let mut out = String::new();
    let mut rest = text;
    let mut count = turn;
    let mut before = ' ';
    while let Some(letter) = rest.chars().next() {
        let digits = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let quoted = rest.strip_prefix('\'').and_then(|rest| rest.find('\'')).map(|end| end + 2);
        let taken = if digits > 0 && !before.is_alphanumeric() && !matches!(before, '_' | '$' | '.') {
            out.push_str(NUMBERS.iter().cycle().nth(count).unwrap_or(&"0"));
            digits
        } else if let Some(len) = quoted {
            out.push_str(&format!("'{}'", STRINGS.iter().cycle().nth(count).unwrap_or(&"")));
            len
        } else {
            out.push(letter);
            letter.len_utf8()
        };
        count += usize::from(taken > letter.len_utf8() || digits > 0);
        before = rest[..taken].chars().next_back().unwrap_or(' ');
        rest = &rest[taken..];
    }
    out
}

fn own(text: &str) -> Facts {
    weir_sql::analyse(text.as_bytes())
}

#[test]
fn facts_taken_over_are_those_the_text_would_have_had() {
    let texts = table("statements.txt")
        .into_iter()
        .map(|(text, _)| text)
        .chain(table("evasions.txt").into_iter().flat_map(|(_, texts)| texts))
        .chain(table("spellings.txt").into_iter().map(|(text, _)| text))
        .map(|text| super::unescaped(&text));
    let mut taken_over = 0;
    for text in texts {
        let mut cache = Cache::new(Limits::default());
        let first = cache.facts(text.as_bytes(), 1);
        for turn in 0..8 {
            let other = with_other_literals(&text, turn);
            let found = cache.facts(other.as_bytes(), 1);
            taken_over += usize::from(found.shape == first.shape && other != text);
            let expected = Facts { id: found.id, shape: found.shape, ..own(&other) };
            assert_eq!(*found, expected, "{other}\nafter {text}: {}", render::facts(&found));
        }
    }
    assert!(taken_over > 200, "{taken_over}");
}

#[test]
fn a_literal_that_a_fact_speaks_of_is_never_taken_for_another() {
    for [a, b] in [
        ["delete from t where 1 = 2", "delete from t where 1 = 1"],
        [
            "update t set a = 1 where lower('a') = lower('b')",
            "update t set a = 1 where lower('a') = lower('a')",
        ],
        ["select * from t limit 10", "select * from t limit 1000000"],
        ["select * from t limit (10)", "select * from t limit (1000000)"],
        ["select * from t fetch first 3 rows only", "select * from t fetch first 30000 rows only"],
        ["select * from t limit 10 offset 5", "select * from t offset 5 limit 11"],
        ["select set_config('a.b', 'x', false)", "select set_config('search_path', 'x', false)"],
        ["copy t to '/tmp/a'", "copy t to '/tmp/b'"],
        ["do 'begin perform 1; end'", "do 'begin delete from t; end'"],
        ["select 1 as \"a b\"", "select 1 as \"a\tb\""],
        ["select a from t where b = 1", "select a from t where b = 'x'"],
        ["select int '1'", "select int 1"],
        ["select U&'d\\0061t\\+000061'", "select U&\"d\\0061t\\+000061\""],
    ] {
        let mut cache = Cache::new(Limits::default());
        for text in [a, b, a, b] {
            let found = cache.facts(text.as_bytes(), 1);
            assert_eq!(*found, Facts { id: found.id, shape: found.shape, ..own(text) }, "{text}");
        }
    }
}

#[test]
fn a_value_in_the_text_costs_no_parse() {
    let mut cache = Cache::new(Limits::default());
    let first = cache.facts(b"select name from t where id = 1 and tag = 'a' limit 5", 1);
    let other = cache.facts(b"select /* app */ name FROM t\nwhere id=23 and tag = 'b;--' limit 5", 1);
    assert_eq!(other.shape, first.shape);
}
