//! Replays the fuzz target's corpus, and inputs made of it by a seeded mutator: what a plain `cargo test` can do of fuzzing.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test fails by panicking, and says by which input"
)]

#[path = "../driver/mod.rs"]
mod driver;
#[path = "../../../mask/tests/plain_regex/mod.rs"]
mod plain_regex;
#[path = "../../../wire/tests/replay/mod.rs"]
mod replay;
mod target;

use std::fs;
use std::path::{Path, PathBuf};

use weir_wire::Side::{self, Client, Upstream};

fn corpus() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus/exchange")
}

/// Name, options and pieces of the conversations that the corpus begins with.
type Seed = (&'static str, u8, Vec<(Side, &'static str)>);

const HEAD: &str = "Host: gw\r\nAuthorization: Bearer t\r\n";

fn seeds() -> Vec<(&'static str, Vec<u8>)> {
    let seeds: Vec<Seed> = vec![
        (
            "get",
            0,
            vec![
                (Client, "GET /a?b=c HTTP/1.1\r\n{H}\r\n"),
                (Upstream, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"),
            ],
        ),
        (
            "body",
            0,
            vec![
                (Client, "POST /a%41 HTTP/1.1\r\n{H}Content-Length: 4\r\n\r\nbody"),
                (
                    Upstream,
                    "HTTP/1.1 201 Created\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nyes\r\n0\r\nX: y\r\n\r\n",
                ),
            ],
        ),
        (
            "chunks",
            0,
            vec![
                (Client, "PUT / HTTP/1.1\r\n{H}Transfer-Encoding: chunked\r\n\r\n4;x=y\r\nWiki\r\n"),
                (Client, "0\r\nA: b\r\n\r\n"),
                (Upstream, "HTTP/1.1 204 No Content\r\n\r\n"),
            ],
        ),
        (
            "continue",
            0,
            vec![
                (Client, "POST / HTTP/1.1\r\n{H}Expect: 100-continue\r\nContent-Length: 2\r\n\r\n"),
                (Upstream, "HTTP/1.1 100 Continue\r\n\r\n"),
                (Client, "ab"),
                (Upstream, "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nto the end"),
            ],
        ),
        (
            "masked",
            0,
            vec![
                (Client, "GET /masked HTTP/1.1\r\n{H}\r\n"),
                (
                    Upstream,
                    "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nETag: x\r\nContent-Length: 20\r\n\r\nssn 123-45-6789 a@b.",
                ),
            ],
        ),
        (
            "held",
            target::APPROVES,
            vec![
                (Client, "DELETE /hold HTTP/1.1\r\n{H}\r\n"),
                (Upstream, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"),
            ],
        ),
        ("rejected", 0, vec![(Client, "DELETE /hold HTTP/1.1\r\n{H}\r\nGET / HTTP/1.1\r\n{H}\r\n")]),
        (
            "denied",
            0,
            vec![(Client, "GET /deny HTTP/1.1\r\n{H}\r\nHEAD /a HTTP/1.1\r\n{H}Connection: close\r\n\r\n")],
        ),
        ("certified", target::CERTIFIED, vec![(Client, "GET http://gw/a HTTP/1.0\r\nHost: gw\r\n\r\n")]),
        (
            "two-lengths",
            0,
            vec![(
                Client,
                "POST / HTTP/1.1\r\n{H}Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            )],
        ),
        ("unasked", 0, vec![(Upstream, "HTTP/1.1 200 OK\r\n\r\n"), (Client, "GET / HTTP/1.1\r\n{H}\r\n")]),
        (
            "odd-answer",
            0,
            vec![
                (Client, "GET / HTTP/1.1\r\n{H}\r\n"),
                (Upstream, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nabc"),
            ],
        ),
    ];
    let encode = |(name, options, pieces): Seed| {
        let pieces: Vec<_> =
            pieces.into_iter().map(|(side, text)| (side, text.replace("{H}", HEAD).into_bytes())).collect();
        (name, target::input(options, &pieces))
    };
    seeds.into_iter().map(encode).collect()
}

/// `WEIR_CORPUS=write` writes them; otherwise they must be there as they are.
#[test]
fn the_corpus_holds_an_exchange_of_every_kind() {
    for (name, bytes) in seeds() {
        let path = corpus().join(name);
        if std::env::var("WEIR_CORPUS").is_ok_and(|it| it == "write") {
            fs::create_dir_all(corpus()).unwrap();
            fs::write(&path, &bytes).unwrap();
        }
        assert!(fs::read(&path).is_ok_and(|known| known == bytes), "{name}: run with WEIR_CORPUS=write");
    }
}

const ODD: [&[u8]; 10] = [
    b"\r\n",
    b"\r\n\r\n",
    b"\n",
    b"\0",
    b"%2f",
    b"Content-Length: 3\r\n",
    b"Transfer-Encoding: chunked\r\n",
    b"0\r\n\r\n",
    b"\xff",
    b" ",
];

#[test]
fn the_corpus_and_what_is_made_of_it_break_nothing() {
    replay::replay(&replay::kept(&corpus()), &ODD, replay::scaled(2_000), target::exchange);
}
