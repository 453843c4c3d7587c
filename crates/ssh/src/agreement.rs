//! The shared secret: elliptic-curve methods and the post-quantum hybrid, both sides of each (RFC 5656, RFC 8731,
//! draft-ietf-sshm-mlkem-hybrid-kex).

use aws_lc_rs::kem::{Ciphertext, DecapsulationKey, EncapsulationKey, ML_KEM_768};
use bytes::BufMut;
use ring::agreement::{self, EphemeralPrivateKey, UnparsedPublicKey};
use ring::digest;
use ring::rand::SystemRandom;
use zeroize::Zeroizing;

use crate::Error;
use crate::algorithms::Kex;
use crate::encoding::{put_positive, put_string};

const ENCAPSULATION_KEY_BYTES: usize = 1184;
const CIPHERTEXT_BYTES: usize = 1088;

/// K as the exchange hash and the key derivation take it: an mpint, or the hybrid's string. Wiped when dropped.
pub(crate) type SharedSecret = Zeroizing<Vec<u8>>;

/// Our half as a client, between its message and the server's.
pub(crate) struct Ephemeral {
    kex: Kex,
    curve: EphemeralPrivateKey,
    kem: Option<DecapsulationKey>,
    /// What the INIT message carries.
    pub public: Vec<u8>,
}

impl Ephemeral {
    /// # Errors
    /// The system gives no random bytes.
    pub(crate) fn new(kex: Kex) -> Result<Self, Error> {
        let (curve, share) = curve_share(kex)?;
        let (kem, public) = if kex == Kex::MlKem768X25519 {
            let kem = DecapsulationKey::generate(&ML_KEM_768).map_err(|_| Error::Crypto("ML-KEM"))?;
            let public = kem.encapsulation_key().and_then(|it| it.key_bytes());
            let public = public.map_err(|_| Error::Crypto("ML-KEM"))?;
            (Some(kem), [public.as_ref(), share.as_ref()].concat())
        } else {
            (None, share.as_ref().to_vec())
        };
        Ok(Self { kex, curve, kem, public })
    }

    /// Finishes with what the server's REPLY carried.
    ///
    /// # Errors
    /// A share that is none, or one that would make the secret known to all.
    pub(crate) fn finish(self, reply: &[u8]) -> Result<SharedSecret, Error> {
        let Some(kem) = self.kem else {
            return curve_secret(self.kex, self.curve, reply);
        };
        let (ciphertext, share) =
            reply.split_at_checked(CIPHERTEXT_BYTES).ok_or(Error::Malformed("KEX_HYBRID_REPLY"))?;
        let post_quantum = kem
            .decapsulate(Ciphertext::from(ciphertext))
            .map_err(|_| Error::Malformed("KEX_HYBRID_REPLY"))?;
        hybrid(post_quantum.as_ref(), self.curve, share)
    }
}

/// The server's half in one go: what the REPLY carries, and the secret.
///
/// # Errors
/// As [`Ephemeral::new`] and [`Ephemeral::finish`].
pub(crate) fn respond(kex: Kex, init: &[u8]) -> Result<(Vec<u8>, SharedSecret), Error> {
    let (curve, share) = curve_share(kex)?;
    if kex != Kex::MlKem768X25519 {
        return Ok((share.as_ref().to_vec(), curve_secret(kex, curve, init)?));
    }
    let malformed = Error::Malformed("KEX_HYBRID_INIT");
    let (key, their_share) = init.split_at_checked(ENCAPSULATION_KEY_BYTES).ok_or(malformed.clone())?;
    let key = EncapsulationKey::new(&ML_KEM_768, key).map_err(|_| malformed.clone())?;
    let (ciphertext, post_quantum) = key.encapsulate().map_err(|_| malformed)?;
    let secret = hybrid(post_quantum.as_ref(), curve, their_share)?;
    Ok(([ciphertext.as_ref(), share.as_ref()].concat(), secret))
}

fn algorithm(kex: Kex) -> &'static agreement::Algorithm {
    match kex {
        Kex::MlKem768X25519 | Kex::Curve25519 | Kex::Curve25519Libssh => &agreement::X25519,
        Kex::NistP256 => &agreement::ECDH_P256,
        Kex::NistP384 => &agreement::ECDH_P384,
    }
}

fn curve_share(kex: Kex) -> Result<(EphemeralPrivateKey, agreement::PublicKey), Error> {
    let private = EphemeralPrivateKey::generate(algorithm(kex), &SystemRandom::new());
    let private = private.map_err(|_| Error::Crypto("no random bytes"))?;
    let public = private.compute_public_key().map_err(|_| Error::Crypto("key agreement"))?;
    Ok((private, public))
}

/// Ring refuses points off the curve and an all-zero result.
fn agreed<R>(
    private: EphemeralPrivateKey,
    kex: Kex,
    share: &[u8],
    finish: impl FnOnce(&[u8]) -> R,
) -> Result<R, Error> {
    agreement::agree_ephemeral(private, &UnparsedPublicKey::new(algorithm(kex), share), finish)
        .map_err(|_| Error::Protocol("a key share that is no point or of small order"))
}

fn curve_secret(kex: Kex, private: EphemeralPrivateKey, share: &[u8]) -> Result<SharedSecret, Error> {
    agreed(private, kex, share, |secret| {
        let mut out = Zeroizing::new(Vec::with_capacity(secret.len() + 5));
        put_positive(&mut *out, secret);
        out
    })
}

fn hybrid(post_quantum: &[u8], private: EphemeralPrivateKey, share: &[u8]) -> Result<SharedSecret, Error> {
    agreed(private, Kex::Curve25519, share, |classical| {
        let mut both = digest::Context::new(&digest::SHA256);
        both.update(post_quantum);
        both.update(classical);
        let mut out = Zeroizing::new(Vec::with_capacity(36));
        put_string(&mut *out, both.finish().as_ref());
        out
    })
}

