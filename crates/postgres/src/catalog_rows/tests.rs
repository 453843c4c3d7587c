//! Rows as a server would answer them, and what they add up to.

use weir_mask::Origin;
use weir_policy::MaskMethod;

use super::*;

fn plan(rules: &[&str]) -> MaskPlan {
    let columns = rules.iter().map(|rule| {
        let mut parts = rule.rsplit('.');
        ColumnMask {
            rule: (*rule).into(),
            column: parts.next().unwrap().into(),
            table: parts.next().map(str::to_owned),
            schema: parts.next().map(str::to_owned),
            method: MaskMethod::Token,
            refuses_expressions: false,
        }
    });
    MaskPlan { json: Vec::new(), columns: columns.collect(), patterns: Vec::new(), scanner: None }
}

/// Rows as `kind a b c d schema.table.name`, `_` for what is not there.
fn catalog(rules: &[&str], rows: &str) -> Catalog {
    let mut answer = Answer::default();
    for row in rows.lines().map(str::trim).filter(|row| !row.is_empty()) {
        let mut words = row.split_whitespace().map(|word| word.trim_matches('_'));
        let mut next = || words.next().unwrap_or_default();
        let (kind, numbers) = (next(), [next(), next(), next(), next()]);
        let mut names = next().rsplit('.');
        let mut name = || names.next().unwrap_or_default();
        let (name, table, schema) = (name(), name(), name());
        answer.take(kind, numbers, [schema, table, name]).unwrap();
    }
    answer.add_up(&plan(rules), &[], Timestamp::default())
}

const TABLES: &str = "
    r 1 3 _ _ patients
    r 2 2 _ _ visits
    a 1 2 _ _ public.patients.ssn
    a 2 1 _ _ public.visits.ssn
";

#[test]
fn a_rule_is_about_the_table_that_it_names() {
    for (rule, origins) in [
        ("ssn", [Origin::Protected(0), Origin::Protected(0)]),
        ("patients.ssn", [Origin::Protected(0), Origin::Clear]),
        ("public.visits.ssn", [Origin::Clear, Origin::Protected(0)]),
        ("other.visits.ssn", [Origin::Clear, Origin::Clear]),
    ] {
        let known = catalog(&[rule], TABLES);
        assert_eq!([known.origin(1, 2), known.origin(2, 1)], origins.map(Some), "{rule}");
    }
}

#[test]
fn what_was_not_read_is_not_known() {
    let known = catalog(&["patients.ssn"], TABLES);
    assert_eq!([known.origin(3, 1), known.origin(1, 4)], [None, None]);
    assert_eq!([known.origin(1, 0), known.origin(2, 0)], [Some(Origin::Hidden(0)), Some(Origin::Clear)]);
    assert_eq!(known.origin(1, -1), Some(Origin::Clear));
}

#[test]
fn heirs_and_parents_protect_each_others_columns() {
    let heirs = "r 3 2 _ _ archive
        a 3 1 _ _ public.archive.ssn
        h 3 1";
    for rule in ["patients.ssn", "archive.ssn"] {
        let known = catalog(&[rule], &format!("{TABLES}{heirs}"));
        assert_eq!([known.origin(1, 2), known.origin(3, 1)], [Some(Origin::Protected(0)); 2], "{rule}");
        assert_eq!(known.origin(2, 1), Some(Origin::Clear));
    }
}

#[test]
fn a_views_columns_are_what_their_query_makes_them_of() {
    let views = "
        r 10 4 _ _ v
        n 10 1 _ _ social
        n 10 2 _ _ name
        n 10 3 _ _ made
        n 10 4 _ _ either
        o 10 1 1 2
        o 10 2 1 1
        o 10 3 0 0
        o 10 4 2 2
        o 10 4 1 2
        d 10 1 1
        d 10 1 2
        r 11 2 _ _ over
        n 11 1 _ _ again
        n 11 2 _ _ fine
        o 11 1 10 1
        o 11 2 10 2
        d 11 10 1
        r 12 2 _ _ counted
        n 12 1 _ _ count
        n 12 2 _ _ unread
        o 12 1 0 0
        d 12 2 2
        r 13 1 _ _ rows
        n 13 1 _ _ doc
        o 13 1 0 0
        d 13 1 1
        w 13
        r 14 1 _ _ called
        n 14 1 _ _ result
        o 14 1 0 0
        x 14 1
        g 14
        r 15 6 _ _ told
        n 15 1 _ _ clear
        n 15 2 _ _ beside
        n 15 3 _ _ row
        n 15 4 _ _ joined
        n 15 5 _ _ constant
        n 15 6 _ _ over
        x 15 1 1 1
        x 15 2 1 1
        x 15 2 1 2
        x 15 3 1 0
        x 15 4 0 1
        x 15 5
        x 15 6 11 1
        d 15 1 1
        d 15 1 2";
    let known = catalog(&["patients.ssn"], &format!("{TABLES}{views}"));
    for (view, attribute, origin) in [
        (10, 1, Origin::Protected(0)),
        (10, 2, Origin::Clear),
        (10, 3, Origin::Hidden(0)),
        (10, 4, Origin::Protected(0)),
        (11, 1, Origin::Protected(0)),
        (11, 2, Origin::Clear),
        (12, 1, Origin::Clear),
        (12, 2, Origin::Clear),
        (13, 1, Origin::Hidden(0)),
        (14, 1, Origin::Hidden(0)),
        (15, 1, Origin::Clear),
        (15, 2, Origin::Hidden(0)),
        (15, 3, Origin::Hidden(0)),
        (15, 4, Origin::Hidden(0)),
        (15, 5, Origin::Clear),
        (15, 6, Origin::Hidden(0)),
    ] {
        assert_eq!(known.origin(view, attribute), Some(origin), "{view}.{attribute}");
    }
    assert!(known.is_protected_name("again") && !known.is_protected_name("fine"));
}
