//! One channel held while others run.

use weir_ssh::relay::{ChannelId, Decision, Dropped, Seen, Side, Step};
use weir_ssh::{Limits, Permits};

use crate::channels::{Bench, ID};
use crate::text::{adjust, confirm, data, exec, open, plain, request, text};

fn parked(bench: &mut Bench, message: &[u8]) {
    assert_eq!(bench.step(Side::Client, message), Step::Drop(Dropped::Parked));
    assert!(bench.letters.is_empty());
}

fn held() -> Bench {
    let mut bench = Bench::open(1000);
    assert_eq!(bench.decide(&exec(20, "dump"), Decision::Hold("wait")), Step::Drop(Dropped::Parked));
    assert_eq!(bench.letters(), [(Side::Client, text(95).word(10).word(1).string("wait").0)]);
    assert!(bench.relay.is_held(ID));
    bench
}

#[test]
fn a_held_channel_parks_what_is_in_order_and_lets_credit_pass() {
    let mut bench = held();
    for message in [
        data(20, b"one"),
        [request(20, "signal", false), text(0).string("INT").0[1..].to_vec()].concat(),
        plain(96, 20),
    ] {
        parked(&mut bench, &message);
    }
    assert!(matches!(bench.step(Side::Client, &adjust(20, 7)), Step::Sent(Seen::Upkeep)));
    assert_eq!(bench.letters().len(), 1);
    // Another channel goes on.
    assert!(bench.forwards(Side::Client, &open(11, 5)));
    assert!(bench.forwards(Side::Upstream, &confirm(11, 21, 5)));
    assert!(bench.forwards(Side::Client, &data(21, b"hello")));
}

#[test]
fn a_released_command_goes_first_and_what_waited_behind_it() {
    let mut bench = held();
    let waited = [data(20, b"one"), data(20, b"two"), plain(96, 20)];
    for message in &waited {
        parked(&mut bench, message);
    }
    bench.letters.clear();
    assert!(bench.relay.release(ID, Decision::Allow, &mut bench.letters).unwrap());
    assert_eq!(bench.letters(), [(Side::Upstream, exec(20, "dump"))]);
    let mut unparked = Vec::new();
    while let Some(message) = bench.relay.unpark(ID) {
        assert!(bench.forwards(Side::Client, &message));
        unparked.push(message);
    }
    assert_eq!(unparked, waited);
    assert!(!bench.relay.release(ID, Decision::Allow, &mut bench.letters).unwrap(), "once");
    bench.step(Side::Upstream, &plain(99, 10));
    assert_eq!(bench.letters(), [(Side::Client, plain(99, 10))]);
}

#[test]
fn a_hold_that_is_denied_ends_the_program_and_forgets_what_waited() {
    let mut bench = held();
    parked(&mut bench, &data(20, b"one"));
    bench.letters.clear();
    assert!(bench.relay.release(ID, Decision::Deny("no"), &mut bench.letters).unwrap());
    let letters = bench.letters();
    assert_eq!(letters[0], (Side::Client, text(95).word(10).word(1).string("no").0));
    assert_eq!(letters.last(), Some(&(Side::Upstream, plain(97, 20))));
    assert!(letters.iter().all(|(to, letter)| *to == Side::Client || letter[0] == 97));
    assert_eq!(bench.relay.unpark(ID), None);
}

#[test]
fn a_client_that_closes_gives_up_what_it_asked_for() {
    let mut bench = held();
    parked(&mut bench, &data(20, b"one"));
    assert!(bench.forwards(Side::Client, &plain(97, 20)));
    assert!(!bench.relay.release(ID, Decision::Allow, &mut bench.letters).unwrap());
    assert_eq!((bench.relay.unpark(ID), bench.letters.is_empty()), (None, true));
}

#[test]
fn what_was_parked_may_be_held_again_and_keeps_its_order() {
    let mut bench = Bench::open(1000);
    let env = [request(20, "env", false), text(0).string("A").string("1").0[1..].to_vec()].concat();
    assert_eq!(bench.decide(&env, Decision::Hold("")), Step::Drop(Dropped::Parked));
    for message in [exec(20, "cat"), data(20, b"in")] {
        parked(&mut bench, &message);
    }
    bench.letters.clear();
    assert!(bench.relay.release(ID, Decision::Allow, &mut bench.letters).unwrap());
    let run = bench.relay.unpark(ID).unwrap();
    assert_eq!(bench.decide(&run, Decision::Hold("")), Step::Drop(Dropped::Parked));
    assert_eq!(bench.relay.unpark(ID), None);
    assert!(bench.relay.release(ID, Decision::Allow, &mut bench.letters).unwrap());
    assert_eq!(bench.letters().last(), Some(&(Side::Upstream, exec(20, "cat"))));
    assert_eq!(bench.relay.unpark(ID), Some(data(20, b"in")));
}

#[test]
fn what_a_held_channel_parks_is_bounded_by_its_window_and_by_the_limit() {
    let mut bench = Bench::with(Limits { held_bytes: 3000, ..Limits::default() }, Permits::ALL);
    assert!(bench.forwards(Side::Client, &open(10, 1 << 20)));
    assert!(bench.forwards(Side::Upstream, &confirm(10, 20, 1 << 20)));
    bench.decide(&exec(20, "dump"), Decision::Hold(""));
    // Empty messages count too.
    for _ in 0..30 {
        parked(&mut bench, &data(20, b""));
    }
    assert!((0..30).any(|_| bench.fails(Side::Client, &data(20, b""))));
    // The window is checked when what was parked is looked at.
    let mut bench = held();
    parked(&mut bench, &data(20, &[0; 900]));
    parked(&mut bench, &data(20, &[0; 900]));
    assert!(bench.relay.release(ID, Decision::Allow, &mut bench.letters).unwrap());
    let first = bench.relay.unpark(ID).unwrap();
    assert!(bench.forwards(Side::Client, &first));
    let second = bench.relay.unpark(ID).unwrap();
    assert!(bench.fails(Side::Client, &second));
}

#[test]
fn an_opening_may_be_held_and_an_unknown_channel_is_released_as_nothing() {
    let mut bench = Bench::new();
    let direct = text(90)
        .string("direct-tcpip")
        .word(10)
        .word(9)
        .word(9)
        .string("db")
        .word(5432)
        .string("h")
        .word(1)
        .0;
    assert_eq!(bench.decide(&direct, Decision::Hold("")), Step::Drop(Dropped::Parked));
    assert!(bench.relay.release(ID, Decision::Deny("no"), &mut bench.letters).unwrap());
    assert_eq!(bench.letters()[0].1[..9], text(92).word(10).word(1).0);
    assert_eq!(bench.decide(&direct, Decision::Hold("")), Step::Drop(Dropped::Parked));
    bench.letters.clear();
    assert!(bench.relay.release(ChannelId(1), Decision::Allow, &mut bench.letters).unwrap());
    assert_eq!(bench.letters(), [(Side::Upstream, direct)]);
    assert!(!bench.relay.release(ChannelId(77), Decision::Allow, &mut bench.letters).unwrap());
}

#[test]
fn what_is_held_on_a_channel_that_the_upstream_closes_is_over() {
    let mut bench = held();
    parked(&mut bench, &data(20, b"one"));
    assert!(bench.forwards(Side::Upstream, &plain(97, 10)));
    assert!(!bench.relay.release(ID, Decision::Allow, &mut bench.letters).unwrap());
    assert_eq!((bench.relay.unpark(ID), bench.letters.is_empty()), (None, true));
    assert!(bench.forwards(Side::Client, &plain(97, 20)));
    assert_eq!(bench.relay.channels(), 0);
}
