//! Transcripts: what each side sends and what each side sees, whole, byte by byte and cut at random.

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
use proptest::prelude::*;
use weir_http::Error;
use weir_wire::{Blame, Farewell, Fault};

#[test]
fn a_request_is_rebuilt_with_the_gateways_credential() {
    let seen = seen(&[
        client(
            "GET /v1/%70atients?x=%20 HTTP/1.1\r\nHost: gw:443\r\nAUTHORIZATION: bearer  tok.en \r\nUser-Agent: curl\r\n\
             Weir-Role: job\r\nWeir-Purpose: billing\r\nCookie: a=b\r\nX-Forwarded-For: 1.2.3.4\r\nX_Under: 1\r\n\
             X-HTTP-Method-Override: DELETE\r\nConnection: keep-alive, X-Hop\r\nX-Hop: 1\r\nTE: trailers\r\n\
             Proxy-Authorization: Basic x\r\nAccept: */*\r\nRange: bytes=0-1\r\nAccept-Encoding: gzip\r\n\r\n",
        ),
        upstream(
            "HTTP/1.1 200 Fine\r\nContent-Length: 2\r\nETag: \"1\"\r\nSet-Cookie: s=1\r\nKeep-Alive: 5\r\n\r\nok",
        ),
    ]);
    assert_eq!(
        text(&seen.to_upstream),
        "GET /v1/patients?x=%20 HTTP/1.1\r\nhost: up.example:8080\r\nuser-agent: curl\r\naccept: */*\r\nrange: bytes=0-1\r\n\
         accept-encoding: identity\r\nauthorization: Bearer upstream-credential\r\n\r\n"
    );
    assert_eq!(text(&seen.to_client), "HTTP/1.1 200 OK\r\netag: \"1\"\r\ncontent-length: 2\r\n\r\nok");
    assert_eq!(seen.logins, [r#"tok.en Some("job") Some("billing") Some("curl")"#]);
    assert_eq!(
        seen.decided,
        [
            r#"GET up.example:8080 /v1/patients Some("x=%20") [user-agent=curl,accept=*/*,range=bytes=0-1,accept-encoding=gzip] Whole("")"#
        ]
    );
    assert_eq!(seen.outcomes, [r#"{"status":200,"by":"upstream","body_bytes":2}"#]);
    assert!(!seen.closed);
}

#[test]
fn pipelined_requests_are_answered_in_order_and_a_denial_keeps_its_place() {
    let requests = ["/a", "/deny", "/b"]
        .map(|path| format!("GET {path} HTTP/1.1\r\nHost: gw\r\nAuthorization: Bearer t\r\n\r\n"));
    let seen = seen(&[
        client(requests.concat()),
        upstream("HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nA"),
        upstream("HTTP/1.1 404 Gone Fishing\r\nContent-Length: 1\r\n\r\nB"),
    ]);
    assert_eq!(text(&seen.to_upstream), upstream_get("/a") + &upstream_get("/b"));
    let body = "{\"error\":\"denied\",\"rule\":\"deny.it\",\"message\":\"no one may\"}\n";
    assert_eq!(
        text(&seen.to_client),
        format!(
            "HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\nAHTTP/1.1 403 Forbidden\r\ncontent-type: application/json\r\n\
             cache-control: no-store\r\ncontent-length: {}\r\n\r\n{body}HTTP/1.1 404 Not Found\r\ncontent-length: 1\r\n\r\nB",
            body.len()
        )
    );
    assert_eq!(seen.logins.len(), 1, "one token is asked about once");
    assert!(!seen.closed);
}

#[test]
fn nothing_of_a_held_request_goes_upstream_before_its_release() {
    let post = "POST /hold HTTP/1.1\r\nHost: gw\r\nAuthorization: Bearer t\r\nContent-Length: 4\r\n\r\nbody";
    let waiting = seen(&[client(post)]);
    assert!(waiting.to_upstream.is_empty() && waiting.to_client.is_empty() && !waiting.closed);
    assert!(waiting.decided[1].ends_with(r#"Whole("body")"#), "an approval is bound to the body");

    let released = seen(&[client(post), Event::Approve, upstream("HTTP/1.1 204 No Content\r\n\r\n")]);
    assert!(text(&released.to_upstream).ends_with("content-length: 4\r\n\r\nbody"));
    assert_eq!(text(&released.to_client), "HTTP/1.1 204 No Content\r\n\r\n");

    let rejected = seen(&[client(post), Event::Reject, get("/a")]);
    assert!(text(&rejected.to_client).starts_with("HTTP/1.1 403 ") && !rejected.closed);
    assert_eq!(text(&rejected.to_upstream), upstream_get("/a"));

    let later = seen(&[client(post), Event::PutOff, get("/a")]);
    let answer = text(&later.to_client);
    assert!(answer.starts_with("HTTP/1.1 503 ") && answer.contains("retry-after: 30\r\n"), "{answer}");
    assert!(answer.contains("\"hold\":\"h-42\"") && !later.closed);
    let patient = post.replace("Content-Length", "Prefer: wait=5, respond-async\r\nContent-Length");
    let accepted = seen(&[client(patient), Event::PutOff]);
    let answer = text(&accepted.to_client);
    assert!(
        answer.starts_with("HTTP/1.1 202 Accepted\r\n") && answer.contains("\"hold\":\"h-42\""),
        "{answer}"
    );
    assert_eq!(text(&later.to_upstream), upstream_get("/a"));
}

#[test]
fn a_connection_serves_one_token_role_and_purpose() {
    for other in [
        "Authorization: Bearer u",
        "Authorization: Bearer t\r\nWeir-Role: root",
        "Authorization: Bearer t\r\nWeir-Purpose: fun",
    ] {
        let seen = seen(&[
            get("/a"),
            upstream("HTTP/1.1 204 No Content\r\n\r\n"),
            client(format!("GET /b HTTP/1.1\r\nHost: gw\r\n{other}\r\n\r\n")),
        ]);
        assert!(text(&seen.to_client).contains("HTTP/1.1 401 ") && seen.closed);
        assert_eq!(text(&seen.to_upstream), upstream_get("/a"));
    }
}

#[test]
fn who_cannot_be_admitted_is_told_why() {
    for (fields, status, says) in [
        ("", 401, "bearer token is needed"),
        ("Authorization: Basic dDp0\r\n", 401, "bearer token is needed"),
        ("Authorization: Bearer \r\n", 401, "bearer token is needed"),
        ("Authorization: Bearer bad\r\n", 401, "the token is expired"),
        ("Authorization: Bearer alien\r\n", 502, "of another protocol"),
        ("Authorization: Bearer t\r\nAuthorization: Bearer t\r\n", 400, "repeated"),
        ("Authorization: Bearer t\r\nWeir-Role: a\r\nWeir-Role: b\r\n", 400, "repeated"),
    ] {
        let seen = seen(&[client(format!("GET / HTTP/1.1\r\nHost: gw\r\n{fields}\r\n"))]);
        let answer = text(&seen.to_client);
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")) && answer.contains(says), "{answer}");
        assert_eq!(answer.contains("www-authenticate: Bearer"), status == 401);
        assert!(seen.closed && seen.to_upstream.is_empty());
    }
}

#[test]
fn a_masked_answer_is_framed_anew_and_tells_nothing_of_the_original() {
    let small = seen(&[
        client(
            "GET /masked HTTP/1.1\r\nHost: gw\r\nAuthorization: Bearer t\r\nRange: bytes=0-9\r\nIf-Range: \"x\"\r\n\r\n",
        ),
        upstream(
            "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 38\r\nETag: \"1\"\r\nAccept-Ranges: bytes\r\n\
             Digest: x\r\nX-Ssn: 123-45-6789\r\nX-Mail: a@b.io; c\r\n\r\n{\"s\":\"123-45-6789\",\"m\":\"bob@mail.org\"}",
        ),
    ]);
    assert_eq!(text(&small.to_upstream), upstream_get("/masked"));
    let small_body = "{\"s\":\"***-**-6789\",\"m\":\"[e\\u000amail]\"}";
    assert_eq!(
        text(&small.to_client),
        format!(
            "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nx-ssn: ***-**-6789\r\nx-mail: [e mail]; c\r\n\
             content-length: {}\r\n\r\n{small_body}",
            small_body.len()
        )
    );
    assert_eq!(
        small.ledgers,
        [
            r#"{"columns":[],"patterns":[{"rule":"pii.0","hits":2},{"rule":"pii.1","hits":2}],"secrets":0,"withheld":0}"#
        ]
    );

    let rows = "row 123-45-6789,x\n".repeat(40);
    for head in [format!("Content-Length: {}\r\n\r\n{rows}", rows.len()), {
        let (first, second) = rows.split_at(71);
        format!(
            "Transfer-Encoding: chunked\r\n\r\n{:x}\r\n{first}\r\n{:X};e=1\r\n{second}\r\n0\r\nT: 1\r\n\r\n",
            71,
            second.len()
        )
    }] {
        let large = seen(&[get("/masked"), upstream(format!("HTTP/1.1 200 OK\r\n{head}")), get("/a")]);
        assert_eq!(
            text(&large.to_client),
            format!(
                "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n<{}>",
                rows.replace("123-45", "***-**")
            )
        );
        assert!(text(&large.to_upstream).ends_with(&upstream_get("/a")), "the connection goes on");
    }
}

#[test]
fn what_cannot_be_masked_is_not_passed() {
    for (head, says) in [
        (
            "200 OK\r\nContent-Type: text/plain\r\nContent-Encoding: compress\r\nContent-Length: 1\r\n\r\nx",
            "content coding",
        ),
        ("200 OK\r\nContent-Type: text/plain; charset=utf-16\r\nContent-Length: 1\r\n\r\nx", "character set"),
        ("200 OK\r\nContent-Type: image/png\r\nContent-Length: 1\r\n\r\nx", "not a text"),
        ("206 Partial\r\nContent-Type: text/plain\r\nContent-Length: 1\r\n\r\nx", "part of a body"),
    ] {
        let seen = seen(&[get("/masked"), upstream(format!("HTTP/1.1 {head}"))]);
        let answer = text(&seen.to_client);
        assert!(answer.starts_with("HTTP/1.1 502 ") && answer.contains(says), "{answer}");
        assert!(seen.closed);
    }
    let empty = seen(&[
        get("/masked"),
        upstream("HTTP/1.1 200 OK\r\nContent-Type: image/png\r\nContent-Length: 0\r\n\r\n"),
    ]);
    assert!(text(&empty.to_client).starts_with("HTTP/1.1 200 ") && !empty.closed);
}

#[test]
fn an_echoed_credential_is_hidden_without_changing_the_length() {
    for path in ["/echo", "/masked"] {
        let seen = seen(&[
            get(path),
            upstream(
                "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nX-Echo: Bearer upstream-credential\r\nContent-Length: 35\r\n\r\n\
                 you said Bearer upstream-credential",
            ),
        ]);
        let answer = text(&seen.to_client);
        assert!(
            !answer.contains("upstream-credential")
                && answer.contains("x-echo: Bearer *******************\r\n"),
            "{answer}"
        );
        assert!(
            answer.ends_with("content-length: 35\r\n\r\nyou said Bearer *******************"),
            "{answer}"
        );
    }
}

#[test]
fn an_unmasked_body_passes_by_count() {
    let body = "x".repeat(5_000);
    let answer = |kind: &str| {
        upstream(format!("HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nContent-Length: 5000\r\n\r\n{body}"))
    };
    let binary = seen(&[get("/a"), answer("image/png"), get("/b")]);
    assert_eq!(binary.forwarded, 5_000);
    assert!(text(&binary.to_client).ends_with(&format!("content-length: 5000\r\n\r\n{body}")));
    assert!(text(&binary.to_upstream).ends_with(&upstream_get("/b")), "the next request goes after it");

    let open =
        client("GET /a HTTP/1.1\r\nHost: gw\r\nAuthorization: Bearer open\r\nAccept-Encoding: br\r\n\r\n");
    let no_credential = seen(&[open, answer("text/plain")]);
    assert_eq!(no_credential.forwarded, 5_000);
    assert_eq!(
        text(&no_credential.to_upstream),
        "GET /a HTTP/1.1\r\nhost: up.example:8080\r\naccept-encoding: br\r\n\r\n"
    );
    assert_eq!(seen(&[get("/a"), answer("text/plain")]).forwarded, 0, "a readable body is looked through");
}

#[test]
fn answers_without_a_body_end_with_their_head() {
    let head = client("HEAD /a HTTP/1.1\r\nHost: gw\r\nAuthorization: Bearer t\r\n\r\n");
    let masked_head = client("HEAD /masked HTTP/1.1\r\nHost: gw\r\nAuthorization: Bearer t\r\n\r\n");
    let denied_head = client("HEAD /deny HTTP/1.1\r\nHost: gw\r\nAuthorization: Bearer t\r\n\r\n");
    let seen = seen(&[
        head,
        upstream("HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n"),
        masked_head,
        upstream("HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n"),
        get("/c"),
        upstream("HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n"),
        denied_head,
    ]);
    let answer = text(&seen.to_client);
    assert!(
        answer.starts_with(
            "HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\nHTTP/1.1 200 OK\r\n\r\nHTTP/1.1 304 Not Modified\r\n\r\nHTTP/1.1 403 "
        ),
        "{answer}"
    );
    assert!(answer.ends_with("\r\n\r\n") && !seen.closed);
}

#[test]
fn interim_answers_stay_between_gateway_and_upstream() {
    let interim = seen(&[
        get("/a"),
        upstream(
            "HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\nHTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n",
        ),
    ]);
    assert_eq!(text(&interim.to_client), "HTTP/1.1 204 No Content\r\n\r\n");
    let switched = seen(&[get("/a"), upstream("HTTP/1.1 101 Switching Protocols\r\n\r\n")]);
    assert!(text(&switched.to_client).starts_with("HTTP/1.1 502 ") && switched.closed);
}

#[test]
fn connections_end_when_either_side_wants_it() {
    let close = client("GET /a HTTP/1.1\r\nHost: gw\r\nAuthorization: Bearer t\r\nConnection: Close\r\n\r\n");
    let old = client("GET /a HTTP/1.0\r\nAuthorization: Bearer t\r\n\r\n");
    let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n";
    for (request, answer, expected) in [
        (
            close.clone(),
            "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
            "content-length: 2\r\nconnection: close\r\n\r\nok",
        ),
        (
            get("/a"),
            "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok",
            "content-length: 2\r\nconnection: close\r\n\r\nok",
        ),
        (
            get("/a"),
            "HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok",
            "content-length: 2\r\nconnection: close\r\n\r\nok",
        ),
        (old.clone(), chunked, "connection: close\r\n\r\nok"),
        (close, chunked, "transfer-encoding: chunked\r\nconnection: close\r\n\r\n<ok>"),
    ] {
        let seen = seen(&[request, upstream(answer)]);
        assert_eq!(text(&seen.to_client), format!("HTTP/1.1 200 OK\r\n{expected}"));
        assert!(seen.closed && seen.failed.is_none());
    }
}

#[test]
fn a_body_that_ends_with_its_connection_is_given_an_end() {
    for (request, expected) in [
        (get("/a"), "transfer-encoding: chunked\r\nconnection: close\r\n\r\n<all of it>"),
        (client("GET /a HTTP/1.0\r\nAuthorization: Bearer t\r\n\r\n"), "connection: close\r\n\r\nall of it"),
    ] {
        let seen = seen(&[request, upstream("HTTP/1.1 200 OK\r\n\r\nall of it"), Event::UpstreamEnds]);
        assert_eq!(text(&seen.to_client), format!("HTTP/1.1 200 OK\r\n{expected}"));
        assert!(seen.closed && seen.failed.is_none());
    }
}

#[test]
fn a_broken_upstream_is_answered_for_or_cut_off() {
    for answer in [
        "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\nx",
        "HTTP/1.1 200 OK\r\nX: a\r\n b\r\n\r\n",
        "HTTP/1.1 200 OK\nX: a\r\n\r\n",
        "SSH-2.0-OpenSSH\r\n\r\n",
        "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
    ] {
        let seen = seen(&[get("/a"), upstream(answer)]);
        assert!(text(&seen.to_client).starts_with("HTTP/1.1 502 ") && seen.closed, "{answer:?}");
    }
    let gone = seen(&[get("/a"), Event::UpstreamEnds]);
    assert!(text(&gone.to_client).starts_with("HTTP/1.1 502 ") && gone.closed);

    let cut = seen(&[
        get("/masked"),
        upstream("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nx"),
        Event::UpstreamEnds,
    ]);
    assert!(
        cut.to_client.is_empty() && cut.failed.as_ref().is_some_and(|error| error.blame() == Fault::Upstream)
    );
    let unasked = seen(&[upstream("HTTP/1.1 200 OK\r\n\r\n")]);
    assert!(matches!(unasked.failed, Some(Error::Upstream(_))) && unasked.to_client.is_empty());
    let chunk = seen(&[get("/a"), upstream("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n")]);
    assert!(matches!(chunk.failed, Some(Error::Upstream(_))) && !text(&chunk.to_client).contains("zz"));
}

#[test]
fn last_words_are_spoken_only_where_a_request_waits_for_them() {
    let post = "POST /hold HTTP/1.1\r\nHost: gw\r\nAuthorization: Bearer t\r\nContent-Length: 4\r\n\r\nbody";
    for (events, expected) in [
        (vec![], ""),
        (vec![client("GET / HT")], "HTTP/1.1 503 "),
        (vec![get("/a")], "HTTP/1.1 503 "),
        (vec![client(post)], "HTTP/1.1 503 "),
    ] {
        let events = [events, vec![Event::Say(Farewell::Shutdown)]].concat();
        let answer = text(&seen(&events).to_client);
        assert!(answer.starts_with(expected) && answer.is_empty() == expected.is_empty(), "{answer}");
    }
    let inside =
        [get("/a"), upstream("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nx"), Event::Say(Farewell::Revoked)];
    assert!(!text(&seen(&inside).to_client).contains("401"));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn no_cut_changes_an_outcome(cuts in prop::collection::vec(1usize..60, 1..12), seed in 0usize..4) {
        let rows = "a 123-45-6789 and bob@mail.org\n".repeat(12);
        let answers = [
            format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{rows}", rows.len()),
            format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{:x}\r\n{rows}\r\n0\r\n\r\n", rows.len()),
            "HTTP/1.1 200 OK\r\nContent-Length: 13\r\n\r\nx 123-45-6789".into(),
            "HTTP/1.1 204 No Content\r\n\r\n".into(),
        ];
        let events = [
            client("POST /masked HTTP/1.1\r\nHost: gw\r\nAuthorization: Bearer t\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"),
            upstream(&answers[seed]),
            get("/deny"),
            get("/b"),
            upstream(&answers[(seed + 1) % 4]),
        ];
        let run = |cuts: &[usize]| {
            let mut seen = Driver::new(settings()).run(&events, cuts);
            seen.to_client = rechunked(&seen.to_client).into_bytes();
            seen.to_upstream = rechunked(&seen.to_upstream).into_bytes();
            seen
        };
        prop_assert_eq!(run(&cuts), run(&[usize::MAX]));
    }

    #[test]
    fn no_bytes_from_either_side_make_it_panic(
        requests in prop::collection::vec(any::<u8>(), 0..300),
        answers in prop::collection::vec(any::<u8>(), 0..300),
        tail in "(GET|POST) /[a-z%;.]{0,9} HTTP/1.[01]\r\n(Host: a\r\n|Authorization: Bearer t\r\n|Content-Length: [0-9]{1,3}\r\n){0,4}\r\n[ -~]{0,40}",
    ) {
        let events = [get("/a"), upstream(answers), client(tail), client(requests)];
        let seen = Driver::new(settings()).run(&events, &[5, 90]);
        prop_assert!(seen.to_upstream.starts_with(b"GET /a "));
    }
}
