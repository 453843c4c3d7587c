//! Each statement's facts, word for word.

use super::{render, table};

#[test]
fn each_statement_of_the_table_has_exactly_its_facts() {
    let rows = table("statements.txt");
    assert!(rows.len() >= 250, "the table is {} long", rows.len());
    let mut wrong = String::new();
    for (sql, below) in rows {
        let expected = below.first().expect("facts below each statement");
        let found = render::facts(&weir_sql::analyse(sql.as_bytes()));
        if *expected != found {
            wrong.push_str(&format!("\n{sql}\n  expected {expected}\n  found    {found}"));
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

#[test]
fn an_empty_text_has_no_statements_and_is_not_opaque() {
    for sql in ["", ";", " ;; ", "-- a comment", "/* /* nested */ */"] {
        let facts = weir_sql::analyse(sql.as_bytes());
        assert_eq!(render::facts(&facts), "", "{sql}");
        assert_eq!(facts.normalised, "", "{sql}");
    }
}

#[test]
fn bytes_that_the_server_would_refuse_are_opaque() {
    for bytes in [&b"select 1\0; drop table users"[..], b"select '\xff'", b"\xc3", b"\0"] {
        let facts = weir_sql::analyse(bytes);
        assert!(facts.opaque.is_some(), "{bytes:?}");
        assert!(facts.statements.is_empty(), "{bytes:?}");
    }
}

#[test]
fn backslashes_escape_only_where_the_session_says_so() {
    let sql = br"select '\'; drop table users; -- '";
    let standard = weir_sql::analyse(sql);
    assert_eq!(render::facts(&standard), "select ; drop define:users");
    let backslash = weir_sql::analyse_as(sql, weir_sql::Strings::Backslash);
    assert_eq!(render::facts(&backslash), "select");
    // And the choice does not outlive its text.
    assert_eq!(weir_sql::analyse(sql), standard);
}
