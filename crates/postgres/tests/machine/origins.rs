//! Columns by origin: what the gateway asks of the catalog and when, what the client sees of that (nothing), and what is
//! masked while nothing is known.

use std::rc::Rc;
use std::sync::Arc;

use weir_policy::{ColumnMask, MaskMethod, MaskPlan};
use weir_postgres::{CatalogSource as _, Catalogs, Limits};

use crate::support::driver::Driver;
use crate::support::policy::Rules;
use crate::support::wire::{
    bind, complete, cut, data_row, error, execute, message, messages, parse, query, ready, sync, values,
};

const PATIENTS: u32 = 16_390;
const VISITS: u32 = 16_405;

/// `patients.ssn` becomes `hidden`.
fn plan() -> MaskPlan {
    let column = ColumnMask {
        rule: "pii.ssn".into(),
        schema: None,
        table: Some("patients".into()),
        column: "ssn".into(),
        method: MaskMethod::Fixed("hidden".into()),
        refuses_expressions: false,
    };
    MaskPlan { json: Vec::new(), columns: vec![column], patterns: Vec::new(), scanner: None }
}

fn driver() -> (Driver, Rc<Catalogs>) {
    let catalogs = Rc::new(Catalogs::default());
    (another(&catalogs), catalogs)
}

/// A session that shares what others have read.
fn another(catalogs: &Rc<Catalogs>) -> Driver {
    let catalogs = Rc::clone(catalogs);
    Driver::with_catalogs(Limits::default(), Rules::new(Some(plan())), catalogs).logged_in()
}

/// One row of the catalog's answer.
fn catalog_row(kind: &str, numbers: &[u32], names: [&str; 3]) -> Vec<u8> {
    let numbers: Vec<String> = numbers.iter().map(u32::to_string).collect();
    let mut row = vec![Some(kind.as_bytes())];
    row.extend((0..4).map(|index| numbers.get(index).map(|number: &String| number.as_bytes())));
    row.extend(names.map(|name| Some(name.as_bytes())));
    data_row(&row)
}

/// What the server says to the whole question.
fn catalog(status: u8) -> Vec<u8> {
    let rows = [
        catalog_row("a", &[PATIENTS, 2], ["public", "patients", "ssn"]),
        catalog_row("a", &[VISITS, 3], ["public", "visits", "ssn"]),
        catalog_row("r", &[PATIENTS, 2], ["", "", "patients"]),
        catalog_row("r", &[VISITS, 3], ["", "", "visits"]),
    ];
    let closed = message(b'3', b"");
    [
        closed.clone(),
        closed.clone(),
        message(b'1', b""),
        message(b'2', b""),
        rows.concat(),
        complete("SELECT 4"),
        closed.clone(),
        closed,
        ready(status),
    ]
    .concat()
}

/// RowDescription of text columns: name, relation, attribute.
fn described(columns: &[(&str, u32, i16)]) -> Vec<u8> {
    let mut body = i16::try_from(columns.len()).unwrap().to_be_bytes().to_vec();
    for (name, relation, attribute) in columns {
        body.extend_from_slice(name.as_bytes());
        body.push(0);
        body.extend_from_slice(&relation.to_be_bytes());
        body.extend_from_slice(&attribute.to_be_bytes());
        body.extend_from_slice(&25_u32.to_be_bytes());
        body.extend_from_slice(&[0; 8]);
    }
    message(b'T', &body)
}

fn answer(columns: &[(&str, u32, i16)], status: u8) -> Vec<u8> {
    let row: Vec<_> = columns.iter().map(|_| Some(&b"raw"[..])).collect();
    [described(columns), data_row(&row), complete("SELECT 1"), ready(status)].concat()
}

const COLUMNS: [(&str, u32, i16); 4] =
    [("x", PATIENTS, 2), ("name", PATIENTS, 1), ("ssn", VISITS, 3), ("whole", PATIENTS, 0)];

fn rows(bytes: &[u8]) -> Vec<Vec<String>> {
    messages(bytes).0.iter().filter(|(tag, _)| *tag == b'D').map(|(_, body)| values(body)).collect()
}

