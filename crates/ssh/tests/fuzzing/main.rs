//! Replays the fuzz targets' corpus, and inputs made of it by a seeded mutator: what a plain `cargo test` can do of fuzzing.
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test's failure"
)]

mod books;
#[path = "../../../wire/tests/replay/mod.rs"]
mod replay;
mod targets;
#[path = "../auth_and_relay/text.rs"]
#[allow(dead_code, reason = "the tests that this module belongs to use the rest")]
mod text;

use std::fs;
use std::path::{Path, PathBuf};

use targets::{TARGETS, input};
use weir_ssh::relay::Side::{self, Client, Upstream};

fn corpus(target: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target)
}

const ODD: [&[u8]; 6] = [b"\0", b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"\0\0\0\0", b"\x5e", b"\x62"];

#[test]
fn the_corpus_and_what_is_made_of_it_break_nothing_in_ssh() {
    for (name, target) in TARGETS {
        println!("{name}");
        replay::replay(&replay::kept(&corpus(name)), &ODD, replay::scaled(1_000), target);
    }
}

/// A packet in the clear.
fn clear(payload: &[u8]) -> Vec<u8> {
    let mut padding = 8 - (5 + payload.len()) % 8;
    if padding < 4 {
        padding += 8;
    }
    let length = u32::try_from(1 + payload.len() + padding).unwrap();
    [&length.to_be_bytes()[..], &[u8::try_from(padding).unwrap()], payload, &vec![0; padding]].concat()
}

fn offer(markers: &str) -> Vec<u8> {
    let kex = format!("curve25519-sha256,mlkem768x25519-sha256{markers}");
    let mut offer = text::text(20);
    offer.0.extend_from_slice(&[7; 16]);
    for list in [
        &kex[..],
        "ssh-ed25519",
        "aes256-gcm@openssh.com",
        "aes128-ctr",
        "hmac-sha2-256",
        "",
        "none",
        "none",
        "",
        "",
    ] {
        offer = offer.string(list);
    }
    offer.flag(false).word(0).0
}

type Seed = (&'static str, &'static str, u8, Vec<(Side, Vec<u8>)>);

