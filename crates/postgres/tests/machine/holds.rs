//! Commands that wait for people.

use crate::support::driver::Driver;
use crate::support::policy::Rules;
use crate::support::wire::{bind, complete, describe, error, execute, message, parse, query, ready, sync};

fn driver() -> Driver {
    Driver::open(Rules::new(None))
}

#[test]
fn a_held_query_sends_nothing_until_it_is_released() {
    let mut driver = driver();
    driver.client(&[query("delete held"), query("select 1")].concat());
    assert!(driver.is_held());
    assert_eq!(driver.client_words(), ["N 00000"]);
    assert_eq!(driver.upstream_tags(), "");
    assert!(!weir_wire::Machine::idle(&driver.machine));
    driver.release(true);
    assert_eq!(driver.to_upstream, [query("delete held"), query("select 1")].concat());
}

#[test]
fn a_hold_that_ends_in_denial_leaves_the_connection_usable() {
    let mut driver = driver();
    driver.client(&[query("delete held"), query("select 1")].concat());
    driver.release(false);
    assert_eq!(driver.client_words(), ["N 00000", "E 42501", "Z I"]);
    assert_eq!(driver.to_upstream, query("select 1"));
}

#[test]
fn a_statement_is_held_at_bind_and_what_stands_before_it_is_answered() {
    let mut driver = driver();
    driver.client(
        &[parse("", "delete held"), describe(b'S', ""), bind("", "", &["7"], &[]), execute(""), sync()]
            .concat(),
    );
    assert!(driver.is_held());
    assert_eq!(driver.upstream_tags(), "PDH");
    driver.upstream(&[message(b'1', b""), message(b't', &[0, 0]), message(b'n', b"")].concat());
    assert_eq!(driver.client_words(), ["N 00000", "1", "t", "n"]);
    driver.release(true);
    assert_eq!(driver.to_upstream, [bind("", "", &["7"], &[]), execute(""), sync()].concat());
    driver.upstream(&[message(b'2', b""), complete("DELETE 1"), ready(b'I')].concat());
    assert_eq!(driver.client_words(), ["2", "C DELETE 1", "Z I"]);
}

#[test]
fn a_held_bind_that_is_denied_discards_up_to_sync_and_fails_what_came_before_it() {
    let mut driver = driver();
    driver.client(
        &[parse("", "delete held"), bind("", "", &[], &[]), execute(""), sync(), query("select 1")].concat(),
    );
    driver.upstream(&message(b'1', b""));
    driver.release(false);
    assert_eq!(driver.upstream_tags(), "PHPSQ");
    driver.upstream(&[error("42601", "syntax error"), ready(b'I')].concat());
    assert_eq!(driver.client_words(), ["N 00000", "1", "E 42501", "Z I"]);
}

#[test]
fn a_denied_hold_inside_a_transaction_fails_the_transaction() {
    let mut driver = driver();
    driver.client(&query("begin"));
    driver.upstream(&[complete("BEGIN"), ready(b'T')].concat());
    driver.client(&query("delete held"));
    driver.release(false);
    driver.upstream(&[error("42601", "syntax error"), ready(b'E')].concat());
    assert_eq!(driver.client_words(), ["C BEGIN", "Z T", "N 00000", "E 42501", "Z E"]);
}

#[test]
fn the_held_request_names_the_bind_values() {
    let mut driver = driver();
    driver.client(
        &[parse("", "delete held"), bind("", "", &["secret", "x"], &[]), execute(""), sync()].concat(),
    );
    let held = weir_wire::Machine::held(&driver.machine, weir_wire::Lane(0));
    let Some(weir_policy::Request::Sql(sql)) = held else { panic!("not held") };
    assert_eq!((sql.text, sql.binds.count, sql.in_transaction), (&b"delete held"[..], 2, true));
    assert_eq!(sql.binds.raw, b"\0\0\0\x02\0\0\0\x06secret\0\0\0\x01x");
}

#[test]
fn every_cut_of_a_held_pipeline_ends_the_same() {
    let batch = [parse("", "delete held"), bind("", "", &["7"], &[]), execute(""), sync(), query("select 1")]
        .concat();
    for how in 0..6 {
        let mut driver = driver();
        for piece in crate::support::wire::cut(&batch, how) {
            driver.client(&piece);
            if driver.is_held() {
                driver.release(true);
            }
        }
        assert_eq!(driver.upstream_tags(), "PHBESQ", "cut {how}");
    }
}
