//! The data key of an encrypted segment: drawn for it alone, stored in its header once for each recipient, by HPKE
//! (RFC 9180: base mode, DHKEM(X25519, HKDF-SHA256), HKDF-SHA256, AES-256-GCM). FORMAT.md, "Recipients", has the bytes.
//!
//! Nothing else in a segment is encrypted to a person: all of its secrets are made from the data key.

use std::convert::Infallible;

use hpke::aead::{AeadTag, AesGcm256};
use hpke::inout::InOutBuf;
use hpke::kdf::HkdfSha256;
use hpke::kem::X25519HkdfSha256;
use hpke::rand_core::{TryCryptoRng, TryRng};
use hpke::{Deserializable as _, Kem, OpModeR, OpModeS, setup_receiver, setup_sender_with_rng};
use ring::rand::SecureRandom;
use zeroize::{Zeroize as _, Zeroizing};

use crate::Error;
use crate::auditor::{AuditorKey, public_bytes};

/// Bytes of a data key.
const DATA_KEY_LEN: usize = 32;
/// Bytes of an encrypted data key: the key and a tag.
pub(crate) const SEALED_LEN: usize = DATA_KEY_LEN + 16;
/// What the HPKE info begins with; the front of the header follows.
pub(crate) const INFO: [u8; 32] = crate::hash::key(b"weir segment data key, v1");

/// A segment's data key as one recipient can open it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Envelope {
    /// The recipient's public key.
    pub recipient: [u8; 32],
    pub encapsulated: [u8; 32],
    pub sealed: [u8; SEALED_LEN],
}

/// The secret that the secrets of one segment are made from. Wiped when it is dropped.
pub(crate) struct DataKey(Zeroizing<[u8; DATA_KEY_LEN]>);

impl DataKey {
    /// # Errors
    /// The system's: it has no randomness.
    pub(crate) fn generate(random: &dyn SecureRandom) -> Result<Self, Error> {
        let mut key = Zeroizing::new([0; DATA_KEY_LEN]);
        random.fill(key.as_mut_slice()).map_err(|_| Error::Randomness)?;
        Ok(Self(key))
    }

    /// In place of a data key where there is nothing to keep secret.
    pub(crate) fn from_public(bytes: &[u8; DATA_KEY_LEN]) -> Self {
        Self(Zeroizing::new(*bytes))
    }

    /// The secret for one purpose.
    pub(crate) fn derive(&self, purpose: &[u8]) -> Zeroizing<[u8; 32]> {
        let mut hasher = blake3::Hasher::new_keyed(&self.0);
        hasher.update(purpose);
        let secret = Zeroizing::new(*hasher.finalize().as_bytes());
        hasher.zeroize();
        secret
    }

    /// Encrypts it to one recipient, for a purpose, and about what it will stand in.
    ///
    /// # Errors
    /// The operator's: no usable public key. The system's: no randomness.
    pub(crate) fn seal_to(
        &self,
        recipient: [u8; 32],
        purpose: &[u8; 32],
        about: &[u8],
        random: &dyn SecureRandom,
    ) -> Result<Envelope, Error> {
        let public =
            <X25519HkdfSha256 as Kem>::PublicKey::from_bytes(&recipient).map_err(|_| Error::Recipient)?;
        let mut drawn = Drawn::from(random)?;
        let sender = setup_sender_with_rng::<AesGcm256, HkdfSha256, X25519HkdfSha256>(
            &OpModeS::Base,
            &public,
            &[purpose.as_slice(), about].concat(),
            &mut drawn,
        );
        let (encapsulated, mut context) = sender.map_err(|_| Error::Recipient)?;
        if drawn.ran_out {
            return Err(Error::Randomness);
        }
        let mut sealed = [0; SEALED_LEN];
        let (key, tag_place) = sealed.split_at_mut(DATA_KEY_LEN);
        key.copy_from_slice(self.0.as_slice());
        let tag = context.seal_inout_detached(InOutBuf::from(key), &[]).map_err(|_| Error::Recipient)?;
        hpke::Serializable::write_exact(&tag, tag_place);
        Ok(Envelope { recipient, encapsulated: public_bytes(&encapsulated), sealed })
    }
}

