//! Somebody in the middle: bits turned, packets injected, dropped, repeated and swapped. Nothing of it goes unnoticed.

use weir_ssh::algorithms::{Algorithms, Cipher, Mac};
use weir_ssh::{Error, RekeyLimits};

use crate::driver::keys::Keys;
use crate::driver::legs::{Leg, carry, configs, pair};
use crate::suites::{CIPHERS, only};

fn keys() -> Keys {
    let keys = Keys::new();
    keys.make("host", "ed25519");
    keys
}

fn of(keys: &Keys, cipher: Cipher, mac: Mac) -> (Leg, Leg) {
    pair(&configs(keys, "host", only(cipher, mac), Algorithms::default(), RekeyLimits::default()))
}

/// Is the packet noticed to be wrong, at the latest when all that it claims to be is there?
fn notices(server: &mut Leg, packet: &[u8]) -> bool {
    server.input.extend_from_slice(packet);
    // A turned length may promise more than came.
    server.input.resize(server.input.len() + (300 << 10), 0x5a);
    server.take().is_err()
}

#[test]
fn a_bit_turned_anywhere_in_a_packet_is_noticed_and_nothing_of_it_is_delivered() {
    let keys = keys();
    for (cipher, mac) in CIPHERS {
        // Fresh keys for each would take long: the first turned bit ends a connection, so as many pairs are made as a packet has bytes,
        // with another bit in each.
        let (mut client, _) = of(&keys, cipher, mac);
        client.send(&[94; 40]);
        let len = client.out.len();
        for at in 0..len {
            let (mut client, mut server) = of(&keys, cipher, mac);
            client.send(&[94; 40]);
            let mut packet = client.out.split();
            packet[at] ^= 1 << (at % 8);
            assert!(notices(&mut server, &packet), "{cipher:?} {mac:?}: byte {at} of {len}");
            assert!(server.messages.is_empty());
        }
    }
}

#[test]
fn packets_dropped_repeated_or_swapped_are_noticed() {
    let keys = keys();
    for (cipher, mac) in CIPHERS {
        for meddle in [&[1][..], &[0, 0], &[1, 0], &[0, 2]] {
            let (mut client, mut server) = of(&keys, cipher, mac);
            let packets: Vec<_> = (0..3u8)
                .map(|number| {
                    client.send(&[94, number, 0, 0, 0]);
                    client.out.split()
                })
                .collect();
            let noticed = meddle.iter().any(|at| {
                server.input.extend_from_slice(&packets[*at]);
                server.take().is_err()
            });
            assert!(noticed || notices(&mut server, &[]), "{cipher:?} {mac:?} {meddle:?}");
        }
    }
}

/// An unencrypted packet as anybody in the middle can make it.
fn clear(payload: &[u8]) -> Vec<u8> {
    let mut padding = 8 - (5 + payload.len()) % 8;
    if padding < 4 {
        padding += 8;
    }
    let length = u32::try_from(1 + payload.len() + padding).unwrap();
    [&length.to_be_bytes()[..], &[u8::try_from(padding).unwrap()], payload, &vec![0; padding]].concat()
}

const IGNORE: &[u8] = &[2, 0, 0, 0, 0];

/// Packets of a stream that begins with an identification, up to the one with `last` as its number.
fn split_after(stream: &[u8], last: u8) -> usize {
    let mut at = 1 + stream.iter().position(|byte| *byte == b'\n').unwrap_or(0);
    if !stream.starts_with(b"SSH-") {
        at = 0;
    }
    loop {
        let length = u32::from_be_bytes(stream[at..at + 4].try_into().unwrap()) as usize;
        let number = stream[at + 5];
        at += 4 + length;
        if number == last {
            return at;
        }
    }
}