/// What both sides hash (RFC 5656, section 4): the identifications without their ends, both KEXINIT payloads, the host key's
/// blob, both shares, and K as it is encoded.
pub(crate) struct Transcript<'a> {
    pub client_ident: &'a [u8],
    pub server_ident: &'a [u8],
    pub client_offer: &'a [u8],
    pub server_offer: &'a [u8],
    pub host_key: &'a [u8],
    pub client_share: &'a [u8],
    pub server_share: &'a [u8],
    pub secret: &'a [u8],
}

impl Transcript<'_> {
    pub(crate) fn hash(&self, kex: Kex) -> digest::Digest {
        let mut fields = Vec::with_capacity(8192);
        for field in [
            self.client_ident,
            self.server_ident,
            self.client_offer,
            self.server_offer,
            self.host_key,
            self.client_share,
            self.server_share,
        ] {
            put_string(&mut fields, field);
        }
        let mut context = digest::Context::new(kex.hash());
        context.update(&fields);
        context.update(self.secret);
        context.finish()
    }
}

/// Key material of one purpose, `letter` `A` to `F` (RFC 4253, 7.2).
pub(crate) fn derive(
    kex: Kex,
    secret: &[u8],
    hash: &[u8],
    session_id: &[u8],
    letter: u8,
    len: usize,
) -> Zeroizing<Vec<u8>> {
    let mut out = Zeroizing::new(Vec::with_capacity(len + digest::MAX_OUTPUT_LEN));
    while out.len() < len {
        let mut context = digest::Context::new(kex.hash());
        context.update(secret);
        context.update(hash);
        if out.is_empty() {
            context.update(&[letter]);
            context.update(session_id);
        } else {
            context.update(&out);
        }
        out.put_slice(context.finish().as_ref());
    }
    out.truncate(len);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Kex; 5] =
        [Kex::MlKem768X25519, Kex::Curve25519, Kex::Curve25519Libssh, Kex::NistP256, Kex::NistP384];

    #[test]
    fn both_sides_come_to_the_same_secret_by_every_method() {
        for kex in ALL {
            let client = Ephemeral::new(kex).unwrap();
            let (reply, at_server) = respond(kex, &client.public).unwrap();
            assert_eq!(client.finish(&reply).unwrap(), at_server, "{kex:?}");
        }
    }

    #[test]
    fn shares_of_small_order_off_the_curve_and_of_other_lengths_are_refused() {
        // The points of order 1, 2, 4 and 8 on Curve25519 and its twist, in their canonical forms.
        let small = [
            "0000000000000000000000000000000000000000000000000000000000000000",
            "0100000000000000000000000000000000000000000000000000000000000000",
            "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
            "5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157",
            "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        ];
        for point in small.map(|it| hex::decode(it).unwrap()) {
            assert!(respond(Kex::Curve25519, &point).is_err());
            assert!(Ephemeral::new(Kex::Curve25519).unwrap().finish(&point).is_err());
            let client = Ephemeral::new(Kex::MlKem768X25519).unwrap();
            let mut init = client.public.clone();
            init.truncate(ENCAPSULATION_KEY_BYTES);
            init.extend_from_slice(&point);
            assert!(respond(Kex::MlKem768X25519, &init).is_err());
        }
        for kex in ALL {
            assert!(
                respond(kex, &[]).is_err()
                    && respond(kex, &[4; 65]).is_err()
                    && respond(kex, &[9; 31]).is_err()
            );
            assert!(Ephemeral::new(kex).unwrap().finish(&[7; 97]).is_err());
        }
    }

    /// Computed by Python's `hashlib` from RFC 4253, section 7.2, and RFC 5656, section 4.
    #[test]
    fn keys_and_the_exchange_hash_are_as_others_compute_them() {
        let mut secret = vec![0, 0, 0, 0x21, 0, 0x80];
        secret.extend(0..31);
        let of = |text: &[u8]| digest::digest(&digest::SHA256, text);
        let (hash, session) = (of(b"exchange"), of(b"session"));
        for (kex, expected) in [
            (
                Kex::Curve25519,
                "37c83dc46be72bbd800a171609b90b8567dbc756c213548bea87288533f7b73a5447cad5406996c0054d5f05\
                 7e5c7dda879ba95a739420746bb94b4018be109babcf4396af57735985f2daffd99458fe8d51206ab6bbb6c8\
                 4cabbf64fe488e6579b54f95",
            ),
            (
                Kex::NistP384,
                "dd0502a86475d06e4ec48120440647a8726a3fd169ff7032dce22a5e8d807919ad04609ef6e724c97eb6e462\
                 8281cc6dbc1a8959cb7cd6de187339b4cfdd60aee75eb6a034a8427470b5678534d8e230761266f62b9768f5\
                 2e766de802273309ce8359a3",
            ),
        ] {
            let key = derive(kex, &secret, hash.as_ref(), session.as_ref(), b'C', 100);
            assert_eq!(hex::encode(&*key), expected);
        }
        let transcript = Transcript {
            client_ident: b"SSH-2.0-c",
            server_ident: b"SSH-2.0-s",
            client_offer: b"\x14client",
            server_offer: b"\x14server",
            host_key: b"host key",
            client_share: b"client share",
            server_share: b"server share",
            secret: &secret,
        };
        let expected = "46bcaf709937f166e15cc65f6ee67ddf964c1d8fe8a9ec95bddf4927f5beb405";
        assert_eq!(hex::encode(transcript.hash(Kex::Curve25519)), expected);
    }
}
