//! Secrets at rest: AES-256-GCM under the envelope key, each bound to its connection and role.
//!
//! A sealed secret moved to another row does not open. Layout: version byte, 12-byte nonce, ciphertext and tag.

use anyhow::{Result, anyhow, bail};
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::rand::{SecureRandom as _, SystemRandom};
use zeroize::Zeroizing;

const VERSION: u8 = 1;

pub(crate) struct Vault {
    key: LessSafeKey,
    random: SystemRandom,
}

impl Vault {
    /// # Errors
    /// The key is not 32 bytes.
    pub(crate) fn new(key: &[u8]) -> Result<Self> {
        let key = UnboundKey::new(&AES_256_GCM, key).map_err(|_| anyhow!("envelope key is not 32 bytes"))?;
        Ok(Self { key: LessSafeKey::new(key), random: SystemRandom::new() })
    }

    pub(crate) fn seal(&self, connection: &str, role: &str, secret: &[u8]) -> Result<Vec<u8>> {
        let mut nonce = [0; NONCE_LEN];
        self.random.fill(&mut nonce).map_err(|_| anyhow!("the system gave no randomness"))?;
        let mut sealed = Zeroizing::new(secret.to_vec());
        self.key
            .seal_in_place_append_tag(
                Nonce::assume_unique_for_key(nonce),
                Aad::from(binding(connection, role)),
                &mut *sealed,
            )
            .map_err(|_| anyhow!("secret is too long to seal"))?;
        Ok([&[VERSION], nonce.as_slice(), &sealed].concat())
    }

    /// # Errors
    /// Sealed under another key or for another connection or role, or altered.
    pub(crate) fn open(&self, connection: &str, role: &str, sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>> {
        let Some((&VERSION, rest)) = sealed.split_first() else {
            bail!("sealed secret has an unknown version")
        };
        let (nonce, body) =
            rest.split_first_chunk::<NONCE_LEN>().ok_or_else(|| anyhow!("sealed secret is cut short"))?;
        let mut body = Zeroizing::new(body.to_vec());
        let length = self
            .key
            .open_in_place(
                Nonce::assume_unique_for_key(*nonce),
                Aad::from(binding(connection, role)),
                &mut body,
            )
            .map_err(|_| anyhow!("the secret of {connection}/{role} does not open under this envelope key"))?
            .len();
        body.truncate(length);
        Ok(body)
    }
}

/// Length first, so that no other pair has the same bytes.
fn binding(connection: &str, role: &str) -> Vec<u8> {
    [
        b"weir credential\0",
        (connection.len() as u64).to_le_bytes().as_slice(),
        connection.as_bytes(),
        role.as_bytes(),
    ]
    .concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_opens_only_under_its_key_for_its_connection_and_role_and_unaltered() {
        let vault = Vault::new(&[7; 32]).unwrap();
        let sealed = vault.seal("clinic", "job", b"hunter2").unwrap();
        assert!(!sealed.windows(7).any(|window| window == b"hunter2"));
        assert_eq!(vault.open("clinic", "job", &sealed).unwrap().as_slice(), b"hunter2");
        for (connection, role) in [("clinic", "analyst"), ("clinicj", "ob"), ("", "clinicjob")] {
            assert!(vault.open(connection, role, &sealed).is_err(), "{connection}/{role}");
        }
        for at in 0..sealed.len() {
            let mut altered = sealed.clone();
            altered[at] ^= 1;
            assert!(vault.open("clinic", "job", &altered).is_err(), "byte {at}");
            assert!(vault.open("clinic", "job", &sealed[..at]).is_err(), "cut {at}");
        }
        assert!(Vault::new(&[8; 32]).unwrap().open("clinic", "job", &sealed).is_err());
    }

    #[test]
    fn equal_secrets_do_not_look_equal() {
        let vault = Vault::new(&[7; 32]).unwrap();
        assert_ne!(vault.seal("a", "b", b"x").unwrap(), vault.seal("a", "b", b"x").unwrap());
    }
}
