//! Every key exchange method, host key algorithm, cipher and MAC, in any cut of the bytes.

use weir_ssh::algorithms::{Algorithms, Cipher, HostKeyAlgorithm, Kex, Mac, SignatureAlgorithm};
use weir_ssh::{Error, RekeyLimits};

use crate::driver::keys::Keys;
use crate::driver::legs::{Leg, configs, pair, settle};

pub(crate) const CIPHERS: [(Cipher, Mac); 11] = [
    (Cipher::Aes256Gcm, Mac::Sha256),
    (Cipher::Aes128Gcm, Mac::Sha256),
    (Cipher::ChaCha20Poly1305, Mac::Sha256),
    (Cipher::Aes256Ctr, Mac::Sha256),
    (Cipher::Aes256Ctr, Mac::Sha512),
    (Cipher::Aes256Ctr, Mac::Sha256Etm),
    (Cipher::Aes256Ctr, Mac::Sha512Etm),
    (Cipher::Aes128Ctr, Mac::Sha256),
    (Cipher::Aes128Ctr, Mac::Sha512),
    (Cipher::Aes128Ctr, Mac::Sha256Etm),
    (Cipher::Aes128Ctr, Mac::Sha512Etm),
];

pub(crate) fn only(cipher: Cipher, mac: Mac) -> Algorithms {
    Algorithms { ciphers: vec![cipher], macs: vec![mac], ..Algorithms::default() }
}

#[test]
fn every_cipher_carries_every_length_both_ways_for_every_cut() {
    let keys = Keys::new();
    keys.make("host", "ed25519");
    for (cipher, mac) in CIPHERS {
        let offer = only(cipher, mac);
        let configs = configs(&keys, "host", Algorithms::default(), offer, RekeyLimits::default());
        for chunk in [1, 7, usize::MAX] {
            let (mut client, mut server) = pair(&configs);
            let lengths = (1..70).chain([255, 256, 1000, 32 << 10]);
            let messages: Vec<Vec<u8>> =
                lengths.map(|len| [vec![94], vec![len as u8; len - 1]].concat()).collect();
            for message in &messages {
                client.send(message);
                server.send(message);
            }
            settle(&mut client, &mut server, chunk).unwrap();
            assert!(client.messages == messages && server.messages == messages, "{cipher:?} {mac:?} {chunk}");
        }
    }
}

#[test]
fn every_key_exchange_and_every_host_key_is_spoken_by_both_ends() {
    use SignatureAlgorithm::{EcdsaP256, Ed25519, RsaSha256, RsaSha512};
    let keys = Keys::new();
    keys.make("ed25519", "ed25519").make("ecdsa", "ecdsa").make("rsa", "rsa");
    for kex in [Kex::MlKem768X25519, Kex::Curve25519, Kex::Curve25519Libssh, Kex::NistP256, Kex::NistP384] {
        for (host, signature) in
            [("ed25519", Ed25519), ("ecdsa", EcdsaP256), ("rsa", RsaSha512), ("rsa", RsaSha256)]
        {
            let host_keys = vec![HostKeyAlgorithm { signature, certified: false }];
            let offer = Algorithms { kex: vec![kex], host_keys, ..Algorithms::default() };
            for chunk in [1, usize::MAX] {
                let configs =
                    configs(&keys, host, offer.clone(), Algorithms::default(), RekeyLimits::default());
                let (mut client, mut server) = (Leg::new(&configs.0), Leg::new(&configs.1));
                settle(&mut client, &mut server, chunk).unwrap();
                assert!(client.established && server.established, "{kex:?} {host}");
                assert_eq!(client.transport.session_id(), server.transport.session_id());
                assert!(client.transport.is_strict() && server.transport.is_strict());
            }
        }
    }
}

#[test]
fn a_server_says_what_it_can_verify() {
    let keys = Keys::new();
    keys.make("host", "ed25519");
    let offer = Algorithms::default();
    let (client, _) = pair(&configs(&keys, "host", offer.clone(), offer, RekeyLimits::default()));
    assert_eq!(client.transport.signature_algorithms(), SignatureAlgorithm::ALL);
}

#[test]
fn a_server_with_another_key_is_not_trusted() {
    let keys = Keys::new();
    keys.make("host", "ed25519").make("other", "ed25519");
    let offer = Algorithms::default();
    let (client, _) = configs(&keys, "other", offer.clone(), offer.clone(), RekeyLimits::default());
    let (_, server) = configs(&keys, "host", offer.clone(), offer, RekeyLimits::default());
    let (mut client, mut server) = (Leg::new(&client), Leg::new(&server));
    let error = settle(&mut client, &mut server, usize::MAX).unwrap_err();
    assert!(matches!(error, Error::HostKey(_)), "{error}");
    assert!(!client.established);
}

#[test]
fn packets_longer_than_allowed_before_authentication_are_refused_before_they_are_there() {
    let keys = Keys::new();
    keys.make("host", "ed25519");
    let offer = Algorithms::default();
    let configs = configs(&keys, "host", offer.clone(), offer, RekeyLimits::default());
    let mut server = Leg::new(&configs.1);
    server.input.extend_from_slice(b"SSH-2.0-x\r\n");
    server.input.extend_from_slice(&35_004u32.to_be_bytes());
    let error = server.take().unwrap_err();
    assert!(matches!(error, Error::Limit(_)), "{error}");
}
