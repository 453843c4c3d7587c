//! Keys changed while messages go both ways.

use weir_ssh::algorithms::Algorithms;
use weir_ssh::{Error, RekeyLimits};

use crate::driver::keys::Keys;
use crate::driver::legs::{Leg, NOW, carry, configs, pair, settle};
use crate::suites::{CIPHERS, only};

fn message(number: usize) -> Vec<u8> {
    let mut message = vec![94];
    message.extend_from_slice(&number.to_be_bytes());
    message.resize(600, 7);
    message
}

#[test]
fn keys_change_by_bytes_and_by_packets_and_no_message_is_lost() {
    let keys = Keys::new();
    keys.make("host", "ed25519");
    for (cipher, mac) in CIPHERS {
        let by_bytes = RekeyLimits { bytes: 20_000, ..RekeyLimits::default() };
        let by_packets = RekeyLimits { packets: 30, ..RekeyLimits::default() };
        for rekey in [by_bytes, by_packets] {
            let configs = configs(&keys, "host", only(cipher, mac), Algorithms::default(), rekey);
            let (mut client, mut server) = pair(&configs);
            let first = client.transport.session_id().unwrap().to_vec();
            let all: Vec<Vec<u8>> = (0..300).map(message).collect();
            for each in &all {
                client.send(each);
                server.send(each);
                carry(&mut client, &mut server, 100).unwrap();
                carry(&mut server, &mut client, 1000).unwrap();
            }
            settle(&mut client, &mut server, usize::MAX).unwrap();
            assert!(client.messages == all && server.messages == all, "{cipher:?} {mac:?}");
            assert_eq!(client.transport.session_id(), Some(&first[..]));
        }
    }
}

#[test]
fn keys_change_by_time_where_nothing_is_sent() {
    let keys = Keys::new();
    keys.make("host", "ed25519");
    let rekey = RekeyLimits { age_ms: 1000, ..RekeyLimits::default() };
    let offer = Algorithms::default();
    let (mut client, mut server) = pair(&configs(&keys, "host", offer.clone(), offer, rekey));
    assert_eq!(client.transport.deadline_ms(), Some(NOW + 1000));
    client.transport.tick(NOW + 999, &mut client.out).unwrap();
    assert!(client.out.is_empty());
    client.transport.tick(NOW + 1000, &mut client.out).unwrap();
    assert!(!client.out.is_empty());
    assert_eq!(client.transport.deadline_ms(), None);
    settle(&mut client, &mut server, usize::MAX).unwrap();
    client.send(&message(1));
    settle(&mut client, &mut server, usize::MAX).unwrap();
    assert_eq!(server.messages, [message(1)]);
}

/// The first message of a leg that waits for the other's part of an exchange.
fn exchanging() -> (Keys, Leg, Leg) {
    let keys = Keys::new();
    keys.make("host", "ed25519");
    let rekey = RekeyLimits { packets: 20, ..RekeyLimits::default() };
    let offer = Algorithms::default();
    let configs = configs(&keys, "host", offer.clone(), offer, rekey);
    let (mut client, server) = pair(&configs);
    for number in 0..40 {
        client.send(&message(number));
    }
    (keys, client, server)
}

#[test]
fn what_waits_for_new_keys_is_bounded_and_the_driver_is_told_to_pause() {
    let (_keys, mut client, mut server) = exchanging();
    let long = vec![94; 32 << 10];
    let mut sent = 0;
    while !client.transport.wants_pause() {
        client.send(&long);
        sent += 1;
    }
    assert!((16..=17).contains(&sent), "{sent} messages of 32 KiB make half a MiB");
    let beyond = (0..100).find_map(|_| client.transport.send(&long, &[], &mut client.out).err());
    assert!(matches!(beyond, Some(Error::Contract(_))));
    settle(&mut client, &mut server, usize::MAX).unwrap();
    assert!(!client.transport.wants_pause());
    assert!(server.messages.len() >= 40 + sent);
}

#[test]
fn both_ends_may_begin_an_exchange_at_once() {
    let keys = Keys::new();
    keys.make("host", "ed25519");
    let rekey = RekeyLimits { age_ms: 1000, ..RekeyLimits::default() };
    let offer = Algorithms::default();
    let (mut client, mut server) = pair(&configs(&keys, "host", offer.clone(), offer, rekey));
    client.transport.tick(NOW + 1000, &mut client.out).unwrap();
    server.transport.tick(NOW + 1000, &mut server.out).unwrap();
    client.send(&message(1));
    server.send(&message(2));
    settle(&mut client, &mut server, 3).unwrap();
    assert_eq!((&client.messages, &server.messages), (&vec![message(2)], &vec![message(1)]));
}

#[test]
fn nobody_changes_keys_before_the_user_is_known() {
    let keys = Keys::new();
    keys.make("host", "ed25519");
    let offer = Algorithms::default();
    let configs =
        configs(&keys, "host", offer.clone(), offer, RekeyLimits { packets: 3, ..RekeyLimits::default() });
    let (mut client, mut server) = (Leg::new(&configs.0), Leg::new(&configs.1));
    settle(&mut client, &mut server, usize::MAX).unwrap();
    client.transport.authenticated();
    client.transport.tick(NOW + 4_000_000, &mut client.out).unwrap();
    let error = settle(&mut client, &mut server, usize::MAX).unwrap_err();
    assert!(error.to_string().contains("before authentication"), "{error}");
}
