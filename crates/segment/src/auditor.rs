//! Auditors' key pairs (X25519): a segment is encrypted to public halves, a private half opens it.
//!
//! Where the private half lies and who may read its file is decided by programs.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hpke::kem::X25519HkdfSha256;
use hpke::{Deserializable as _, Kem, Serializable as _};
use ring::rand::SecureRandom;
use zeroize::Zeroizing;

use crate::Error;
use crate::hash::{from_hex, to_hex};

/// What a public half's line begins with.
pub(crate) const AUDITOR_KEY_PREFIX: &str = "weir-auditor-x25519:";
const BEGIN: &str = "-----BEGIN PRIVATE KEY-----";
const END: &str = "-----END PRIVATE KEY-----";
/// RFC 8410's wrapping of a 32-byte X25519 private key.
const PKCS8: [u8; 16] =
    [0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x6e, 0x04, 0x22, 0x04, 0x20];

/// An auditor's private key. Wiped when it is dropped.
pub struct AuditorKey {
    pub(crate) secret: <X25519HkdfSha256 as Kem>::PrivateKey,
    public: [u8; 32],
}

impl std::fmt::Debug for AuditorKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("AuditorKey").field(&auditor_key_text(&self.public).trim_end()).finish()
    }
}

impl AuditorKey {
    /// A new key.
    ///
    /// # Errors
    /// The system's: it has no randomness.
    pub fn generate(random: &dyn SecureRandom) -> Result<Self, Error> {
        let mut bytes = Zeroizing::new([0; 32]);
        random.fill(bytes.as_mut_slice()).map_err(|_| Error::Randomness)?;
        Self::from_bytes(&bytes)
    }

    fn from_bytes(bytes: &[u8; 32]) -> Result<Self, Error> {
        let secret =
            <X25519HkdfSha256 as Kem>::PrivateKey::from_bytes(bytes).map_err(|_| Error::AuditorKey)?;
        let public = public_bytes(&X25519HkdfSha256::sk_to_pk(&secret));
        Ok(Self { secret, public })
    }

    /// Reads a private key: PKCS#8 in PEM, as [`AuditorKey::to_pem`] and other programs write it.
    ///
    /// # Errors
    /// The operator's: not such a key.
    pub fn from_pem(text: &str) -> Result<Self, Error> {
        let body =
            text.split_once(BEGIN).and_then(|(_, rest)| rest.split_once(END)).ok_or(Error::AuditorKey)?.0;
        let mut digits = Zeroizing::new(String::with_capacity(body.len()));
        body.split_whitespace().for_each(|line| digits.push_str(line));
        let mut der = Zeroizing::new([0; PKCS8.len() + 32 + 2]);
        let len =
            STANDARD.decode_slice(digits.as_bytes(), der.as_mut_slice()).map_err(|_| Error::AuditorKey)?;
        let key = der.get(..len).and_then(|der| der.strip_prefix(&PKCS8)).and_then(|key| key.as_array());
        Self::from_bytes(key.ok_or(Error::AuditorKey)?)
    }

    /// The private key as the text of a file that only its owner may read.
    #[must_use]
    pub fn to_pem(&self) -> Zeroizing<String> {
        let mut der = Zeroizing::new([0; PKCS8.len() + 32]);
        let (front, back) = der.split_at_mut(PKCS8.len());
        front.copy_from_slice(&PKCS8);
        self.secret.write_exact(back);
        let body = Zeroizing::new(STANDARD.encode(der.as_slice()));
        Zeroizing::new(format!("{BEGIN}\n{}\n{END}\n", *body))
    }

    /// The public half.
    #[must_use]
    pub const fn public(&self) -> &[u8; 32] {
        &self.public
    }
}

pub(crate) fn public_bytes(key: &impl hpke::Serializable) -> [u8; 32] {
    let mut bytes = [0; 32];
    key.write_exact(&mut bytes);
    bytes
}

/// A public half as its file holds it: one line of text.
#[must_use]
pub fn auditor_key_text(key: &[u8; 32]) -> String {
    format!("{AUDITOR_KEY_PREFIX}{}\n", to_hex(key))
}

/// Reads what [`auditor_key_text`] wrote.
///
/// # Errors
/// The caller's: not such a line.
pub fn parse_auditor_key(text: &str) -> Result<[u8; 32], Error> {
    let digits = text.trim().strip_prefix(AUDITOR_KEY_PREFIX).map(str::to_ascii_lowercase);
    let key = digits.and_then(|digits| from_hex(&digits)).and_then(|key| key.try_into().ok());
    key.ok_or(Error::Recipient)
}

#[cfg(test)]
mod tests {
    use ring::rand::SystemRandom;

    use super::*;

    #[test]
    fn both_halves_of_a_key_read_back_and_nothing_else_is_one() {
        let key = AuditorKey::generate(&SystemRandom::new()).unwrap();
        let pem = key.to_pem();
        assert_eq!(AuditorKey::from_pem(&pem).unwrap().public(), key.public());
        let line = auditor_key_text(key.public());
        assert_eq!(parse_auditor_key(&line).unwrap(), *key.public());
        assert!(!format!("{key:?}").contains(pem.lines().nth(1).unwrap()));
        for bad in ["", &line[..80], &line.replace("x25519", "ed25519"), &pem] {
            assert!(parse_auditor_key(bad).is_err(), "{bad}");
        }
        for bad in ["", &line, &pem.replace("MC4C", "MC4D"), &pem.replace("-----END", "=-----END")] {
            assert!(AuditorKey::from_pem(bad).is_err(), "{bad}");
        }
    }
}