#[test]
fn the_terrapin_attack_is_noticed_by_either_end() {
    let keys = keys();
    for (cipher, mac) in CIPHERS {
        let offer = only(cipher, mac);
        let configs = configs(&keys, "host", offer, Algorithms::default(), RekeyLimits::default());
        // An IGNORE is put before the server's NEWKEYS, and its first sealed packet (EXT_INFO) cut, so that the counts agree again.
        let (mut client, mut server) = (Leg::new(&configs.0), Leg::new(&configs.1));
        carry(&mut client, &mut server, usize::MAX).unwrap();
        carry(&mut server, &mut client, usize::MAX).unwrap();
        carry(&mut client, &mut server, usize::MAX).unwrap();
        let stream = server.out.split();
        let reply = split_after(&stream, 31);
        client.input.extend_from_slice(&stream[..reply]);
        client.take().unwrap();
        client.input.extend_from_slice(&clear(IGNORE));
        let error = client.take().unwrap_err();
        assert!(matches!(error, Error::Protocol(_)), "{cipher:?}: {error}");

        // The same in the other direction, before anything else.
        let (mut client, mut server) = (Leg::new(&configs.0), Leg::new(&configs.1));
        let stream = client.out.split();
        let ident = 1 + stream.iter().position(|byte| *byte == b'\n').unwrap();
        server.input.extend_from_slice(&stream[..ident]);
        server.input.extend_from_slice(&clear(IGNORE));
        server.input.extend_from_slice(&stream[ident..]);
        let error = server.take().unwrap_err();
        assert!(matches!(error, Error::Protocol(_)), "{cipher:?}: {error}");
    }
}

#[test]
fn a_cut_first_packet_is_noticed() {
    let keys = keys();
    for (cipher, mac) in CIPHERS {
        let configs =
            configs(&keys, "host", only(cipher, mac), Algorithms::default(), RekeyLimits::default());
        let (mut client, mut server) = (Leg::new(&configs.0), Leg::new(&configs.1));
        carry(&mut client, &mut server, usize::MAX).unwrap();
        carry(&mut server, &mut client, usize::MAX).unwrap();
        carry(&mut client, &mut server, usize::MAX).unwrap();
        let stream = server.out.split();
        // Everything to NEWKEYS; the EXT_INFO behind it is left out.
        let end = split_after(&stream, 21);
        assert!(stream.len() > end);
        client.input.extend_from_slice(&stream[..end]);
        client.take().unwrap();
        carry(&mut client, &mut server, usize::MAX).unwrap();
        server.send(&[94, 0, 0, 0, 0]);
        let packet = server.out.split();
        assert!(notices(&mut client, &packet), "{cipher:?} {mac:?}");
        assert!(client.messages.is_empty());
    }
}

/// A peer that does not count strictly.
fn lax(stream: &[u8]) -> Vec<u8> {
    let text = b"kex-strict-";
    let at = stream.windows(text.len()).position(|it| it == text).expect("the marker");
    let mut stream = stream.to_vec();
    stream[at] = b'x';
    stream
}

#[test]
fn without_strict_counting_only_ciphers_that_notice_a_cut_are_spoken() {
    let keys = keys();
    for (cipher, mac) in CIPHERS {
        let configs =
            configs(&keys, "host", only(cipher, mac), Algorithms::default(), RekeyLimits::default());
        let (mut client, mut server) = (Leg::new(&configs.0), Leg::new(&configs.1));
        let stream = lax(&client.out.split());
        server.input.extend_from_slice(&stream);
        let refused = server.take().is_err_and(|error| matches!(error, Error::NotStrict(_)));
        let unsafe_ = cipher == Cipher::ChaCha20Poly1305 || (!cipher.is_aead() && mac.is_etm());
        assert_eq!(refused, unsafe_, "{cipher:?} {mac:?}");
        let stream = lax(&server.out.split());
        client.input.extend_from_slice(&stream);
        let refused = client.take().is_err_and(|error| matches!(error, Error::NotStrict(_)));
        assert_eq!(refused, unsafe_, "{cipher:?} {mac:?}");
    }
}

#[test]
fn any_bit_turned_in_the_exchange_keeps_keys_from_being_agreed() {
    let keys = keys();
    let offer = only(Cipher::Aes256Gcm, Mac::Sha256);
    let configs = configs(&keys, "host", offer, Algorithms::default(), RekeyLimits::default());
    // The padding of packets in the clear says nothing, and is under no hash.
    let stream = Leg::new(&configs.1).out;
    let ident = 1 + stream.iter().position(|byte| *byte == b'\n').unwrap();
    let len = stream.len() - usize::from(stream[ident + 4]);
    for at in (0..len).step_by(3) {
        let (mut client, mut server) = (Leg::new(&configs.0), Leg::new(&configs.1));
        server.out[at] ^= 1;
        let done = (0..6).try_for_each(|_| {
            carry(&mut server, &mut client, usize::MAX)?;
            carry(&mut client, &mut server, usize::MAX)
        });
        // Either it is an error at once, or somebody waits for ever for what a turned length promised: never keys.
        assert!(!client.established, "byte {at}: {done:?}");
    }
}
