//! Packets as other implementations seal them: made with Python's `cryptography` (OpenSSL) from the specifications' words.

use super::*;
use crate::algorithms::{Cipher, Mac};
use crate::cipher::Secrets;
use zeroize::Zeroizing;

/// The fourth packet (sequence number 3) under keys that count up, with the payload `5e 00 00 00 05` and the string "known words".
const SEALED: [(Cipher, Mac, &str); 11] = [
    (
        Cipher::Aes256Gcm,
        Mac::Sha256,
        "00000020bbadec78c0daa6f363e820c2a16db57729e329ffbc512c17b3a1acd05a2213ff333db736e63ba984\
         a815cd18f1163f47",
    ),
    (
        Cipher::Aes128Gcm,
        Mac::Sha256,
        "0000002080f14ef4f5b96336b2e9a532552583bf494383115b5eba45943d3e45b626934383e9ec4918e2931c\
         1e675031fca8e161",
    ),
    (
        Cipher::ChaCha20Poly1305,
        Mac::Sha256,
        "fb1a92aa8b1b1cbb324fa47188449764d490f86310b33ea3b3dd5f470b0a0668a1b581c29d517bfbd38cafd5\
         996f436fc345f848",
    ),
    (
        Cipher::Aes256Ctr,
        Mac::Sha256,
        "8607a006a9ebe9558363902d328b5e1ddf90d04b5a1b7885a85efa6250c7a4ed70dcacafacaa8237eac6f1a6\
         8815fa4f97789717467594d7a37dd573bad29b11",
    ),
    (
        Cipher::Aes256Ctr,
        Mac::Sha256Etm,
        "000000208d59a01aaeb0e955836dfb435df75b53c788cc0f5e740ae1db5efa6250c7a4ed6c4738cd4e44b135\
         0e4744980f58e879d87d32229c7edc1ba4f2a1350bc6f795",
    ),
    (
        Cipher::Aes256Ctr,
        Mac::Sha512,
        "8607a006a9ebe9558363902d328b5e1ddf90d04b5a1b7885a85efa6250c7a4ed1197d2b201f70dac2e529888\
         9a0205179996a910450e1d6ad609cedb5380cfd2ee79e931284fc20d6af105394e49ec979fe6e012f09905f9\
         a79419f65d1ce7b0",
    ),
    (
        Cipher::Aes256Ctr,
        Mac::Sha512Etm,
        "000000208d59a01aaeb0e955836dfb435df75b53c788cc0f5e740ae1db5efa6250c7a4edba48d6fe21c73ed0\
         5675f1cfa086b56f8aaac355793df8f24c066b45785f4ad9120e914ee9d4805a0798dbefc04f571ffe661310\
         86ef49e0479424157f9c354d",
    ),
    (
        Cipher::Aes128Ctr,
        Mac::Sha256,
        "64f7ef289ec2aa4a4ca9a4235c5b17620a6af54296edacf49a6b09dffa2df0ee70dcacafacaa8237eac6f1a6\
         8815fa4f97789717467594d7a37dd573bad29b11",
    ),
    (
        Cipher::Aes128Ctr,
        Mac::Sha256Etm,
        "000000206fa9ef349999aa4a4ca7cf4d3327122c1272e9069282de90e96b09dffa2df0ee34a97b83c547cb1b\
         15bd820c6a882b1b4c674fe3c7a6911244642fc94278116f",
    ),
    (
        Cipher::Aes128Ctr,
        Mac::Sha512,
        "64f7ef289ec2aa4a4ca9a4235c5b17620a6af54296edacf49a6b09dffa2df0ee1197d2b201f70dac2e529888\
         9a0205179996a910450e1d6ad609cedb5380cfd2ee79e931284fc20d6af105394e49ec979fe6e012f09905f9\
         a79419f65d1ce7b0",
    ),
    (
        Cipher::Aes128Ctr,
        Mac::Sha512Etm,
        "000000206fa9ef349999aa4a4ca7cf4d3327122c1272e9069282de90e96b09dffa2df0ee9c3cebcb0c96d15d\
         c6d781a700cd66757c05f6a6a355599546021b4b8c0433b8a75ef609773e7442dc7d61f4f281878360f7ad3f\
         d27ca25493576b5043cd7678",
    ),
];

fn secrets(cipher: Cipher, mac: Mac) -> Secrets {
    let of =
        |len: usize, byte: &dyn Fn(u8) -> u8| Zeroizing::new((0..len as u8).map(byte).collect::<Vec<u8>>());
    Secrets {
        iv: of(cipher.iv_bytes(), &|at| 0x80 + at),
        key: of(cipher.key_bytes(), &|at| at),
        mac: of(mac.bytes(), &|at| at.wrapping_mul(7).wrapping_add(3)),
    }
}

#[test]
fn packets_are_sealed_and_opened_as_others_do() {
    let payload = [&[94, 0, 0, 0, 5, 0, 0, 0, 11][..], b"known words"].concat();
    for (cipher, mac, sealed) in SEALED {
        let mut outbound = Outbound::clear();
        outbound.rekey(Sealer::new(cipher, mac, &secrets(cipher, mac)).unwrap(), true);
        let mut inbound = Inbound::clear();
        inbound.rekey(Opener::new(cipher, mac, &secrets(cipher, mac)).unwrap(), true);
        let mut out = BytesMut::new();
        for sequence in 0..4 {
            out.clear();
            outbound.seal(&payload[..1], &payload[1..], 35_000, &mut out).unwrap();
            if sequence == 3 {
                assert_eq!(hex::encode(&out), sealed, "{cipher:?} {mac:?}");
            }
            let opened = inbound.open(&mut out, 35_000).unwrap().unwrap();
            assert_eq!(
                (&out[opened.payload], opened.taken, opened.sequence),
                (&payload[..], out.len(), sequence)
            );
        }
    }
}
