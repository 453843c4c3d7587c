//! Any bytes on either side: no panic, and an independent reader agrees on what went upstream.

use std::rc::Rc;

use proptest::prelude::*;

use crate::support::driver::Driver;
use crate::support::policy::{Rules, mask_plan};
use crate::support::wire::{
    bind, call, close, complete, data_row, describe, error, execute, flush, message, messages, parse, query,
    ready, row_description, startup, sync,
};
use weir_postgres::{BearerTerms, Clerk, ClerkLogin, ClerkStep, Limits, Proof, UpstreamSecret};

fn client_messages() -> Vec<Vec<u8>> {
    vec![
        query("select 1"),
        query("drop denied"),
        query("delete held"),
        query("copy t from stdin"),
        query("copy t to stdout"),
        parse("", "select 1"),
        parse("a", "insert 1"),
        bind("", "", &["x"], &[0, 1]),
        bind("p", "a", &[], &[]),
        describe(b'S', "a"),
        describe(b'P', ""),
        execute(""),
        execute("p"),
        close(b'S', "a"),
        close(b'P', "p"),
        flush(),
        sync(),
        message(b'd', b"1\t2\n"),
        message(b'c', b""),
        message(b'f', b"no\0"),
        message(b'F', &[0; 12]),
        call(952, &[b"x"]),
        call(20_000, &[]),
        message(b'X', b""),
        startup(&[("user", "u")]),
        message(b'p', b"token\0"),
        message(b'p', b"OAUTHBEARER\0\0\0\0\x15n,,\x01auth=Bearer abc\x01\x01"),
        message(b'p', b"OAUTHBEARER\0\0\0\0\x0bn,,\x01auth=\x01\x01"),
        message(b'p', b"\x01"),
    ]
}

fn upstream_messages() -> Vec<Vec<u8>> {
    vec![
        message(b'1', b""),
        message(b'2', b""),
        message(b'3', b""),
        message(b't', &[0, 0]),
        message(b'n', b""),
        message(b's', b""),
        message(b'I', b""),
        row_description(&[("id", 23, 0), ("ssn", 25, 1)]),
        data_row(&[Some(b"1"), Some(b"123456789")]),
        complete("SELECT 1"),
        complete("DISCARD ALL"),
        ready(b'I'),
        ready(b'T'),
        error("22012", "x"),
        message(b'N', b"Mx\0\0"),
        message(b'A', b"\0\0\0\x01a\0b\0"),
        message(b'S', b"a\0b\0"),
        message(b'G', &[0, 0, 0]),
        message(b'H', &[0, 0, 2, 0, 0, 0, 0]),
        message(b'd', b"1\traw\n"),
        message(b'c', b""),
        message(b'V', &[255; 4]),
        data_row(&[Some(b"public"), Some(b"held"), Some(b"25")]),
        message(b'3', b"").repeat(2),
        message(b'R', &[0; 4]),
        message(b'K', &[0; 8]),
    ]
}

/// A well-formed message, one with a byte changed, or noise.
fn piece(known: Vec<Vec<u8>>) -> impl Strategy<Value = Vec<u8>> {
    let known = proptest::sample::select(known);
    prop_oneof![
        6 => known.clone(),
        2 => (known, any::<prop::sample::Index>(), any::<u8>()).prop_map(|(mut bytes, at, byte)| {
            let at = at.index(bytes.len());
            bytes[at] = byte;
            bytes
        }),
        1 => proptest::collection::vec(any::<u8>(), 0..40),
    ]
}

fn steps() -> impl Strategy<Value = Vec<(bool, Vec<u8>)>> {
    let step = prop_oneof![
        piece(client_messages()).prop_map(|bytes| (true, bytes)),
        piece(upstream_messages()).prop_map(|bytes| (false, bytes)),
    ];
    proptest::collection::vec(step, 0..60)
}

fn check(mut driver: Driver, steps: Vec<(bool, Vec<u8>)>, release: bool) {
    for (from_client, bytes) in steps {
        if driver.closed || driver.error.is_some() {
            break;
        }
        if from_client {
            driver.client(&bytes)
        } else {
            driver.upstream(&bytes)
        }
        if driver.is_held() {
            driver.release(release);
        }
    }
    let (sent, _) = messages(&driver.to_upstream);
    let allowed = |text: &str| driver.decided.iter().any(|it| it.verdict == "allow" && it.text == text);
    for (tag, body) in sent {
        let mut strings = body.split(|byte| *byte == 0).map(String::from_utf8_lossy);
        let (first, second) = (strings.next().unwrap_or_default(), strings.next().unwrap_or_default());
        let (name, text) = match tag {
            b'Q' => (String::new(), first),
            b'P' => (first.into_owned(), second),
            _ => continue,
        };
        let own = text == "refused by weir" || name == "weir_columns" || name == "weir_function";
        assert!(own || allowed(&text), "{text:?} went upstream without an Allow");
    }
    weir_wire::Machine::farewell(
        &mut driver.machine,
        weir_wire::Farewell::Shutdown,
        &mut weir_wire::Outbox::default(),
    );
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_bytes_make_it_panic_once_it_is_open(steps in steps(), masks in any::<bool>(), release in any::<bool>()) {
        let limits = Limits { statement_bytes: 200, pipeline: 20, statements: 5, ..Limits::default() };
        check(Driver::open_with(limits, Rules::new(masks.then(mask_plan))), steps, release);
    }

    #[test]
    fn no_bytes_make_it_panic_before_that(steps in steps(), proof in 0..3) {
        let proof = match proof {
            0 => Proof::Password,
            1 => Proof::Bearer(Rc::new(BearerTerms::new("https://i/.well-known/x", None))),
            _ => Proof::Certificate,
        };
        let mut driver = Driver::new(Limits::default(), Rules::new(None));
        driver.machine = driver.machine.asking_for(proof);
        check(driver, steps, true);
    }

    #[test]
    fn no_bytes_make_a_clerk_panic_or_use_more_than_there_is(pieces in proptest::collection::vec(piece(upstream_messages()), 0..40)) {
        let secret = UpstreamSecret::None;
        let login = ClerkLogin { user: "u".into(), database: "d".into(), secret, encrypted: false, random: [0; 18] };
        let (mut clerk, _) = Clerk::start(login);
        let (mut held, mut send) = (Vec::new(), Vec::new());
        for piece in pieces {
            held.extend_from_slice(&piece);
            while let Ok((used, step)) = clerk.read(&held, &mut send) {
                held.drain(..used);
                if step == ClerkStep::NeedMore {
                    break;
                }
                let _ = clerk.outcome();
            }
        }
    }
}
