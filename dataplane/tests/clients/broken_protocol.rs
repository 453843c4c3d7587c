//! Clients that break the Postgres protocol inside TLS: each is told what was wrong, in the protocol's own words, and
//! closed; the session beside it on the same core notices nothing.

use crate::appliance::{Appliance, Who};
use crate::raw::{Bystander, Raw, message, packet, query, startup};

/// A message that says it is `length` bytes long, whatever follows.
fn lying(kind: u8, length: i32, body: &[u8]) -> Vec<u8> {
    [&[kind][..], &length.to_be_bytes(), body].concat()
}

/// Beyond what PostgreSQL itself takes for a message.
const GIGABYTE: i32 = 1 << 30;

#[test]
fn a_startup_packet_that_lies_or_is_too_long_is_told_so() {
    let appliance = Appliance::shared();
    let mut bystander = Bystander::on(appliance);
    let long = packet(196_608, format!("user\0job\0options\0{}\0\0", "-c a=b ".repeat(2_000)).as_bytes());
    let cases: [(&str, Vec<u8>, &str, &[&str]); 6] = [
        ("too long", long, "08P01", &["startup packet", "longer", "10000"]),
        ("huge", [0x7f, 0xff, 0xff, 0xff, 0, 3, 0, 0].to_vec(), "08P01", &["startup packet", "longer"]),
        ("length below 8", [0, 0, 0, 7, 0, 3, 0, 0].to_vec(), "08P01", &["impossible length"]),
        ("old version", packet(0x0002_0000, b""), "0A000", &["version", "3.0"]),
        ("nobody", packet(196_608, b"database\0clinic\0\0"), "08P01", &["user name must be a role"]),
        ("no end", packet(196_608, b"user\0job\0database"), "08P01", &["malformed startup"]),
    ];
    for (name, bytes, sqlstate, words) in cases {
        let mut raw = Raw::connect(appliance);
        raw.send(&bytes);
        println!("{name}");
        raw.end().assert_fatal(sqlstate, words);
        bystander.assert_undisturbed();
    }
}

#[test]
fn a_password_message_that_is_none_is_told_so() {
    let appliance = Appliance::shared();
    let mut bystander = Bystander::on(appliance);
    let cases: [(&str, Vec<u8>, &str, &[&str]); 5] = [
        ("too long", message(b'p', &[b'x'; 20_000]), "28P01", &["token longer", "16384"]),
        ("lie", lying(b'p', i32::MAX, b"x"), "28P01", &["token longer"]),
        ("length below 4", lying(b'p', 3, b"x\0"), "08P01", &["impossible length"]),
        ("no end", message(b'p', b"token"), "08P01", &["malformed password"]),
        ("a query instead", query("SELECT 1"), "08P01", &["password message", "token"]),
    ];
    for (name, bytes, sqlstate, words) in cases {
        let mut raw = Raw::connect(appliance);
        raw.send(&startup("job", appliance.var("WEIR_PG_DATABASE")));
        assert_eq!(raw.next(), Some((b'R', 3u32.to_be_bytes().to_vec())));
        raw.send(&bytes);
        println!("{name}");
        raw.end().assert_fatal(sqlstate, words);
        bystander.assert_undisturbed();
    }
}

#[test]
fn a_broken_message_in_a_session_names_itself_and_ends_that_session_only() {
    let appliance = Appliance::shared();
    let mut bystander = Bystander::on(appliance);
    let cases: [(&str, Vec<u8>, &[&str]); 8] = [
        ("unknown type", message(b'z', b""), &["unknown message type 0x7a", "version 3"]),
        ("a second password", message(b'p', b"x\0"), &["unexpected", "password"]),
        ("length below 4", lying(b'Q', 3, b""), &["impossible length"]),
        ("negative length", lying(b'Q', -1, b""), &["impossible length"]),
        ("query of a gigabyte", lying(b'Q', GIGABYTE, b"SELECT 1"), &["impossible length"]),
        ("bind of two", lying(b'B', i32::MAX, b""), &["impossible length"]),
        ("describe over the limit", lying(b'D', 9 << 20, b"S"), &["longer than the gateway's limit"]),
        ("no statement's end", message(b'Q', b"SELECT 1"), &["malformed"]),
    ];
    for (name, bytes, words) in cases {
        let mut raw = Raw::session(appliance, Who::Job);
        raw.send(&bytes);
        println!("{name}");
        raw.end().assert_fatal("08P01", words);
        bystander.assert_undisturbed();
    }
}

#[test]
fn a_statement_over_its_limit_is_refused_and_the_session_goes_on() {
    let appliance = Appliance::shared();
    let mut raw = Raw::session(appliance, Who::Job);
    let refused = raw.query(&format!("SELECT '{}'", "x".repeat(1 << 20))).unwrap_err();
    assert_eq!((refused.severity.as_str(), refused.sqlstate.as_str()), ("ERROR", "54000"), "{refused:?}");
    assert_eq!(raw.query("SELECT 'on'"), Ok(vec!["on".to_owned()]));
}