/// The conversations that the corpus begins with.
fn seeds() -> Vec<Seed> {
    use text::{adjust, confirm, data, exec, open, plain, request, text};
    let one = |bytes: &[u8]| (Client, bytes.to_vec());
    let ident = b"SSH-2.0-peer\r\n";
    let strict = clear(&offer(",kex-strict-c-v00@openssh.com,kex-strict-s-v00@openssh.com,ext-info-c"));
    let mut guess = offer("");
    let at = guess.len() - 5;
    guess[at] = 1;
    // A point of the curve: the base point.
    let share = [&[9][..], &[0; 31]].concat();
    let init = clear(&text(30).string(&share).0);
    let reply = clear(&text(31).string("key").string(&share).string("signature").0);
    let user = |method: &str| text(50).string("job+web").string("ssh-connection").string(method);
    let key = text(0).string("ssh-ed25519").string([1; 32]).0;
    let certificate = text(0)
        .string("ssh-ed25519-cert-v01@openssh.com")
        .string("nonce")
        .string([1; 32])
        .word(0)
        .word(7)
        .word(1)
        .string("id")
        .string(&text(0).string("job").0[1..])
        .word(0)
        .word(0)
        .word(u32::MAX)
        .word(u32::MAX)
        .string(&text(0).string("force-command").string(&text(0).string("id").0[1..]).0[1..])
        .string(&text(0).string("permit-pty").string("").0[1..])
        .string("")
        .string(&key[1..])
        .string(&text(0).string("ssh-ed25519").string([2; 64]).0[1..]);
    let by_key =
        user("publickey").flag(true).string("ssh-ed25519-cert-v01@openssh.com").string(&certificate.0[1..]);
    let service = one(&text(5).string("ssh-userauth").0);
    let up = |bytes: Vec<u8>| (Upstream, bytes);
    let down = |bytes: Vec<u8>| (Client, bytes);
    vec![
        (
            "opening",
            "server",
            0,
            vec![one(ident), one(&strict), one(&init), one(&clear(&[21])), one(&[0; 64])],
        ),
        ("opening", "client", 1, vec![one(b"hello\r\n"), one(ident), one(&strict), one(&reply)]),
        (
            "opening",
            "guess",
            0,
            vec![one(ident), one(&clear(&guess)), one(&clear(&text(30).string("x").0)), one(&init)],
        ),
        (
            "opening",
            "others",
            0,
            vec![
                one(ident),
                one(&clear(&text(2).string("ignored").0)),
                one(&clear(&text(1).word(2).string("bye").string("").0)),
            ],
        ),
        ("sealed", "turned", 0, vec![one(b"\x5emessage"), one(b"\x5e"), up(vec![0, 9])]),
        ("sealed", "chacha", 2, vec![one(&[0x5e; 90]), up(vec![0, 40, 0, 0])]),
        ("sealed", "counter", 5, vec![one(&[0x5e; 30]), one(&[0x5e; 31])]),
        (
            "userauth",
            "password",
            0,
            vec![service.clone(), one(&user("none").0), one(&user("password").flag(false).string("token").0)],
        ),
        (
            "userauth",
            "wrong",
            0,
            vec![
                service.clone(),
                one(&user("password").flag(false).string("other").0),
                one(&user("password").flag(true).string("a").string("b").0),
            ],
        ),
        (
            "userauth",
            "prompted",
            0,
            vec![
                service.clone(),
                one(&user("keyboard-interactive").string("").string("").0),
                one(&text(61).word(1).string("token").0),
            ],
        ),
        (
            "userauth",
            "certificate",
            1,
            vec![service, one(&by_key.string(&text(0).string("ssh-ed25519").string([3; 64]).0[1..]).0)],
        ),
        (
            "relay",
            "exec",
            0,
            vec![
                down(open(1, 100)),
                up(confirm(1, 2, 50)),
                down(exec(2, "id")),
                up(plain(99, 1)),
                up(data(1, b"out")),
                down(adjust(2, 3)),
                up(request(1, "exit-status", false)),
                up(plain(96, 1)),
                up(plain(97, 1)),
                down(plain(97, 2)),
            ],
        ),
        (
            "relay",
            "held",
            1,
            vec![
                down(open(1, 100)),
                up(confirm(1, 2, 50)),
                down(exec(2, "hold")),
                down(data(2, b"in")),
                down(plain(96, 2)),
                down(exec(2, "deny")),
                up(plain(99, 1)),
            ],
        ),
        (
            "relay",
            "denied",
            0,
            vec![
                down(open(1, 4)),
                up(confirm(1, 2, 50)),
                down(request(2, "shell", true)),
                down(exec(2, "deny")),
                up(plain(99, 1)),
                down(adjust(2, 100)),
                up(plain(97, 1)),
                down(plain(97, 2)),
            ],
        ),
        (
            "relay",
            "rewritten",
            2,
            vec![
                down(open(1, 20)),
                up(confirm(1, 2, 50)),
                up(data(1, b"0123456789")),
                up(data(1, b"0123456789")),
                up(plain(96, 1)),
                down(adjust(2, 9)),
                down(adjust(2, 90)),
                up(plain(97, 1)),
            ],
        ),
        (
            "relay",
            "global",
            0,
            vec![
                down(text(80).string("tcpip-forward").flag(true).string("h").word(0).0),
                up(text(81).word(99).0),
                up(text(90)
                    .string("forwarded-tcpip")
                    .word(5)
                    .word(9)
                    .word(9)
                    .string("h")
                    .word(99)
                    .string("o")
                    .word(1)
                    .0),
                down(confirm(5, 6, 9)),
                up(text(80).string("hostkeys-00@openssh.com").flag(false).0),
                down(text(80).string("keepalive@openssh.com").flag(true).0),
                up(vec![82]),
            ],
        ),
    ]
}

/// `WEIR_CORPUS=write` writes them; otherwise they must be there as they are.
#[test]
fn the_corpus_holds_an_ssh_conversation_of_every_kind() {
    for (target, name, options, pieces) in seeds() {
        let path = corpus(target).join(name);
        let bytes = input(options, &pieces);
        if std::env::var("WEIR_CORPUS").is_ok_and(|it| it == "write") {
            fs::create_dir_all(corpus(target)).unwrap();
            fs::write(&path, &bytes).unwrap();
        }
        assert!(fs::read(&path).is_ok_and(|it| it == bytes), "{target}/{name}: run with WEIR_CORPUS=write");
    }
}
