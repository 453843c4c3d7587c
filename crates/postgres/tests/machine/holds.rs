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

/// A portal bound while nothing was held, in an open transaction, and a bundle since then that holds it.
fn bound_before_the_bundle(values: &[&str], runs: bool) -> Driver {
    let mut driver = Driver::open(Rules { holds: false, ..Rules::new(None) });
    driver.client(&query("begin"));
    driver.upstream(&[complete("BEGIN"), ready(b'T')].concat());
    driver.client(&[parse("", "delete held"), bind("p", "", values, &[1]), sync()].concat());
    driver.upstream(&[message(b'1', b""), message(b'2', b""), ready(b'T')].concat());
    if runs {
        driver.client(&[execute("p"), sync()].concat());
        driver.upstream(&[message(b's', b""), ready(b'T')].concat());
    }
    driver.take_client();
    driver.take_upstream();
    driver.rules = Rules::of_generation(None, 2);
    weir_wire::Machine::bundle_changed(&mut driver.machine, 2);
    driver
}

#[test]
fn a_portal_that_a_new_bundle_holds_is_held_at_execute_with_its_bind_values() {
    for how in 0..6 {
        let mut driver = bound_before_the_bundle(&["secret", "x"], false);
        for piece in crate::support::wire::cut(&[execute("p"), sync()].concat(), how) {
            driver.client(&piece);
        }
        assert!(driver.is_held(), "cut {how}");
        let held = weir_wire::Machine::held(&driver.machine, weir_wire::Lane(0));
        let Some(weir_policy::Request::Sql(sql)) = held else { panic!("not held") };
        assert_eq!((sql.text, sql.binds.count), (&b"delete held"[..], 2));
        assert_eq!(sql.binds.raw, b"\0\0\0\x02\0\0\0\x06secret\0\0\0\x01x");
        assert_eq!(
            (driver.client_words(), driver.upstream_tags()),
            (vec!["N 00000".to_owned()], String::new())
        );
        driver.release(true);
        assert_eq!(driver.to_upstream, [execute("p"), sync()].concat());
        driver.upstream(&[complete("DELETE 1"), ready(b'T')].concat());
        assert_eq!(
            (driver.client_words(), driver.error),
            (vec!["C DELETE 1".to_owned(), "Z T".into()], None)
        );
    }
}

#[test]
fn a_hold_at_execute_that_ends_in_denial_fails_the_transaction() {
    let mut driver = bound_before_the_bundle(&["x"], false);
    driver.client(&[execute("p"), sync()].concat());
    driver.release(false);
    assert_eq!(driver.upstream_tags(), "PS");
    driver.upstream(&[error("42601", "syntax error"), ready(b'E')].concat());
    assert_eq!(driver.client_words(), ["N 00000", "E 42501", "Z E"]);
}

#[test]
fn a_portal_that_has_run_or_is_too_long_to_keep_is_denied_where_it_would_be_held() {
    let long = "x".repeat(10_000);
    for (values, runs) in [(&["x"][..], true), (&[long.as_str()][..], false)] {
        let mut driver = bound_before_the_bundle(values, runs);
        driver.client(&[execute("p"), sync()].concat());
        assert!(!driver.is_held());
        assert_eq!(driver.upstream_tags(), "PS");
        driver.upstream(&[error("42601", "syntax error"), ready(b'E')].concat());
        assert_eq!(driver.client_words(), ["E 42501", "Z E"]);
    }
}

#[test]
fn what_an_execute_runs_is_decided_again_under_a_new_bundle_too() {
    let mut driver = Driver::open(Rules { holds: false, ..Rules::new(None) });
    for (text, tag) in [("begin", "BEGIN"), ("prepare q as delete held", "PREPARE")] {
        driver.client(&query(text));
        driver.upstream(&[complete(tag), ready(b'T')].concat());
    }
    driver.client(&[parse("", "execute q"), bind("p", "", &[], &[]), sync()].concat());
    driver.upstream(&[message(b'1', b""), message(b'2', b""), ready(b'T')].concat());
    driver.rules = Rules::of_generation(None, 2);
    weir_wire::Machine::bundle_changed(&mut driver.machine, 2);
    driver.decided.clear();
    driver.client(&[execute("p"), sync()].concat());
    let asked: Vec<_> = driver.decided.iter().map(|it| it.text.as_str()).collect();
    assert_eq!(asked, ["execute q", "prepare q as delete held"]);
}
