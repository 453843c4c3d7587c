//! Normalised text and fingerprints.

use super::table;

#[test]
fn all_spellings_of_a_statement_normalise_alike() {
    for (line, spellings) in table("spellings.txt") {
        for sql in std::iter::once(&line).chain(&spellings) {
            let facts = weir_sql::analyse(super::unescaped(sql).as_bytes());
            assert_eq!(facts.normalised, line, "{sql}");
            assert!(facts.opaque.is_none(), "{sql}: {:?}", facts.opaque);
        }
    }
}

#[test]
fn a_fingerprint_forgets_values_and_nothing_else() {
    let print = |sql: &str| weir_sql::analyse(sql.as_bytes()).fingerprint;
    assert_eq!(print("select a from t where b = 1"), print("SELECT a FROM t /* x */ WHERE b = 'two'"));
    assert_eq!(print("delete from t where id = 0x10"), print("delete from t where id = $$ten$$;"));
    for (one, other) in [
        ("select a from t", "select b from t"),
        ("select a from t", "select a from t; select 1"),
        ("select user", "select \"user\""),
        ("select $1", "select $2"),
        ("select $1", "select 1"),
        ("do $$ begin delete from t; end $$", "do $$ begin delete from u; end $$"),
        ("copy t to program 'cat'", "copy t to program 'rm'"),
        ("set role 'a'", "set role 'b'"),
        ("alter role a password 'x'", "alter role a password 'y'"),
        (
            "create function f() returns int language sql as 'select 1'",
            "create function f() returns int language sql as 'select 2'",
        ),
    ] {
        assert_ne!(print(one), print(other), "{one} | {other}");
    }
}

#[test]
fn a_fingerprint_stays_the_same_across_releases() {
    let print = weir_sql::analyse(b"select name from patients where id = 7").fingerprint;
    assert_eq!(print.first_chunk::<8>(), Some(&[0xeb, 0x31, 0xca, 0x4e, 0x0f, 0xd9, 0x4e, 0xcc]));
}

#[test]
fn a_text_that_does_not_parse_is_normalised_as_far_as_it_lexes() {
    let facts = weir_sql::analyse(b"SELEC a /* x */ FROM \"T\" WHERE 'open");
    assert_eq!(facts.normalised, "selec a from \"T\" where");
    assert!(facts.opaque.is_some());
}

#[test]
fn normalised_text_is_one_line() {
    let facts = weir_sql::analyse(b"select 'a\nb\tc\x0b', E'\\n\\x01', \"d\ne\"\r\n\x0c from t -- x\n");
    assert!(!facts.normalised.contains(|c: char| c.is_control()), "{:?}", facts.normalised);
}