#[test]
fn the_catalog_is_read_before_the_first_command_and_the_client_sees_none_of_it() {
    for how in 0..12 {
        let (mut driver, _) = driver();
        driver.client(&query("select 1"));
        assert_eq!(driver.upstream_tags(), "CCPBECCS");
        for piece in cut(&catalog(b'I'), how) {
            assert_eq!(driver.upstream_tags(), "");
            driver.upstream(&piece);
        }
        assert_eq!(driver.client_words(), [""; 0]);
        assert_eq!(driver.upstream_tags(), "Q");
        for piece in cut(&answer(&COLUMNS, b'I'), how) {
            driver.upstream(&piece);
        }
        assert_eq!(driver.error, None);
        // An alias hides nothing, and a rule of one table is not about another's column.
        assert_eq!(rows(&driver.take_client()), [["hidden", "raw", "raw", "-"]], "cut {how}");
    }
}

#[test]
fn what_one_session_read_serves_the_next() {
    let (mut driver, catalogs) = driver();
    driver.client(&query("select 1"));
    driver.upstream(&catalog(b'I'));
    let mut next = another(&catalogs);
    next.client(&[parse("", "select 1"), bind("", "", &[], &[]), execute(""), sync()].concat());
    assert_eq!(next.upstream_tags(), "PBDES");
}

#[test]
fn without_a_catalog_every_column_but_a_harmless_expression_is_masked_and_the_client_is_told_once() {
    let (mut driver, _) = driver();
    for told in [true, false] {
        driver.client(&query("select 1"));
        if told {
            assert_eq!(driver.upstream_tags(), "CCPBECCS");
            let failed = [message(b'3', b""), message(b'3', b""), error("42501", "no"), ready(b'I')];
            driver.upstream(&failed.concat());
            assert_eq!(driver.client_words(), ["N 01000"]);
        }
        assert_eq!(driver.upstream_tags(), "Q");
        driver.upstream(&answer(&[("name", PATIENTS, 1), ("ssn", VISITS, 3), ("one", 0, 0)], b'I'));
        assert_eq!(driver.client_words(), ["T", "D -|hidden|raw", "C SELECT 1", "Z I"]);
    }
}

#[test]
fn rows_that_are_not_the_questions_are_as_good_as_none() {
    let (mut driver, _) = driver();
    driver.client(&query("select 1"));
    let closed = message(b'3', b"");
    let odd = data_row(&[Some(b"a")]);
    let said = [&closed[..], &closed, &message(b'1', b""), &message(b'2', b""), &odd, &complete("SELECT 1")];
    driver.upstream(&[&said.concat()[..], &closed, &closed, &ready(b'I')].concat());
    driver.upstream(&answer(&[("name", PATIENTS, 1)], b'I'));
    assert_eq!(driver.client_words(), ["N 01000", "T", "D -", "C SELECT 1", "Z I"]);
}

#[test]
fn a_relation_that_came_later_is_masked_whole() {
    let (mut driver, _) = driver();
    driver.client(&query("select 1"));
    driver.upstream(&catalog(b'I'));
    driver.upstream(&answer(&[("a", 20_000, 1), ("b", VISITS, 4), ("c", VISITS, -1)], b'I'));
    assert_eq!(rows(&driver.take_client()), [["-", "-", "raw"]]);
}

#[test]
fn nothing_is_asked_within_a_pipeline_nor_in_a_failed_transaction() {
    let (mut driver, catalogs) = driver();
    driver.client(&query("select 1"));
    driver.upstream(&catalog(b'I'));
    driver.upstream(&answer(&COLUMNS, b'E'));
    driver.take_client();
    driver.take_upstream();
    catalogs.forget();
    driver.client(&query("rollback"));
    assert_eq!(driver.upstream_tags(), "Q");
    driver.upstream(&[complete("ROLLBACK"), ready(b'I')].concat());
    driver.client(&[parse("", "select 1"), bind("", "", &[], &[])].concat());
    driver.client(&[execute(""), sync()].concat());
    assert_eq!(driver.upstream_tags(), "PBDES");
}

