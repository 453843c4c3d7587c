//! Private keys: the gateway's host keys, and the ones it logs in with. Read from files' text, kept in ring's types, never printed.
//!
//! The text is the caller's to wipe. Ring does not wipe its own key types when they are dropped; they live as long as the program.

use ring::rand::{SecureRandom, SystemRandom};
use ring::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair, RSA_PKCS1_SHA256,
    RSA_PKCS1_SHA512, RsaKeyPair,
};
use rustls_pki_types::PrivateKeyDer;
use rustls_pki_types::pem::PemObject;
use zeroize::Zeroizing;

use crate::Error;
use crate::algorithms::SignatureAlgorithm;
use crate::encoding::{put_positive, put_string};
use crate::key_file::{self, PrivateNumbers};
use crate::public_key::{Key, PublicKey};

pub struct SigningKey {
    pair: Pair,
    public: PublicKey,
}

enum Pair {
    Ed25519(Ed25519KeyPair),
    P256(EcdsaKeyPair),
    Rsa(Box<RsaKeyPair>),
}

const UNREADABLE: Error = Error::KeyFile(
    "not a private key that can be read: give an unencrypted file of ssh-keygen (RSA: ssh-keygen -p -m PKCS8 -f FILE)",
);

/// A key that was just made.
pub struct NewKey {
    /// A private key file's text, in OpenSSH's own format.
    pub text: Zeroizing<String>,
    pub public: PublicKey,
}

impl SigningKey {
    /// Makes an Ed25519 key.
    ///
    /// # Errors
    /// The system gives no random bytes.
    pub fn generate() -> Result<NewKey, Error> {
        let mut seed = Zeroizing::new([0; 32]);
        SystemRandom::new().fill(&mut *seed).map_err(|_| Error::Crypto("no randomness"))?;
        let pair = Ed25519KeyPair::from_seed_unchecked(&*seed).map_err(|_| Error::Crypto("a new key"))?;
        let public = pair.public_key().as_ref().try_into().map_err(|_| Error::Crypto("a new key"))?;
        let text = key_file::written(&seed, &public);
        Ok(NewKey { text, public: Key::Ed25519(public).into_public() })
    }

    /// Reads a private key file's text: OpenSSH's own format for Ed25519 and ECDSA P-256, PKCS#8 or PKCS#1 for RSA, which OpenSSH's own
    /// leaves without numbers that the library needs.
    ///
    /// # Errors
    /// Anything else, with what to do.
    pub fn from_file_text(text: &str) -> Result<Self, Error> {
        if !key_file::is_openssh(text) {
            return Self::from_der_text(text);
        }
        match key_file::private(text, &UNREADABLE)? {
            PrivateNumbers::Ed25519 { seed, public } => {
                let pair = Ed25519KeyPair::from_seed_and_public_key(&*seed, &public);
                Self::ed25519(pair.map_err(|_| UNREADABLE)?)
            }
            PrivateNumbers::P256 { scalar, public } => {
                let pair = EcdsaKeyPair::from_private_key_and_public_key(
                    &ECDSA_P256_SHA256_FIXED_SIGNING,
                    &*scalar,
                    &public,
                    &SystemRandom::new(),
                );
                Self::p256(pair.map_err(|_| UNREADABLE)?)
            }
        }
    }

    fn from_der_text(text: &str) -> Result<Self, Error> {
        let der = PrivateKeyDer::from_pem_slice(text.as_bytes()).map_err(|_| UNREADABLE)?;
        let rsa = match &der {
            PrivateKeyDer::Pkcs1(der) => RsaKeyPair::from_der(der.secret_pkcs1_der()).ok(),
            PrivateKeyDer::Pkcs8(der) => {
                let der = der.secret_pkcs8_der();
                if let Ok(pair) = Ed25519KeyPair::from_pkcs8_maybe_unchecked(der) {
                    return Self::ed25519(pair);
                }
                let pair =
                    EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, der, &SystemRandom::new());
                if let Ok(pair) = pair {
                    return Self::p256(pair);
                }
                RsaKeyPair::from_pkcs8(der).ok()
            }
            PrivateKeyDer::Sec1(_) | _ => None,
        };
        let pair = rsa.ok_or(UNREADABLE)?;
        let ring::rsa::PublicKeyComponents { n: modulus, e: exponent } = pair.public().into();
        let key = Key::Rsa { exponent, modulus };
        Ok(Self { pair: Pair::Rsa(Box::new(pair)), public: key.into_public() })
    }

    fn ed25519(pair: Ed25519KeyPair) -> Result<Self, Error> {
        let key = pair.public_key().as_ref().try_into().map_err(|_| UNREADABLE)?;
        Ok(Self { pair: Pair::Ed25519(pair), public: Key::Ed25519(key).into_public() })
    }

    fn p256(pair: EcdsaKeyPair) -> Result<Self, Error> {
        let key = pair.public_key().as_ref().try_into().map_err(|_| UNREADABLE)?;
        Ok(Self { pair: Pair::P256(pair), public: Key::P256(key).into_public() })
    }

    #[must_use]
    pub const fn public(&self) -> &PublicKey {
        &self.public
    }

    /// A signature blob: the algorithm's name and the bytes.
    ///
    /// # Errors
    /// The algorithm is not the key's, or the system gives no random bytes: the gateway's fault.
    pub fn sign(&self, by: SignatureAlgorithm, data: &[u8]) -> Result<Vec<u8>, Error> {
        let random = SystemRandom::new();
        let failed = || Error::Crypto("signing");
        let mut bytes = Vec::new();
        match (&self.pair, by) {
            (Pair::Ed25519(pair), SignatureAlgorithm::Ed25519) => {
                bytes.extend_from_slice(pair.sign(data).as_ref())
            }
            (Pair::P256(pair), SignatureAlgorithm::EcdsaP256) => {
                let signature = pair.sign(&random, data).map_err(|_| failed())?;
                let (r, s) = signature.as_ref().split_at_checked(32).ok_or_else(failed)?;
                put_positive(&mut bytes, r);
                put_positive(&mut bytes, s);
            }
            (Pair::Rsa(pair), SignatureAlgorithm::RsaSha512 | SignatureAlgorithm::RsaSha256) => {
                let padding =
                    if by == SignatureAlgorithm::RsaSha512 { &RSA_PKCS1_SHA512 } else { &RSA_PKCS1_SHA256 };
                bytes.resize(pair.public().modulus_len(), 0);
                pair.sign(padding, &random, data, &mut bytes).map_err(|_| failed())?;
            }
            _ => return Err(Error::Contract("a key was asked for a signature that it cannot make")),
        }
        let mut out = Vec::with_capacity(bytes.len() + 32);
        put_string(&mut out, by.name().as_bytes());
        put_string(&mut out, &bytes);
        Ok(out)
    }
}

impl std::fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("SigningKey").field(&self.public).finish()
    }
}
