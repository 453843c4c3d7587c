//! What two HTTP readers may understand differently never reaches the upstream, however its bytes are cut.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod desync;
mod driver;
#[path = "../../mask/tests/plain_regex/mod.rs"]
mod plain_regex;

use desync::{REFUSED, SERVED};
use driver::{Driver, client};
use weir_http::Settings;

const H: &str = "Host: gw\r\nAuthorization: Bearer t\r\n";

/// Chunked bodies that are none, and how much of each is a body still.
const CHUNKS: [(&str, &str); 4] =
    [("x\r\n", ""), ("4\nWiki", ""), ("4\r\nWikiGET", "Wiki"), ("0\r\n\nGET", "")];

#[test]
fn what_can_be_read_in_two_ways_is_refused_and_ends_the_connection() {
    let mut wrong = Vec::new();
    for (request, status) in REFUSED {
        let text = format!("{}GET /smuggled HTTP/1.1\r\n{H}\r\n", request.replace("{H}", H));
        for cut in [text.len(), 1, 7] {
            let seen = Driver::new(Settings::new("up:80")).run(&[client(&text)], &[cut]);
            let answer = String::from_utf8_lossy(&seen.to_client).into_owned();
            let told = answer.starts_with(&format!("HTTP/1.1 {status} "))
                && answer.contains("connection: close\r\n")
                && answer.contains("\"message\":");
            if !told || !seen.closed || seen.failed.is_some() || !seen.to_upstream.is_empty() {
                wrong.push((request, cut, status, answer.get(9..12).unwrap_or_default().to_owned()));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn what_can_be_read_in_one_way_goes_upstream_in_one_way() {
    for (request, expected) in SERVED {
        let request = request.replace("{H}", H);
        for cut in [request.len(), 1, 5] {
            let seen = Driver::new(Settings::new("up:80")).run(&[client(&request)], &[cut]);
            let sent = driver::rechunked(&seen.to_upstream);
            let (head, body) =
                sent.split_once("\r\n\r\n").unwrap_or_else(|| panic!("{request:?}: nothing was sent"));
            let (line, wanted) = expected.split_once(' ').unwrap();
            let (target, framed) = wanted.split_once(' ').unwrap();
            assert!(
                head.starts_with(&format!("{line} {target} HTTP/1.1\r\nhost: up:80\r\n")),
                "{request:?}: {head}"
            );
            let (framing, data) = framed.split_once('|').unwrap_or_default();
            let lengths =
                head.matches("content-length: ").count() + head.matches("transfer-encoding: ").count();
            assert_eq!(lengths, usize::from(!framing.is_empty()), "{request:?}: {head}");
            match framing {
                "chunked" => assert_eq!(body, format!("<{data}>"), "{request:?}"),
                framing => assert!(head.contains(framing) && body == data, "{request:?}: {sent}"),
            }
            for withheld in [
                "x-hop",
                "x-original-url",
                "x-rewrite-url",
                "forwarded",
                "_",
                "trailer",
                "keep-alive",
                "expect",
            ] {
                assert!(!head.contains(withheld), "{request:?}: {head}");
            }
        }
    }
}

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
