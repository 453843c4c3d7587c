//! Request bodies: which are kept for policy, which pass as they come, and what becomes of the rest of a refused one.

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

use driver::{Driver, Event, client, get, rechunked, seen, settings, text, upstream, upstream_get};

fn post(path: &str, framed: &str) -> Event {
    client(format!("POST {path} HTTP/1.1\r\nHost: gw\r\nAuthorization: Bearer t\r\n{framed}"))
}

const NO_CONTENT: &str = "HTTP/1.1 204 No Content\r\n\r\n";

#[test]
fn a_body_that_policy_wants_is_seen_whole_and_sent_with_its_length() {
    let seen = seen(&[
        post(
            "/look",
            "Expect: 100-continue\r\nTransfer-Encoding: chunked\r\n\r\n\
             4\r\nWiki\r\n5;x\r\npedia\r\n0\r\nTrailer: x\r\n\r\n",
        ),
        upstream("HTTP/1.1 201 Created\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"),
    ]);
    assert!(seen.decided[0].ends_with("Coming") && seen.decided[1].ends_with(r#"Whole("Wikipedia")"#));
    assert!(text(&seen.to_upstream).ends_with("content-length: 9\r\n\r\nWikipedia"));
    assert!(!text(&seen.to_upstream).contains("expect") && !text(&seen.to_upstream).contains("chunked"));
    assert_eq!(
        text(&seen.to_client),
        "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 201 Created\r\ntransfer-encoding: chunked\r\n\r\n<ok>"
    );
    assert_eq!(seen.uploads, b"Wikipedia");
}

#[test]
fn a_body_that_nobody_looks_into_passes_by_count_whatever_its_length() {
    let long = "x".repeat(100_000);
    let framing = format!("Content-Length: {}\r\n\r\n{long}", long.len());
    let events = [post("/a", &framing), upstream(NO_CONTENT), get("/b")];
    for cut in [usize::MAX, 1_000, 33] {
        let seen = Driver::new(settings()).run(&events, &[cut]);
        assert_eq!((seen.forwarded, seen.uploads.len()), (100_000, 100_000), "recorded whole, cut {cut}");
        assert!(seen.decided[0].ends_with("Coming"), "decided before any of it was read");
        let sent = text(&seen.to_upstream);
        assert!(sent.contains("content-length: 100000\r\n"), "{}", &sent[..200]);
        assert!(sent.contains(&long) && sent.ends_with(&upstream_get("/b")), "the connection goes on");
    }
}

#[test]
fn a_chunked_body_that_nobody_looks_into_is_framed_anew_as_it_comes() {
    let half = client(
        "POST /a HTTP/1.1\r\nHost: gw\r\nAuthorization: Bearer t\r\nExpect: 100-continue\r\n\
                       Transfer-Encoding: chunked\r\n\r\n4\r\nWiki\r\n5;x=y\r\npe",
    );
    let waiting = seen(std::slice::from_ref(&half));
    assert!(text(&waiting.to_client).starts_with("HTTP/1.1 100 Continue\r\n\r\n"));
    assert!(text(&waiting.to_upstream).contains("transfer-encoding: chunked\r\n\r\n<Wikipe"));
    let whole = seen(&[half, client("dia\r\n0\r\nA: b\r\n\r\n"), upstream(NO_CONTENT), get("/b")]);
    assert!(text(&whole.to_upstream).contains("<Wikipedia>"));
    assert!(text(&whole.to_upstream).ends_with(&upstream_get("/b")));
    assert_eq!(whole.uploads, b"Wikipedia");
}

#[test]
fn uploads_are_noted_scrubbed_and_sent_as_they_are() {
    let body = "ssn=123-45-6789&to=bob@mail.org";
    let noted = "ssn=***-**-6789&to=[e\nmail]";
    let whole = seen(&[post("/masked", &format!("Content-Length: {}\r\n\r\n{body}", body.len()))]);
    assert!(text(&whole.to_upstream).ends_with(body));
    assert_eq!(text(&whole.uploads), noted);

    let long = body.repeat(50);
    let framings = [
        format!("Content-Length: {}\r\n\r\n{long}", long.len()),
        format!("Transfer-Encoding: chunked\r\n\r\n{:x}\r\n{long}\r\n0\r\n\r\n", long.len()),
    ];
    for framing in &framings {
        let events = [post("/masked", framing), upstream(NO_CONTENT), get("/a")];
        for cuts in [&[usize::MAX][..], &[1], &[50, 3]] {
            let seen = Driver::new(settings()).run(&events, cuts);
            assert!(rechunked(&seen.to_upstream).contains(&long), "{cuts:?}");
            assert!(text(&seen.uploads).starts_with("ssn=***-**-6789&to="));
            assert!(!text(&seen.uploads).contains("123-45"));
            assert!(rechunked(&seen.to_upstream).ends_with(&upstream_get("/a")), "the connection goes on");
        }
    }

    let gzip = post("/masked", "Content-Encoding: gzip\r\nContent-Length: 11\r\n\r\n123-45-6789");
    assert_eq!(text(&seen(&[gzip]).uploads), "[withheld: this body could not be scrubbed]");
}

#[test]
fn a_body_that_policy_must_see_and_cannot_is_refused_with_the_reason() {
    let hundred = "x".repeat(100);
    let long = format!("Content-Length: 100\r\n\r\n{hundred}");
    let chunked = format!("Transfer-Encoding: chunked\r\n\r\n64\r\n{hundred}\r\n0\r\n\r\n");
    let gzip = "Content-Encoding: gzip\r\nContent-Length: 2\r\n\r\n12".to_owned();
    for (framing, status) in [(&long, 413), (&chunked, 413), (&gzip, 415)] {
        let seen = seen(&[post("/look", framing)]);
        assert!(text(&seen.to_client).starts_with(&format!("HTTP/1.1 {status} ")), "{framing}");
        assert!(seen.closed && seen.to_upstream.is_empty());
        assert!(seen.decided.last().unwrap().ends_with("Unseen"), "the refusal is a recorded decision");
    }
}

#[test]
fn a_refused_request_keeps_the_connection_where_little_of_it_is_left() {
    for framing in
        ["Content-Length: 5\r\n\r\nhello", "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"]
    {
        let seen = seen(&[post("/deny", framing), get("/a")]);
        assert!(text(&seen.to_client).starts_with("HTTP/1.1 403 ") && !seen.closed);
        assert_eq!(text(&seen.to_upstream), upstream_get("/a"));
    }
    let long = "x".repeat(70_000);
    for framing in [
        format!("Content-Length: 70000\r\n\r\n{long}"),
        format!("Transfer-Encoding: chunked\r\n\r\n{:x}\r\n{long}\r\n0\r\n\r\n", long.len()),
        "Expect: 100-continue\r\nContent-Length: 5\r\n\r\n".to_owned(),
        "Transfer-Encoding: chunked\r\n\r\nzz\r\n".to_owned(),
    ] {
        let seen = Driver::new(settings()).run(&[post("/deny", &framing), get("/a")], &[5_000]);
        assert!(text(&seen.to_client).starts_with("HTTP/1.1 403 "));
        assert!(seen.closed && seen.to_upstream.is_empty());
        assert_eq!(text(&seen.to_client).matches("HTTP/1.1").count(), 1, "nothing is said twice");
    }
}

#[test]
fn an_answer_that_comes_before_the_body_is_sent_ends_the_connection() {
    for framing in ["Content-Length: 100\r\n\r\nhalf", "Transfer-Encoding: chunked\r\n\r\n9\r\nhalf"] {
        let seen = seen(&[
            post("/a", framing),
            upstream("HTTP/1.1 413 Content Too Large\r\nContent-Length: 0\r\n\r\n"),
        ]);
        assert!(text(&seen.to_client).contains("connection: close\r\n") && seen.closed);
    }
}
