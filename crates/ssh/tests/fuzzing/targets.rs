//! What is fuzzed: each target takes any bytes, drives a part of the crate with them and checks what must always hold. The same bodies
//! serve `fuzz/` and `fuzzing`, which replays its corpus.
//!
//! An input is an options byte, then pieces: two bytes with the side (the high bit) and the length, then as many bytes.
#![allow(unreachable_pub, reason = "fuzz targets of another crate call them")]

use std::cell::RefCell;
use std::sync::{Arc, OnceLock};

use bytes::BytesMut;
use ring::rand::SystemRandom;
use ring::signature::Ed25519KeyPair;
use weir_ssh::algorithms::{Algorithms, Cipher, Kex, Mac};
use weir_ssh::auth::{Answer, AuthSettings, Evidence, ServerAuth};
use weir_ssh::relay::Side;
use weir_ssh::{Config, Error, Event, HostKey, HostTrust, Limits, RekeyLimits, SigningKey, Transport};

use crate::books;

/// Panics where something does not hold.
pub type Target = fn(&[u8]);

/// By name, as in `fuzz/fuzz_targets` and `fuzz/corpus`.
pub const TARGETS: [(&str, Target); 4] =
    [("opening", opening), ("relay", books::relay), ("sealed", sealed), ("userauth", userauth)];

const NOW: u64 = 1_800_000_000_000;

/// Encodes pieces as an input.
pub fn input(options: u8, pieces: &[(Side, Vec<u8>)]) -> Vec<u8> {
    let mut out = vec![options];
    for (side, bytes) in pieces {
        let side = if *side == Side::Upstream { 0x8000 } else { 0 };
        out.extend_from_slice(&(side | u16::try_from(bytes.len()).unwrap()).to_be_bytes());
        out.extend_from_slice(bytes);
    }
    out
}

pub fn pieces(input: &[u8]) -> (u8, Vec<(Side, &[u8])>) {
    let (options, mut rest) = input.split_first().map_or((0, &[][..]), |(options, rest)| (*options, rest));
    let mut out = Vec::new();
    while let Some((head, tail)) = rest.split_first_chunk() {
        let head = u16::from_be_bytes(*head);
        let side = if head & 0x8000 == 0 { Side::Client } else { Side::Upstream };
        let (piece, tail) = tail.split_at(usize::from(head & 0x7fff).min(tail.len()));
        out.push((side, piece));
        rest = tail;
    }
    (options, out)
}

/// The host key: made once, since no outcome depends on which it is.
fn key() -> &'static str {
    static KEY: OnceLock<String> = OnceLock::new();
    KEY.get_or_init(|| {
        use base64::Engine;
        let document = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).unwrap();
        let text = base64::engine::general_purpose::STANDARD.encode(document);
        format!("-----BEGIN PRIVATE KEY-----\n{text}\n-----END PRIVATE KEY-----\n")
    })
}

fn configs(algorithms: Algorithms) -> (Arc<Config>, Arc<Config>) {
    let host = HostKey::new(SigningKey::from_file_text(key()).unwrap());
    let pinned = vec![SigningKey::from_file_text(key()).unwrap().public().clone()];
    let (limits, rekey) = (Limits::default(), RekeyLimits::default());
    let trust = HostTrust { pinned, ..HostTrust::default() };
    let client = Config::client(trust, algorithms.clone(), limits.clone(), rekey).unwrap();
    (client, Config::server(vec![host], algorithms, limits, rekey).unwrap())
}

struct Leg {
    transport: Transport,
    input: Vec<u8>,
    out: BytesMut,
    messages: Vec<Vec<u8>>,
}

impl Leg {
    fn new(config: &Arc<Config>) -> Self {
        let mut out = BytesMut::new();
        let transport = Transport::new(config.clone(), NOW, &mut out).unwrap();
        Self { transport, input: Vec::new(), out, messages: Vec::new() }
    }

    fn feed(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.input.extend_from_slice(bytes);
        loop {
            let before = self.input.clone();
            let progress = self.transport.next(&mut self.input, NOW, &mut self.out)?;
            match progress.event {
                Event::NeedMore => {
                    assert!(
                        progress.consumed == 0 && self.input == before,
                        "what is not consumed stays as it is"
                    );
                    return Ok(());
                }
                Event::Message(at) => {
                    assert!(!at.is_empty() && at.end <= progress.consumed);
                    self.messages.push(self.input[at].to_vec());
                }
                Event::Handled | Event::Established => {}
            }
            assert!(progress.consumed > 0);
            self.input.drain(..progress.consumed);
        }
    }
}

fn joined(configs: &(Arc<Config>, Arc<Config>)) -> (Leg, Leg) {
    let (mut client, mut server) = (Leg::new(&configs.0), Leg::new(&configs.1));
    while !client.out.is_empty() || !server.out.is_empty() {
        let bytes = client.out.split();
        server.feed(&bytes).unwrap();
        let bytes = server.out.split();
        client.feed(&bytes).unwrap();
    }
    (client, server)
}

