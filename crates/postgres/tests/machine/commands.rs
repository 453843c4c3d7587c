//! Commands through the machine: what passes, what is refused, and in which place.

use crate::support::driver::Driver;
use crate::support::policy::Rules;
use crate::support::wire::{
    bind, close, complete, describe, error, execute, flush, message, parse, query, ready, row_description,
    sync,
};
use weir_postgres::{Error, Limits};

fn driver() -> Driver {
    Driver::open(Rules::new(None))
}

#[test]
fn an_allowed_query_passes_byte_for_byte() {
    let mut driver = driver();
    driver.client(&query("select 1"));
    assert_eq!(driver.take_upstream(), query("select 1"));
    let answer = [row_description(&[("a", 23, 0)]), complete("SELECT 0"), ready(b'I')].concat();
    driver.upstream(&answer);
    assert_eq!(driver.take_client(), answer);
    assert_eq!(driver.notes.last().unwrap().1, r#"{"tag":"SELECT 0"}"#);
    assert!(weir_wire::Machine::idle(&driver.machine));
}

#[test]
fn a_denied_query_is_answered_at_once_and_nothing_goes_upstream() {
    let mut driver = driver();
    driver.client(&query("drop denied"));
    assert_eq!(driver.upstream_tags(), "");
    assert_eq!(driver.client_words(), ["E 42501", "Z I"]);
    driver.client(&query("select 1"));
    assert_eq!(driver.upstream_tags(), "Q");
}

#[test]
fn denial_keeps_its_place_in_a_pipeline() {
    let mut driver = driver();
    driver.client(&[query("select 1"), query("drop denied"), query("select 2")].concat());
    // The denied one is replaced by text that must fail, so that its error comes in its place.
    assert_eq!(driver.upstream_tags(), "QQQ");
    driver.upstream(&[complete("SELECT 1"), ready(b'I')].concat());
    assert_eq!(driver.client_words(), ["C SELECT 1", "Z I"]);
    driver
        .upstream(&[error("42601", "syntax error"), ready(b'I'), complete("SELECT 2"), ready(b'I')].concat());
    assert_eq!(driver.client_words(), ["E 42501", "Z I", "C SELECT 2", "Z I"]);
}

#[test]
fn a_denial_at_parse_discards_up_to_sync() {
    let mut driver = driver();
    let batch =
        [parse("", "drop denied"), bind("", "", &[], &[]), describe(b'P', ""), execute(""), sync()].concat();
    driver.client(&batch);
    assert_eq!(driver.upstream_tags(), "S");
    driver.upstream(&ready(b'I'));
    assert_eq!(driver.client_words(), ["E 42501", "Z I"]);
    assert_eq!(driver.decided.len(), 1);
}

#[test]
fn a_denial_inside_a_transaction_fails_it_upstream_as_well() {
    let mut driver = driver();
    driver.client(&query("begin"));
    driver.upstream(&[complete("BEGIN"), ready(b'T')].concat());
    driver.take_client();
    driver.take_upstream();
    driver.client(&[parse("", "drop denied"), sync()].concat());
    assert_eq!(driver.upstream_tags(), "PS");
    driver.upstream(&[error("42601", "syntax error"), ready(b'E')].concat());
    assert_eq!(driver.client_words(), ["E 42501", "Z E"]);
    // In a failed transaction nothing more can fail: the answer is local, with the true state.
    driver.client(&query("drop denied"));
    assert_eq!(driver.upstream_tags(), "");
    assert_eq!(driver.client_words(), ["E 42501", "Z E"]);
}

#[test]
fn an_earlier_error_swallows_a_later_denial_as_the_server_would() {
    let mut driver = driver();
    let batch = [
        parse("a", "fail"),
        bind("", "a", &[], &[]),
        execute(""),
        parse("", "drop denied"),
        sync(),
        query("select 1"),
    ];
    driver.client(&batch.concat());
    assert_eq!(driver.upstream_tags(), "PBEPSQ");
    driver.upstream(
        &[message(b'1', b""), error("22012", "no"), ready(b'I'), complete("SELECT 1"), ready(b'I')].concat(),
    );
    assert_eq!(driver.client_words(), ["1", "E 22012", "Z I", "C SELECT 1", "Z I"]);
}

#[test]
fn a_statement_is_asked_about_at_parse_and_at_bind_with_its_own_text() {
    let mut driver = driver();
    driver.client(&[parse("s", "select 1"), sync()].concat());
    driver.upstream(&[message(b'1', b""), ready(b'I')].concat());
    driver.client(&[bind("", "s", &["x"], &[]), execute(""), sync()].concat());
    let asked: Vec<_> =
        driver.decided.iter().map(|it| (it.text.as_str(), format!("{:?}", it.moment))).collect();
    assert_eq!(asked, [("select 1", "Parse".to_owned()), ("select 1", "Bind".to_owned())]);
}

#[test]
fn a_statement_name_that_failed_to_change_its_meaning_keeps_its_old_one() {
    let mut driver = driver();
    driver.client(&[parse("s", "delete held"), sync()].concat());
    driver.upstream(&[message(b'1', b""), ready(b'I')].concat());
    // The second Parse fails upstream, since the name is taken; what runs is still the first text.
    driver.client(&[parse("s", "select 1"), sync(), bind("", "s", &[], &[]), execute(""), sync()].concat());
    assert!(driver.is_held(), "{:?}", driver.decided);
}

#[test]
fn an_sql_execute_is_asked_about_with_what_it_runs() {
    let mut driver = driver();
    driver.client(&query("prepare p as delete held"));
    driver.upstream(&[complete("PREPARE"), ready(b'I')].concat());
    driver.client(&query("execute p (1)"));
    let asked: Vec<_> = driver.decided.iter().map(|it| it.text.as_str()).collect();
    assert_eq!(asked, ["prepare p as delete held", "execute p (1)", "prepare p as delete held"]);
    driver.client(&query("execute unknown"));
    assert_eq!(driver.client_words().last().unwrap(), "Z I");
}

#[test]
fn an_unknown_statement_is_refused_in_the_servers_words() {
    let mut driver = driver();
    driver.client(&[bind("", "nobody", &[], &[]), execute(""), sync()].concat());
    assert_eq!(driver.upstream_tags(), "S");
    driver.upstream(&ready(b'I'));
    assert_eq!(driver.client_words(), ["E 26000", "Z I"]);
    driver.client(&query("execute unknown"));
    assert_eq!(driver.client_words(), ["E 26000", "Z I"]);
}

#[test]
fn a_statement_over_its_limit_is_refused_without_being_held() {
    let limits = Limits { statement_bytes: 100, ..Limits::default() };
    let mut driver = Driver::open_with(limits, Rules::new(None));
    let long = query(&"x".repeat(1000));
    for piece in long.chunks(7) {
        driver.client(piece);
    }
    assert_eq!(driver.upstream_tags(), "");
    assert_eq!(driver.client_words(), ["E 54000", "Z I"]);
    driver.client(&[parse("", &"x".repeat(1000)), sync(), query("select 1")].concat());
    driver.upstream(&ready(b'I'));
    assert_eq!(driver.client_words(), ["E 54000", "Z I"]);
    assert_eq!(driver.upstream_tags(), "SQ");
}

#[test]
fn messages_that_have_no_place_end_the_session() {
    for (bytes, expected) in [
        (message(b'z', b""), Error::ClientUnknown(b'z')),
        (message(b'p', b"x\0"), Error::ClientState("password")),
        (b"Q\0\0\0\x03".to_vec(), Error::ClientLength),
        (b"Q\xff\xff\xff\xff".to_vec(), Error::ClientLength),
        // A server takes no gigabyte either: waiting for it would be waiting for nothing.
        (b"Q\x40\0\0\0".to_vec(), Error::ClientLength),
        (b"d\x7f\xff\xff\xff".to_vec(), Error::ClientLength),
        (message(b'Q', b"no end"), Error::ClientMalformed("Query")),
        (message(b'B', b"\0\0\0\0\0\x09\0\0"), Error::ClientMalformed("Bind")),
        (message(b'D', b"X\0"), Error::ClientMalformed("Describe")),
        (message(b'E', b"\0\0\0\0\0\0"), Error::ClientMalformed("Execute")),
    ] {
        let mut driver = driver();
        driver.client(&bytes);
        assert_eq!(driver.error, Some(expected), "{bytes:?}");
        assert_eq!(driver.upstream_tags(), "");
    }
}

#[test]
fn an_upstream_that_answers_what_was_not_asked_ends_the_session() {
    for bytes in [
        complete("SELECT 1"),
        ready(b'I'),
        message(b'1', b""),
        message(b'D', &[0, 0]),
        message(b'd', b"x"),
        message(b'W', b""),
        error("22012", "division by zero"),
    ] {
        let mut driver = driver();
        driver.upstream(&bytes);
        assert!(driver.error.is_some(), "{bytes:?}");
        assert_eq!(driver.client_words(), [""; 0]);
    }
    let mut driver = driver();
    // What ends the session comes unasked.
    driver.upstream(&message(b'E', b"SFATAL\0VFATAL\0C57P01\0Mshutting down\0\0"));
    assert_eq!((driver.client_words(), driver.error), (vec!["E 57P01".to_owned()], None));
}

#[test]
fn more_than_the_pipeline_holds_makes_the_client_wait() {
    let limits = Limits { pipeline: 4, ..Limits::default() };
    let mut driver = Driver::open_with(limits, Rules::new(None));
    let batch: Vec<u8> = (0..10).flat_map(|_| parse("", "select 1")).collect();
    driver.client(&[batch, sync()].concat());
    assert_eq!(driver.upstream_tags(), "PPPPH");
    driver.upstream(&message(b'1', b"").repeat(4));
    assert_eq!(driver.upstream_tags(), "PPPP");
    driver.upstream(&message(b'1', b"").repeat(4));
    assert_eq!(driver.upstream_tags(), "PPS");
    driver.upstream(&[message(b'1', b"").repeat(2), ready(b'I')].concat());
    assert_eq!(driver.client_words().len(), 11);
}

#[test]
fn a_goodbye_waits_for_the_answers_to_what_was_asked_before_it() {
    let mut driver = driver();
    driver.client(&[query("select 1"), query("select 2"), message(b'X', b"")].concat());
    for _ in 0..2 {
        assert!(!driver.closed);
        driver.upstream(&[complete("SELECT 1"), ready(b'I')].concat());
    }
    assert!(driver.closed);
    assert_eq!(driver.client_words(), ["C SELECT 1", "Z I", "C SELECT 1", "Z I"]);
    assert_eq!(driver.upstream_tags(), "QQX");
    // In the middle of an upload the server answers to nothing else.
    let mut driver = self::driver();
    driver.client(&query("copy t from stdin"));
    driver.upstream(&message(b'G', b"\0\0\0"));
    driver.client(&message(b'X', b""));
    assert!(driver.closed);
}

#[test]
fn flush_and_close_pass_and_a_portal_may_be_run_again_later() {
    let mut driver = driver();
    driver.client(&query("begin"));
    driver.upstream(&[complete("BEGIN"), ready(b'T')].concat());
    driver.client(&[parse("", "select 1"), bind("p", "", &[], &[]), execute("p"), flush()].concat());
    driver.upstream(&[message(b'1', b""), message(b'2', b""), message(b's', b"")].concat());
    driver.client(&[execute("p"), close(b'P', "p"), sync()].concat());
    driver.upstream(&[complete("SELECT 1"), message(b'3', b""), ready(b'T')].concat());
    assert_eq!(driver.client_words(), ["C BEGIN", "Z T", "1", "2", "s", "C SELECT 1", "3", "Z T"]);
    assert_eq!(driver.upstream_tags(), "QPBEHECS");
}

#[test]
fn a_new_bundle_is_asked_before_an_old_portal_runs_again() {
    let mut driver = driver();
    driver.client(&query("begin"));
    driver.upstream(&[complete("BEGIN"), ready(b'T')].concat());
    driver.client(&[parse("", "select 1"), bind("p", "", &[], &[]), execute("p"), sync()].concat());
    driver.upstream(&[message(b'1', b""), message(b'2', b""), message(b's', b""), ready(b'T')].concat());
    driver.rules = Rules::of_generation(None, 2);
    weir_wire::Machine::bundle_changed(&mut driver.machine, 2);
    driver.client(&[execute("p"), sync(), execute("p"), sync()].concat());
    let executed = driver.decided.iter().filter(|it| it.moment == weir_policy::Moment::Execute).count();
    assert_eq!(executed, 1);
}

#[test]
fn a_change_to_how_text_is_read_fences_the_next_text() {
    let mut driver = driver();
    driver.client(&[query("set standard_conforming_strings = off"), query("select 1")].concat());
    assert_eq!(driver.upstream_tags(), "Q");
    driver.upstream(
        &[complete("SET"), message(b'S', b"standard_conforming_strings\0off\0"), ready(b'I')].concat(),
    );
    assert!(matches!(driver.error, Some(Error::Setting(_))));
    assert_eq!(driver.upstream_tags(), "");
}

#[test]
fn a_cancel_names_the_upstreams_own_key_only_while_something_runs() {
    let mut driver = driver();
    let cancel = |driver: &Driver| weir_wire::Machine::cancel_request(&driver.machine);
    assert_eq!(cancel(&driver), None);
    driver.client(&query("select 1"));
    let key = weir_postgres::CancelKey { process: 9, key: 8 };
    assert_eq!(cancel(&driver), Some(weir_postgres::upstream::cancel_request(key).to_vec()));
}
