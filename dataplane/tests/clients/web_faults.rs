//! Clients and upstreams that misbehave over HTTP: each is dealt with by itself, its neighbours are served meanwhile, and the
//! gateway's memory stays as it was.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::sync::LazyLock;

use rustls::{ClientConnection, StreamOwned};

use crate::appliance::{PATIENCE, Who, text};
use crate::raw;
use crate::web::{MASKED, Web};

static WEB: LazyLock<Web> = LazyLock::new(|| {
    let web = Web::echoing();
    web.appliance.add_to_config("[limits]\nlogin_timeout = \"3s\"");
    web
});

fn connect() -> StreamOwned<ClientConnection, TcpStream> {
    let mut tcp = TcpStream::connect(("127.0.0.1", WEB.port)).unwrap();
    tcp.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut tls = raw::tls(&WEB.appliance);
    while tls.is_handshaking() {
        tls.complete_io(&mut tcp).unwrap();
    }
    StreamOwned::new(tls, tcp)
}

/// What comes until the connection ends.
fn rest(mut stream: StreamOwned<ClientConnection, TcpStream>) -> String {
    let mut answer = Vec::new();
    let _end_without_close_notify = stream.read_to_end(&mut answer);
    text(&answer)
}

fn assert_neighbours_are_served() {
    let curl = WEB.curl(Who::Job, "/patients", &["-f"]).output().unwrap();
    assert_eq!(text(&curl.stdout), MASKED, "{}", text(&curl.stderr));
}

#[test]
fn a_client_that_never_finishes_its_request_is_let_go() {
    let mut slow: Vec<_> = (0..20).map(|_| connect()).collect();
    for stream in &mut slow {
        stream.write_all(b"GET /patients HTTP/1.1\r\nHost: gw\r\nX: ").unwrap();
    }
    assert_neighbours_are_served();
    for stream in slow {
        let answer = rest(stream);
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 408 "), "{answer}");
    }
}

#[test]
fn a_flood_of_fields_is_refused_while_it_comes() {
    let field = "X: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\r\n";
    for count in [129, 1_000, 100_000] {
        let mut stream = connect();
        let head = format!("GET / HTTP/1.1\r\nHost: gw\r\n{}\r\n", field.repeat(count));
        // It is refused, and the connection gone, before all is sent.
        let _gone = stream.write_all(head.as_bytes());
        let answer = rest(stream);
        assert!(
            answer.is_empty() && count > 1_000 || answer.starts_with("HTTP/1.1 431 "),
            "{count}: {answer}"
        );
        assert_neighbours_are_served();
    }
}

#[test]
fn an_upstream_that_dies_in_the_middle_of_an_answer_is_not_mistaken_for_its_end() {
    for who in [Who::Job, Who::Privileged] {
        let curl = WEB.curl(who, "/dies", &["-f"]).output().unwrap();
        assert!(!curl.status.success(), "{} bytes", curl.stdout.len());
        assert!(curl.stdout.len() <= 50_000);
        assert_neighbours_are_served();
    }
}

#[test]
fn an_answer_that_grows_beyond_bounds_when_decoded_is_cut_off() {
    let curl = WEB.curl(Who::Job, "/bomb", &["-f"]).output().unwrap();
    assert!(!curl.status.success() && curl.stdout.len() < 32 << 20, "{} bytes", curl.stdout.len());
    assert_neighbours_are_served();
}