/// Any bytes as a peer's, from the first one on. However they are cut, the outcome is the same as long as no keys are in use, for
/// which each run has its own.
pub fn opening(input: &[u8]) {
    thread_local! { static CONFIGS: (Arc<Config>, Arc<Config>) = configs(Algorithms::default()); }
    let (options, pieces) = pieces(input);
    let stream: Vec<u8> = pieces.iter().flat_map(|(_, piece)| piece.iter().copied()).collect();
    let run = |chunk: usize| {
        CONFIGS.with(|configs| {
            let mut leg = Leg::new(if options & 1 == 1 { &configs.0 } else { &configs.1 });
            let result = stream.chunks(chunk.max(1)).try_for_each(|piece| leg.feed(piece));
            assert!(leg.messages.is_empty(), "a message before there are keys");
            (leg.transport.session_id().is_some(), result)
        })
    };
    let (whole, bytewise) = (run(stream.len()), run(1));
    assert_eq!(whole.0, bytewise.0);
    if !whole.0 {
        assert_eq!(whole.1, bytewise.1);
    }
}

/// Messages sealed by one end and meddled with before the other opens them: it delivers those before the first change, and nothing else.
/// A client's pieces are messages; an upstream's are changes: two bytes say where, each further one is turned into the bytes there.
pub fn sealed(input: &[u8]) {
    const SUITES: [(Cipher, Mac); 7] = [
        (Cipher::Aes256Gcm, Mac::Sha256),
        (Cipher::Aes128Gcm, Mac::Sha256),
        (Cipher::ChaCha20Poly1305, Mac::Sha256),
        (Cipher::Aes256Ctr, Mac::Sha256),
        (Cipher::Aes128Ctr, Mac::Sha512),
        (Cipher::Aes256Ctr, Mac::Sha256Etm),
        (Cipher::Aes128Ctr, Mac::Sha512Etm),
    ];
    let (options, pieces) = pieces(input);
    let (cipher, mac) = SUITES[usize::from(options) % SUITES.len()];
    let algorithms = Algorithms {
        kex: vec![Kex::Curve25519],
        ciphers: vec![cipher],
        macs: vec![mac],
        ..Algorithms::default()
    };
    let (mut client, mut server) = joined(&configs(algorithms));
    let mut sent = Vec::new();
    for (_, piece) in pieces.iter().filter(|(side, piece)| *side == Side::Client && !piece.is_empty()) {
        let message = [&[94], *piece].concat();
        client.transport.send(&message, &[], &mut client.out).unwrap();
        sent.push(message);
    }
    let sound = client.out.split().to_vec();
    let mut stream = sound.clone();
    for (_, piece) in pieces.iter().filter(|(side, _)| *side == Side::Upstream) {
        let Some((at, change)) = piece.split_first_chunk() else { continue };
        let at = usize::from(u16::from_be_bytes(*at));
        for (byte, turned) in stream.iter_mut().skip(at).zip(change) {
            *byte ^= turned;
        }
    }
    let result = stream.chunks(1 + usize::from(options)).try_for_each(|piece| server.feed(piece));
    assert!(sent.starts_with(&server.messages), "only what was sent, in order");
    if stream == sound {
        assert!(result.is_ok() && server.messages == sent);
    } else {
        assert!(server.messages.len() < sent.len(), "what was changed is not delivered");
    }
}

/// Any messages during authentication: nobody comes in but by the driver's word.
pub fn userauth(input: &[u8]) {
    thread_local! { static SERVER: RefCell<Leg> = RefCell::new(joined(&configs(Algorithms::default())).1); }
    let (options, pieces) = pieces(input);
    let limits = Limits::default();
    let settings =
        AuthSettings { authorities: Vec::new(), revocations: None, tokens: options & 1 == 0, limits };
    let mut auth = ServerAuth::new(Arc::new(settings), None);
    let (mut accepted, mut now, mut answers) = (false, NOW, 0);
    SERVER.with_borrow_mut(|Leg { transport, out, .. }| {
        for (_, piece) in pieces {
            out.clear();
            if auth.is_waiting() {
                now += 10_000;
                if auth.tick(transport, now, out).is_err() {
                    break;
                }
            }
            let asked = match auth.message(piece, transport, now, out) {
                Ok(asked) => asked,
                Err(_) => break,
            };
            if let Some(ask) = asked {
                let Evidence::Token(token) = ask.evidence else { panic!("no authority is trusted") };
                assert!(options & 1 == 0 && !token.is_empty());
                answers += 1;
                accepted = token == b"token";
                let answer = if accepted { Answer::Accept } else { Answer::Refuse(None) };
                if auth.answer(answer, transport, now, out).is_err() {
                    break;
                }
            }
        }
    });
    assert_eq!(auth.is_done(), accepted);
    assert!(answers <= 6);
}
