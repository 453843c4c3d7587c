//! Replays the fuzz targets' corpus, and inputs made of it by a seeded mutator: what a plain `cargo test` can do of fuzzing.

use std::fs;
use std::path::{Path, PathBuf};

use weir_wire::Side::{self, Client, Upstream};

use crate::replay;
use crate::support::wire::{
    bind, call, complete, data_row, describe, error, execute, message, parse, query, ready, result,
    row_description, startup, sync,
};
use crate::targets::{TARGETS, input};

fn corpus(target: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target)
}

const ODD: [&[u8]; 8] = [b"\0", b"\xff", b"\x7f\xff\xff\xff", b"\\u0031", b"\"", b"\\", b"\n", b"123456789"];

#[test]
fn the_corpus_and_what_is_made_of_it_break_nothing() {
    for (name, target) in TARGETS {
        println!("{name}");
        replay::replay(&replay::kept(&corpus(name)), &ODD, replay::scaled(600), target);
    }
}

/// Target, name, options and pieces.
type Seed = (&'static str, &'static str, u8, Vec<(Side, Vec<u8>)>);

/// The conversations that the corpus begins with: one of every kind that the machine knows.
fn seeds() -> Vec<(&'static str, &'static str, Vec<u8>)> {
    let three = [("id", 23, 0), ("ssn", 25, 0), ("note", 25, 0)];
    let row = data_row(&[Some(b"1"), Some(b"RAW"), Some(b"call 123456789")]);
    let trust = [message(b'R', &[0; 4]), message(b'K', &[0, 0, 0, 9, 0, 0, 0, 8]), ready(b'I')].concat();
    let start = startup(&[("user", "job"), ("database", "clinic"), ("options", "-c statement_timeout=5")]);
    let one = |side: Side, bytes: &[u8]| (side, bytes.to_vec());
    let seeds: Vec<Seed> = vec![
        ("startup", "login", 0, vec![
            one(Client, &start), one(Client, &message(b'p', b"token\0")), one(Upstream, &trust),
            one(Client, &query("select 1")), one(Upstream, &[complete("SELECT 1"), ready(b'I')].concat()),
        ]),
        ("startup", "denied", 0, vec![one(Client, &start), one(Client, &message(b'p', b"other\0"))]),
        ("startup", "tls", 0, vec![one(Client, &[0, 0, 0, 8, 4, 0xd2, 0x16, 0x2f]), one(Upstream, b"S")]),
        ("startup", "cancel", 0, vec![one(Client, &[0, 0, 0, 16, 4, 0xd2, 0x16, 0x2e, 0, 0, 0, 1, 0, 0, 0, 2])]),
        ("startup", "scram", 0, vec![
            one(Client, &start), one(Client, &message(b'p', b"token\0")),
            one(Upstream, &message(b'R', b"\0\0\0\x0aSCRAM-SHA-256-PLUS\0SCRAM-SHA-256\0\0")),
            one(Upstream, &message(b'R', b"\0\0\0\x0br=abc,s=c2FsdA==,i=4096")),
        ]),
        ("startup", "newer", 0, vec![one(Client, b"\0\0\0\x20\0\x03\0\x02user\0job\0_pq_.odd\0on\0\0\0")]),
        ("framing", "simple", 1, vec![
            one(Client, &[query("select 1"), query("drop denied")].concat()),
            one(Upstream, &[row_description(&three), row.clone(), complete("SELECT 1"), ready(b'I')].concat()),
            one(Upstream, &[error("42601", "x"), ready(b'I')].concat()),
        ]),
        ("framing", "extended", 1, vec![
            one(Client, &[parse("a", "select 1"), describe(b'S', "a"), bind("p", "a", &["x"], &[0]), execute("p"), sync()].concat()),
            one(Upstream, &[message(b'1', b""), message(b't', &[0, 0]), row_description(&three), message(b'2', b"")].concat()),
            one(Upstream, &[row.clone(), complete("SELECT 1"), ready(b'I')].concat()),
        ]),
        ("framing", "held", 2, vec![
            one(Client, &[parse("", "delete held"), bind("", "", &["7"], &[]), execute(""), sync()].concat()),
            one(Upstream, &[message(b'1', b""), message(b'2', b""), complete("DELETE 1"), ready(b'I')].concat()),
        ]),
        ("framing", "refused-hold", 0, vec![
            one(Client, &[query("begin"), query("delete held")].concat()),
            one(Upstream, &[complete("BEGIN"), ready(b'T'), error("42601", "x"), ready(b'E')].concat()),
        ]),
        ("framing", "call", 1, vec![
            one(Client, &call(20_004, &[b"x"])),
            one(Upstream, &[message(b'3', b"").repeat(2), message(b'1', b""), message(b'2', b"")].concat()),
            one(Upstream, &data_row(&[Some(b"public"), Some(b"ssn"), Some(b"25")])),
            one(Upstream, &[complete("SELECT 1"), message(b'3', b"").repeat(2), ready(b'I')].concat()),
            one(Upstream, &[result(Some(b"123456789")), ready(b'I')].concat()),
        ]),
        ("framing", "beside", 1, vec![
            one(Upstream, &[message(b'N', b"SNOTICE\0M123456789\0\0"), message(b'A', b"\0\0\0\x09a\x00123456789\0"), message(b'S', b"a\0b\0")].concat()),
            one(Upstream, &message(b'E', b"SFATAL\0VFATAL\0C57P01\0Mbye\0\0")),
        ]),
        ("framing", "prepared", 4, vec![
            one(Client, &[query("prepare p as select 1"), query("execute p"), query("deallocate p")].concat()),
            one(Upstream, &[complete("PREPARE"), ready(b'I'), complete("SELECT 1"), ready(b'I')].concat()),
        ]),
        ("copy", "out-text", 0, vec![
            one(Upstream, &message(b'd', b"1\tR\\tAW\tcall 123456789\n")),
            one(Upstream, &[message(b'c', b""), complete("COPY 1"), ready(b'I')].concat()),
        ]),
        ("copy", "out-csv", 1, vec![
            one(Upstream, &[message(b'd', b"id,ssn,note\n"), message(b'd', b"1,\"R\"\"A\",\"123456789\n\"\n")].concat()),
        ]),
        ("copy", "out-binary", 2, vec![
            one(Upstream, &message(b'd', b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0\0\x03\0\0\0\x01a\0\0\0\x03RAW\xff\xff\xff\xff")),
            one(Upstream, &[message(b'd', b"\xff\xff"), message(b'c', b"")].concat()),
        ]),
        ("copy", "in-text", 3, vec![
            one(Client, &[message(b'd', b"1\tRA"), message(b'd', b"W\t\\x31\\0623456789\n2\t\\N\tx")].concat()),
            one(Client, &message(b'c', b"")),
            one(Upstream, &[complete("COPY 2"), ready(b'I')].concat()),
        ]),
        ("copy", "in-csv", 4, vec![
            one(Client, &message(b'd', b"id,ssn,note\n1,\"R\\\"A\nW\",x\n")), one(Client, &message(b'f', b"no\0")),
        ]),
        ("copy", "in-binary", 5, vec![
            one(Client, &message(b'd', b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0\0\x03\0\0\0\x01a\0\0\0\x03RAW\xff\xff\xff\xff\xff\xff")),
            one(Client, &message(b'c', b"")),
        ]),
        ("copy", "in-described", 6, vec![
            one(Client, &message(b'd', b"1\tRAW\tx\n\\.\n")), one(Upstream, &[error("22P04", "bad"), ready(b'I')].concat()),
        ]),
        ("copy", "in-clear", 7, vec![one(Client, &message(b'd', b"1,123456789,x\r\n"))]),
        // What ends the session stands behind messages that still pass.
        ("copy", "behind-data", 7, vec![one(Client, &[message(b'd', b"1,x,y\n"), message(b'6', b"")].concat())]),
        ("copy", "behind-rows", 0, vec![
            one(Upstream, &[message(b'd', b"1\tRAW\tx\n"), message(b'd', b"2\tRAW\tx\n"), b"c\0\0\0\0".to_vec()].concat()),
        ]),
    ];
    let encode = |(target, name, options, pieces): Seed| {
        let pieces: Vec<_> = pieces.iter().map(|(side, bytes)| (*side, bytes.as_slice())).collect();
        (target, name, input(options, &pieces))
    };
    seeds.into_iter().map(encode).collect()
}

/// `WEIR_CORPUS=write` writes them; otherwise they must be there as they are.
#[test]
fn the_corpus_holds_a_conversation_of_every_kind() {
    for (target, name, bytes) in seeds() {
        let path = corpus(target).join(name);
        if std::env::var("WEIR_CORPUS").is_ok_and(|it| it == "write") {
            fs::create_dir_all(corpus(target)).unwrap();
            fs::write(&path, &bytes).unwrap();
        }
        assert!(
            fs::read(&path).is_ok_and(|known| known == bytes),
            "{target}/{name}: run with WEIR_CORPUS=write"
        );
    }
}