#[test]
fn what_is_read_within_a_transaction_is_not_shared_and_is_read_again_behind_it() {
    let (mut driver, catalogs) = driver();
    driver.client(&query("create table t"));
    assert_eq!(driver.upstream_tags(), "CCPBECCS");
    driver.upstream(&catalog(b'I'));
    assert_eq!(driver.upstream_tags(), "Q");
    driver.upstream(&[complete("CREATE TABLE"), ready(b'T')].concat());
    for status in [b'T', b'I'] {
        driver.take_client();
        let version = catalogs.version();
        driver.client(&query("select 1"));
        assert_eq!(driver.upstream_tags(), "CCPBECCS", "after {}", status as char);
        driver.upstream(&catalog(status));
        assert_eq!(catalogs.version() == version, status == b'T');
        assert_eq!(driver.upstream_tags(), "Q");
        driver.upstream(&answer(&COLUMNS, b'I'));
        assert_eq!(rows(&driver.take_client()), [["hidden", "raw", "raw", "-"]]);
    }
}

#[test]
fn a_change_of_the_catalog_and_what_is_sent_behind_it_in_one_breath_show_no_column() {
    let (mut driver, _) = driver();
    driver.client(&query("select 1"));
    driver.upstream(&catalog(b'I'));
    driver.upstream(&answer(&COLUMNS, b'I'));
    driver.take_client();
    driver.take_upstream();
    let pipeline = ["create view v", "select 1"]
        .map(|text| [parse("", text), bind("", "", &[], &[]), execute("")].concat())
        .concat();
    driver.client(&[pipeline, sync()].concat());
    assert_eq!(driver.upstream_tags(), "PBDEPBDES");
    let nothing = [message(b'1', b""), message(b'2', b""), message(b'n', b""), complete("CREATE VIEW")];
    let select = [message(b'1', b""), message(b'2', b""), answer(&COLUMNS, b'I')];
    driver.upstream(&[nothing.concat(), select.concat()].concat());
    assert_eq!(driver.error, None);
    assert_eq!(rows(&driver.take_client()), [["hidden", "-", "-", "-"]]);
}

#[test]
fn a_question_that_fails_within_a_transaction_fails_the_transaction_as_the_server_says() {
    let (mut driver, catalogs) = driver();
    driver.client(&query("create table t"));
    driver.upstream(&catalog(b'I'));
    driver.upstream(&[complete("CREATE TABLE"), ready(b'T')].concat());
    driver.take_client();
    driver.take_upstream();
    driver.client(&query("select 1"));
    assert_eq!(driver.upstream_tags(), "CCPBECCS");
    driver.upstream(&[message(b'3', b""), message(b'3', b""), error("57014", "no"), ready(b'E')].concat());
    assert_eq!(driver.upstream_tags(), "Q");
    driver.upstream(&[error("25P02", "aborted"), ready(b'E')].concat());
    assert_eq!(driver.client_words(), ["N 01000", "E 25P02", "Z E"]);
    assert!(catalogs.get(&plan()).is_none());
}

#[test]
fn another_plan_with_the_same_rules_needs_no_second_reading() {
    let (mut driver, _) = driver();
    driver.client(&query("select 1"));
    driver.upstream(&catalog(b'I'));
    driver.upstream(&answer(&COLUMNS, b'I'));
    driver.take_client();
    driver.take_upstream();
    driver.rules = Rules::of_generation(Some(Arc::new(plan())), 2);
    for _ in 0..2 {
        driver.client(&query("select 1"));
        assert_eq!(driver.upstream_tags(), "Q");
        driver.upstream(&answer(&COLUMNS, b'I'));
        assert_eq!(rows(&driver.take_client()), [["hidden", "raw", "raw", "-"]]);
    }
}

#[test]
fn a_fatal_error_in_its_place_ends_the_session_as_the_server_says_it() {
    let (mut driver, _) = driver();
    driver.client(&query("select 1"));
    driver.upstream(&message(b'E', b"SFATAL\0VFATAL\0C57P01\0Mgone\0\0"));
    assert_eq!(driver.client_words(), ["E 57P01"]);
}