impl Envelope {
    /// `None`: it is not for this key, or not as it was made.
    pub(crate) fn open(&self, key: &AuditorKey, purpose: &[u8; 32], about: &[u8]) -> Option<DataKey> {
        let encapsulated = <X25519HkdfSha256 as Kem>::EncappedKey::from_bytes(&self.encapsulated).ok()?;
        let mut context = setup_receiver::<AesGcm256, HkdfSha256, X25519HkdfSha256>(
            &OpModeR::Base,
            &key.secret,
            &encapsulated,
            &[purpose.as_slice(), about].concat(),
        )
        .ok()?;
        let (sealed, tag) = self.sealed.split_first_chunk::<DATA_KEY_LEN>()?;
        let tag = AeadTag::<AesGcm256>::from_bytes(tag).ok()?;
        let mut data_key = Zeroizing::new(*sealed);
        context.open_inout_detached(InOutBuf::from(data_key.as_mut_slice()), &[], &tag).ok()?;
        Some(DataKey(data_key))
    }
}

/// Random bytes that were drawn before, so that drawing can fail where an error can be told. Wiped when dropped.
struct Drawn {
    bytes: Zeroizing<[u8; 64]>,
    used: usize,
    ran_out: bool,
}

impl Drawn {
    fn from(random: &dyn SecureRandom) -> Result<Self, Error> {
        let mut bytes = Zeroizing::new([0; 64]);
        random.fill(bytes.as_mut_slice()).map_err(|_| Error::Randomness)?;
        Ok(Self { bytes, used: 0, ran_out: false })
    }
}

impl TryRng for Drawn {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        let mut bytes = [0; 4];
        self.try_fill_bytes(&mut bytes)?;
        Ok(u32::from_le_bytes(bytes))
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        let mut bytes = [0; 8];
        self.try_fill_bytes(&mut bytes)?;
        Ok(u64::from_le_bytes(bytes))
    }

    fn try_fill_bytes(&mut self, out: &mut [u8]) -> Result<(), Infallible> {
        let from = self.bytes.get(self.used..).and_then(|rest| rest.get(..out.len()));
        match from {
            Some(from) => out.copy_from_slice(from),
            None => self.ran_out = true,
        }
        self.used = self.used.saturating_add(out.len());
        Ok(())
    }
}

impl TryCryptoRng for Drawn {}

#[cfg(test)]
mod tests {
    use ring::rand::SystemRandom;

    use super::*;

    #[test]
    fn a_data_key_opens_for_its_recipient_alone_and_only_in_its_own_header() {
        let random = SystemRandom::new();
        let [auditor, other] = [(); 2].map(|()| AuditorKey::generate(&random).unwrap());
        let key = DataKey::generate(&random).unwrap();
        let envelope = key.seal_to(*auditor.public(), &INFO, b"header", &random).unwrap();
        assert_eq!(envelope.open(&auditor, &INFO, b"header").unwrap().0, key.0);
        assert!(envelope.open(&other, &INFO, b"header").is_none());
        assert!(envelope.open(&auditor, &INFO, b"another").is_none());
        let mut bent = envelope;
        bent.sealed[3] ^= 1;
        assert!(bent.open(&auditor, &INFO, b"header").is_none());
        let again = key.seal_to(*auditor.public(), &INFO, b"header", &random).unwrap();
        assert_ne!(again.encapsulated, envelope.encapsulated, "never the same ephemeral key twice");
    }

    #[test]
    fn a_public_key_that_gives_everybody_the_same_secret_is_no_recipient() {
        let key = DataKey::generate(&SystemRandom::new()).unwrap();
        assert!(matches!(key.seal_to([0; 32], &INFO, b"", &SystemRandom::new()), Err(Error::Recipient)));
    }
}
