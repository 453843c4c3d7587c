//! What two HTTP readers may understand differently never reaches the upstream, however its bytes are cut.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod driver;
#[path = "../../mask/tests/plain_regex/mod.rs"]
mod plain_regex;

use driver::{Driver, client};
use weir_http::Settings;

const H: &str = "Host: gw\r\nAuthorization: Bearer t\r\n";

/// Request (with `{H}` for good fields), status.
const TABLE: [(&str, u16); 74] = [
    // Two lengths.
    ("POST / HTTP/1.1\r\n{H}Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
    ("POST / HTTP/1.1\r\n{H}Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n", 400),
    ("POST / HTTP/1.1\r\n{H}Content-Length: 4\r\nContent-Length: 4\r\n\r\nbody", 400),
    ("POST / HTTP/1.1\r\n{H}Content-Length: 4\r\nContent-Length: 5\r\n\r\nbody", 400),
    ("POST / HTTP/1.1\r\n{H}Content-Length: 4, 4\r\n\r\nbody", 400),
    ("POST / HTTP/1.1\r\n{H}Content-Length: 4,5\r\n\r\nbody", 400),
    ("POST / HTTP/1.1\r\n{H}content-length: 4\r\nCONTENT-LENGTH: 4\r\n\r\nbody", 400),
    // Numbers that are none.
    ("POST / HTTP/1.1\r\n{H}Content-Length: +4\r\n\r\nbody", 400),
    ("POST / HTTP/1.1\r\n{H}Content-Length: -4\r\n\r\nbody", 400),
    ("POST / HTTP/1.1\r\n{H}Content-Length: 0x4\r\n\r\nbody", 400),
    ("POST / HTTP/1.1\r\n{H}Content-Length: 4 4\r\n\r\nbody", 400),
    ("POST / HTTP/1.1\r\n{H}Content-Length: 4;\r\n\r\nbody", 400),
    ("POST / HTTP/1.1\r\n{H}Content-Length:\r\n\r\nbody", 400),
    ("POST / HTTP/1.1\r\n{H}Content-Length: 99999999999999999999\r\n\r\nbody", 400),
    // Transfer codings that are not exactly `chunked`.
    ("POST / HTTP/1.1\r\n{H}Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", 400),
    ("POST / HTTP/1.1\r\n{H}Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n", 400),
    ("POST / HTTP/1.1\r\n{H}Transfer-Encoding: identity\r\n\r\n", 400),
    ("POST / HTTP/1.1\r\n{H}Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n", 400),
    ("POST / HTTP/1.1\r\n{H}Transfer-Encoding: chunked;q=1\r\n\r\n0\r\n\r\n", 400),
    ("POST / HTTP/1.1\r\n{H}Transfer-Encoding: \"chunked\"\r\n\r\n0\r\n\r\n", 400),
    ("POST / HTTP/1.1\r\n{H}Transfer-Encoding:\r\n\r\n", 400),
    ("POST / HTTP/1.1\r\n{H}Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
    ("POST / HTTP/1.1\r\n{H}Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n", 400),
    ("POST / HTTP/1.1\r\n{H}Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n", 400),
    ("POST / HTTP/1.0\r\n{H}Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
    // Lines.
    ("GET / HTTP/1.1\r\n{H}X: a\r\n b\r\n\r\n", 400),
    ("GET / HTTP/1.1\r\n{H}X: a\r\n\tb\r\n\r\n", 400),
    ("GET / HTTP/1.1\n{H}\r\n", 400),
    ("GET / HTTP/1.1\r\n{H}X: a\n\r\n", 400),
    ("GET / HTTP/1.1\r\n{H}X: a\rY: b\r\n\r\n", 400),
    ("GET / HTTP/1.1\r\n{H}X: a\0\r\n\r\n", 400),
    ("GET / HTTP/1.1\r\n{H}X\0: a\r\n\r\n", 400),
    ("GET / HTTP/1.1\r\n{H}X : a\r\n\r\n", 400),
    ("GET / HTTP/1.1\r\n{H}X\t: a\r\n\r\n", 400),
    ("GET / HTTP/1.1\r\n{H}: a\r\n\r\n", 400),
    ("GET / HTTP/1.1\r\n{H}no colon\r\n\r\n", 400),
    ("GET / HTTP/1.1\r\n{H}X\u{7f}: a\r\n\r\n", 400),
    ("\r\nGET / HTTP/1.1\r\n{H}\r\n", 400),
    (" GET / HTTP/1.1\r\n{H}\r\n", 400),
    ("GET  / HTTP/1.1\r\n{H}\r\n", 400),
    ("GET / HTTP/1.1 \r\n{H}\r\n", 400),
    ("GET /\r\n{H}\r\n", 400),
    ("GET / HTTP/1.1\r\n X: y\r\n{H}\r\n", 400),
    // Versions and methods.
    ("GET / HTTP/1.2\r\n{H}\r\n", 505),
    ("GET / HTTP/2.0\r\n{H}\r\n", 505),
    ("GET / HTTP/0.9\r\n{H}\r\n", 505),
    ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505),
    ("GET / http/1.1\r\n{H}\r\n", 505),
    ("CONNECT gw:443 HTTP/1.1\r\n{H}\r\n", 405),
    ("TRACE / HTTP/1.1\r\n{H}\r\n", 405),
    ("get / HTTP/1.1\r\n{H}\r\n", 501),
    ("GE(T / HTTP/1.1\r\n{H}\r\n", 400),
    // Upgrades and expectations.
    (
        "GET / HTTP/1.1\r\n{H}Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AA\r\n\r\n",
        501,
    ),
    ("GET / HTTP/1.1\r\n{H}Upgrade: websocket\r\nConnection: upgrade\r\n\r\n", 501),
    ("POST / HTTP/1.1\r\n{H}Expect: 200-ok\r\nContent-Length: 1\r\n\r\nx", 417),
    // Hosts.
    ("GET / HTTP/1.1\r\nAuthorization: Bearer t\r\n\r\n", 400),
    ("GET / HTTP/1.1\r\n{H}Host: other\r\n\r\n", 400),
    ("GET / HTTP/1.1\r\nHost: a b\r\nAuthorization: Bearer t\r\n\r\n", 400),
    ("GET / HTTP/1.1\r\nHost: a@b\r\nAuthorization: Bearer t\r\n\r\n", 400),
    ("GET / HTTP/1.1\r\nHost:\r\nAuthorization: Bearer t\r\n\r\n", 400),
    ("GET http://other/ HTTP/1.1\r\n{H}\r\n", 400),
    ("GET http://user@gw/ HTTP/1.1\r\n{H}\r\n", 400),
    ("GET ftp://gw/ HTTP/1.1\r\n{H}\r\n", 400),
    // Paths.
    ("GET /a/../b HTTP/1.1\r\n{H}\r\n", 400),
    ("GET /a/%2e%2E/b HTTP/1.1\r\n{H}\r\n", 400),
    ("GET /a%2fb HTTP/1.1\r\n{H}\r\n", 400),
    ("GET /a%5cb HTTP/1.1\r\n{H}\r\n", 400),
    ("GET /a\\b HTTP/1.1\r\n{H}\r\n", 400),
    ("GET //a HTTP/1.1\r\n{H}\r\n", 400),
    ("GET /a;x=1 HTTP/1.1\r\n{H}\r\n", 400),
    ("GET /a%00 HTTP/1.1\r\n{H}\r\n", 400),
    ("GET /%252e%252e HTTP/1.1\r\n{H}\r\n", 400),
    ("GET /a#b HTTP/1.1\r\n{H}\r\n", 400),
    ("OPTIONS * HTTP/1.1\r\n{H}\r\n", 400),
];

#[test]
fn what_can_be_read_in_two_ways_is_refused_and_ends_the_connection() {
    for (request, status) in TABLE {
        let text = format!("{}GET /smuggled HTTP/1.1\r\n{H}\r\n", request.replace("{H}", H));
        for cut in [text.len(), 1, 7] {
            let seen = Driver::new(Settings::new("up:80")).run(&[client(&text)], &[cut]);
            let answer = String::from_utf8_lossy(&seen.to_client).into_owned();
            assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{request:?} cut {cut}: {answer}");
            assert!(answer.contains("connection: close\r\n") && answer.contains("\"message\":"), "{answer}");
            assert!(seen.closed && seen.failed.is_none(), "{request:?}");
            assert!(seen.to_upstream.is_empty(), "{request:?} reached the upstream");
        }
    }
}

/// Chunked bodies that are none, and how much of each is a body still.
const CHUNKS: [(&str, &str); 4] =
    [("x\r\n", ""), ("4\nWiki", ""), ("4\r\nWikiGET", "Wiki"), ("0\r\n\nGET", "")];

#[test]
fn a_chunk_that_is_none_ends_the_connection_and_nothing_behind_it_goes_upstream() {
    for (body, before) in CHUNKS {
        for path in ["/look", "/passing"] {
            let head = format!("POST {path} HTTP/1.1\r\n{H}Transfer-Encoding: chunked\r\n\r\n");
            let text = format!("{head}{body}GET /smuggled HTTP/1.1\r\n{H}\r\n");
            for cut in [text.len(), 1, 7] {
                let seen = Driver::new(Settings::new("up:80")).run(&[client(&text)], &[cut]);
                let answer = String::from_utf8_lossy(&seen.to_client).into_owned();
                assert!(answer.starts_with("HTTP/1.1 400 ") && seen.closed, "{body:?} cut {cut}: {answer}");
                let sent = String::from_utf8_lossy(&seen.to_upstream).into_owned();
                let sent = sent.split_once("\r\n\r\n").unwrap_or_default().1.to_owned();
                let data: String = sent.split("\r\n").skip(1).step_by(2).collect();
                let expected = if path == "/look" { "" } else { before };
                assert_eq!(data, expected, "{body:?} cut {cut}: {sent:?}");
                assert!(!sent.ends_with("0\r\n\r\n"), "an end that was not there");
            }
        }
    }
}

#[test]
fn limits_are_answered_with_their_own_status() {
    let mut settings = Settings::new("up:80");
    settings.limits.head_bytes = 400;
    settings.limits.fields = 5;
    settings.limits.target_bytes = 100;
    settings.limits.body_bytes = 8;
    for (request, status) in [
        (format!("GET / HTTP/1.1\r\n{H}X: {}\r\n\r\n", "a".repeat(400)), 431),
        (format!("GET / HTTP/1.1\r\n{H}A: b\r\nC: d\r\nE: f\r\nG: h\r\n\r\n"), 431),
        (format!("GET /{} HTTP/1.1\r\n{H}\r\n", "a".repeat(120)), 414),
        (format!("POST /look HTTP/1.1\r\n{H}Content-Length: 9\r\n\r\n123456789"), 413),
        (
            format!(
                "POST /look HTTP/1.1\r\n{H}Transfer-Encoding: chunked\r\n\r\n5\r\n12345\r\n5\r\n12345\r\n0\r\n\r\n"
            ),
            413,
        ),
        (format!("POST /look HTTP/1.1\r\n{H}Content-Encoding: gzip\r\nContent-Length: 2\r\n\r\n12"), 415),
    ] {
        for cut in [request.len(), 1] {
            let seen = Driver::new(settings.clone()).run(&[client(&request)], &[cut]);
            let answer = String::from_utf8_lossy(&seen.to_client).into_owned();
            assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{request:?}: {answer}");
            assert!(seen.closed && seen.to_upstream.is_empty());
        }
    }
}
