//! What a hostile or broken client meets: the protocol's own error, naming what was wrong; nobody else is disturbed.

use std::io::{Read, Write};
use std::net::TcpStream;

use crate::appliance::{Appliance, PATIENCE, Who, text};

/// A fresh connection to the Postgres listener.
fn connect() -> TcpStream {
    let appliance = Appliance::shared();
    let stream =
        TcpStream::connect((appliance.var("WEIR_PG_HOST"), appliance.var("WEIR_PG_PORT").parse().unwrap()))
            .unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// Everything the listener says to these bytes until it closes.
fn answer_to(bytes: &[u8]) -> Vec<u8> {
    let mut stream = connect();
    // The listener may have closed already, which is an answer too.
    let _closed_early = stream.write_all(bytes);
    let mut answer = Vec::new();
    let _reset = stream.read_to_end(&mut answer);
    answer
}

fn packet(code: u32, body: &[u8]) -> Vec<u8> {
    [&(u32::try_from(body.len()).unwrap() + 8).to_be_bytes()[..], &code.to_be_bytes(), body].concat()
}

#[test]
fn garbage_before_startup_ends_that_connection_only() {
    let cases: [(&str, Vec<u8>); 7] = [
        ("zeros", vec![0; 64]),
        ("ones", vec![0xff; 64]),
        ("http", b"GET / HTTP/1.1\r\nHost: weir\r\n\r\n".to_vec()),
        ("ssh", b"SSH-2.0-OpenSSH_9.2\r\n".to_vec()),
        ("short length", 3u32.to_be_bytes().to_vec()),
        ("huge length", [&u32::MAX.to_be_bytes()[..], &196_608u32.to_be_bytes()].concat()),
        ("unknown code", packet(0x1234_0000, b"")),
    ];
    for (name, bytes) in cases {
        let answer = answer_to(&bytes);
        assert!(answer.is_empty() || answer[0] == b'E', "{name}: {answer:?}");
    }
    assert_still_serving();
}

#[test]
fn a_token_is_never_asked_for_before_tls() {
    let answer = answer_to(&packet(196_608, b"user\0job\0database\0clinic\0\0"));
    assert_eq!(answer.first(), Some(&b'E'), "{answer:?}");
    assert!(text(&answer).contains("TLS"), "the refusal says what to do: {}", text(&answer));
}

#[test]
fn bytes_behind_an_ssl_request_are_refused() {
    let mut bytes = packet(80_877_103, b"");
    bytes.extend_from_slice(&packet(196_608, b"user\0job\0database\0clinic\0\0"));
    let answer = answer_to(&bytes);
    let asked = answer.windows(4).any(|bytes| bytes == b"R\0\0\0");
    assert!(!asked, "no authentication request may follow: {answer:?}");
    assert_still_serving();
}

#[test]
fn gssenc_is_declined_and_tls_offered_after_it() {
    let mut stream = connect();
    stream.write_all(&packet(80_877_104, b"")).unwrap();
    let mut answer = [0];
    stream.read_exact(&mut answer).unwrap();
    assert_eq!(answer, *b"N");
    stream.write_all(&packet(80_877_103, b"")).unwrap();
    stream.read_exact(&mut answer).unwrap();
    assert_eq!(answer, *b"S");
}

#[test]
fn a_wrong_or_expired_token_gets_one_vague_text() {
    let appliance = Appliance::shared();
    let database = appliance.var("WEIR_PG_DATABASE");
    let good = appliance.token(Who::Job);
    let expired =
        appliance.mint(&["--sub", "late", "--group", "jobs", "--ttl", "5m", "--claim", "exp=1000000000"]);
    let stranger = appliance.mint(&["--sub", "x", "--group", "jobs", "--ttl", "5m", "--aud", "elsewhere"]);
    let (signed, signature) = good.rsplit_once('.').unwrap();
    let altered = format!("{signed}.{}", signature.chars().rev().collect::<String>());
    let mut told = None;
    for (name, token) in
        [("expired", &expired), ("audience", &stranger), ("altered", &altered), ("no jwt", &"x".to_owned())]
    {
        let output = appliance.psql_with(database, "job", token, "SELECT 1");
        assert!(!output.status.success(), "{name} was let in");
        let said = text(&output.stderr);
        assert!(said.contains("FATAL"), "{name}: {said}");
        assert!(name == "no jwt" || !said.contains(token.as_str()), "{name}: the token is in {said}");
        let vague = told.get_or_insert_with(|| said.clone());
        assert_eq!(&said, vague, "{name} is told apart");
    }
}

#[test]
fn an_unknown_database_or_role_is_named() {
    let appliance = Appliance::shared();
    let token = appliance.token(Who::Job);
    let output = appliance.psql_with("no_such_connection", "job", &token, "SELECT 1");
    assert!(text(&output.stderr).contains("no_such_connection"), "{}", text(&output.stderr));
    let output = appliance.psql_with(appliance.var("WEIR_PG_DATABASE"), "privileged", &token, "SELECT 1");
    assert!(!output.status.success(), "a job may not ask for privileged");
    assert!(text(&output.stderr).contains("privileged"), "{}", text(&output.stderr));
}

fn assert_still_serving() {
    let output = Appliance::shared().psql(Who::Job, "SELECT 1");
    assert_eq!(text(&output.stdout).trim(), "1", "{}", text(&output.stderr));
}
