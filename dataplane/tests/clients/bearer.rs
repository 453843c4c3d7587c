//! A listener that asks for tokens by SASL OAUTHBEARER (RFC 7628), with libpq 18 as it is and by hand.

use std::net::{TcpListener, TcpStream};
use std::sync::OnceLock;

use serde_json::{Value, json};

use crate::appliance::{Appliance, PATIENCE, Who, text};
use crate::raw::{Raw, Said, message, startup, tls, told_to_begin};

const ISSUER: &str = "https://issuer.example";
const DISCOVERY: &str = "https://issuer.example/.well-known/openid-configuration";

struct Asking {
    appliance: Appliance,
    port: u16,
}

fn asking() -> &'static Asking {
    static ASKING: OnceLock<Asking> = OnceLock::new();
    ASKING.get_or_init(|| {
        let appliance = Appliance::start();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let tls = appliance.dir.join("tls").display().to_string();
        appliance.add_to_config(&format!(
            "[[listener]]\nprotocol = \"postgres\"\naddress = \"127.0.0.1:{port}\"\n\
             cert = \"{tls}/listener.pem\"\nkey = \"{tls}/listener.key\"\n\
             auth = \"oauthbearer\"\noauth_discovery = \"{DISCOVERY}\"\noauth_scope = \"openid weir\"\n"
        ));
        Asking { appliance, port }
    })
}

/// What libpq 18 makes of it with this token, and with the issuer's name or its document's as its setting.
fn libpq(issuer: &str, token: &str) -> Value {
    let Asking { appliance, port } = asking();
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/drivers/bearer_libpq.py");
    let mut python = appliance.client("python3", "clinic", "job", token);
    python.env("PGPORT", port.to_string());
    let done = python.args([script, issuer, "SELECT 'in'"]).output().unwrap();
    assert!(done.status.success(), "{}", text(&done.stderr));
    serde_json::from_slice(&done.stdout).unwrap()
}

#[test]
fn libpq_18_logs_in_with_a_bearer_token_and_learns_where_to_get_one() {
    let token = asking().appliance.token(Who::Job);
    // It knows the document: the token is in its first message.
    let known = libpq(DISCOVERY, &token);
    assert_eq!(known["rows"], json!([["in"]]), "{known}");
    // It knows the issuer alone: asks with an empty token, is told, and connects again.
    let learnt = libpq(ISSUER, &token);
    assert_eq!(learnt["rows"], json!([["in"]]), "{learnt}");
    let told = learnt["told"].as_array().unwrap();
    assert_eq!(told.last(), Some(&json!([DISCOVERY, "openid weir"])), "{learnt}");
}

#[test]
fn libpq_18_is_refused_with_a_wrong_token_and_believes_no_other_issuer() {
    let refused = libpq(DISCOVERY, "nonsense");
    let error = refused["error"].as_str().unwrap_or_else(|| panic!("{refused}"));
    assert!(error.contains("valid, unexpired token for this gateway"), "{error}");
    let other = libpq("https://elsewhere.example", &asking().appliance.token(Who::Job));
    let error = other["error"].as_str().unwrap_or_else(|| panic!("{other}"));
    assert!(error.contains("elsewhere.example"), "{error}");
}

#[test]
fn older_clients_are_told_by_their_own_library_and_give_their_token_to_nobody() {
    let Asking { appliance, port } = asking();
    let mut psql = appliance.client("psql", "clinic", "job", &appliance.token(Who::Job));
    let done = psql.env("PGPORT", port.to_string()).args(["-XAtqc", "SELECT 1"]).output().unwrap();
    assert!(!done.status.success());
    let said = text(&done.stderr);
    assert!(said.contains("SASL authentication mechanisms are supported"), "{said}");
}

fn connect() -> Raw {
    let Asking { appliance, port } = asking();
    let stream = TcpStream::connect(("127.0.0.1", *port)).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut raw = Raw::over(tls(appliance), told_to_begin(stream));
    raw.send(&startup("job", "clinic"));
    assert_eq!(raw.next(), Some((b'R', [&10u32.to_be_bytes()[..], b"OAUTHBEARER\0\0"].concat())));
    raw
}

fn initial(said: &str) -> Vec<u8> {
    let length = u32::try_from(said.len()).unwrap();
    message(b'p', &[b"OAUTHBEARER\0", &length.to_be_bytes()[..], said.as_bytes()].concat())
}

#[test]
fn every_bearer_that_proves_nobody_is_told_the_same_and_ended() {
    let appliance = &asking().appliance;
    let minted =
        |extra: &[&str]| appliance.mint(&[&["--sub", "x", "--group", "jobs", "--ttl", "5m"], extra].concat());
    let tokens = [
        String::new(),
        "x".repeat(500),
        minted(&["--claim", "exp=1000000000"]),
        minted(&["--aud", "elsewhere"]),
        minted(&["--claim", "iss=https://elsewhere.example"]),
    ];
    for token in tokens {
        let auth = if token.is_empty() { String::new() } else { format!("Bearer {token}") };
        let mut raw = connect();
        raw.send(&initial(&format!("n,,\x01auth={auth}\x01\x01")));
        let (kind, body) = raw.next().unwrap();
        assert_eq!((kind, &body[..4]), (b'R', &11u32.to_be_bytes()[..]));
        let expected =
            json!({"status": "invalid_token", "openid-configuration": DISCOVERY, "scope": "openid weir"});
        assert_eq!(serde_json::from_slice::<Value>(&body[4..]).unwrap(), expected);
        raw.send(&message(b'p', b"\x01"));
        raw.end().assert_fatal("28P01", &["valid, unexpired token for this gateway"]);
    }
}

#[test]
fn a_bearer_without_a_grant_is_told_so_and_a_broken_exchange_ends() {
    let job = asking().appliance.token(Who::Analyst);
    let mut raw = connect();
    raw.send(&initial(&format!("n,,\x01auth=Bearer {job}\x01\x01")));
    raw.end().assert_fatal("28000", &["not granted"]);
    for broken in [
        message(b'p', b"a password\0"),
        initial("n,,\x01auth=Bearer a\x01auth=Bearer b\x01\x01"),
        initial("p=tls-server-end-point,,\x01auth=Bearer a\x01\x01"),
    ] {
        let mut raw = connect();
        raw.send(&broken);
        let said: Said = raw.end();
        assert_eq!((said.severity.as_str(), said.sqlstate.as_str()), ("FATAL", "08P01"), "{said:?}");
    }
}
