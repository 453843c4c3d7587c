//! The fleet-wide masking key: what makes hashes and tokens deterministic here and unguessable elsewhere.

use std::fmt;

use hmac::digest::block_api::EagerHash;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;
use zeroize::{ZeroizeOnDrop, Zeroizing};

use crate::format::Formats;

/// What 256 secret bits make of values, and their version. Never printed; wiped when dropped.
///
/// A new version breaks joins with data tokenised under the old one, on purpose.
pub struct MaskKey {
    version: u32,
    hash: Purpose,
    token: Purpose,
    formats: Option<Formats>,
}

/// HMAC-SHA256 over `purpose ‖ 0 ‖ value`, up to the value: one key serves several methods without their outputs being
/// related. It is kept, since beginning anew costs as much as all else of a value; ring's could not be wiped.
struct Purpose(Hmac<Sha256>);

impl Purpose {
    fn new(secret: &[u8; 32], name: &str) -> Self {
        let mut block = Zeroizing::new([0; 64]);
        // A key shorter than a block counts as one that is filled up with zeros.
        block.iter_mut().zip(secret).for_each(|(to, from)| *to = *from);
        let mut context = Hmac::new((&*block).into());
        context.update(name.as_bytes());
        context.update(&[0]);
        Self(context)
    }

    fn digest(&self, value: &[u8]) -> [u8; 32] {
        let mut context = self.0.clone();
        context.update(value);
        context.finalize().into_bytes().into()
    }
}

impl MaskKey {
    pub fn new(version: u32, secret: [u8; 32]) -> Self {
        let secret = Zeroizing::new(secret);
        let format = Zeroizing::new(Purpose::new(&secret, "format").digest(&[]));
        Self {
            version,
            hash: Purpose::new(&secret, "hash"),
            token: Purpose::new(&secret, "token"),
            formats: Formats::new(&format),
        }
    }

    pub const fn version(&self) -> u32 {
        self.version
    }

    pub(crate) fn hash(&self, value: &[u8]) -> [u8; 32] {
        self.hash.digest(value)
    }

    /// `None`: the cipher does not take its key, and every value is NULL.
    pub(crate) const fn formats(&self) -> Option<&Formats> {
        self.formats.as_ref()
    }

    pub(crate) fn token(&self, value: &[u8]) -> [u8; 32] {
        self.token.digest(value)
    }
}

/// A context is two states of the hash and a block for it, a cipher is its key schedule; all of them wipe themselves.
impl ZeroizeOnDrop for MaskKey {}

const _: () = {
    const fn wipes_itself<T: ZeroizeOnDrop>() {}
    wipes_itself::<aes::Aes256>();
    wipes_itself::<Sha256>();
    wipes_itself::<<Sha256 as EagerHash>::Core>();
};

impl fmt::Debug for MaskKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MaskKey").field("version", &self.version).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::MaskKey;

    #[test]
    fn a_key_prints_its_version_only() {
        let printed = format!("{:?}", MaskKey::new(7, [0xAB; 32]));
        assert_eq!(printed, "MaskKey { version: 7, .. }");
    }

    #[test]
    fn purposes_and_values_are_kept_apart() {
        let key = MaskKey::new(1, [1; 32]);
        assert_ne!(key.hash(b"x"), key.token(b"x"));
        assert_ne!(key.hash(b"x"), MaskKey::new(1, [2; 32]).hash(b"x"));
        assert_eq!(key.hash(b"x"), key.hash(b"x"));
    }

    /// Another result would break joins with what was masked before.
    #[test]
    fn digests_are_those_of_another_hmac() {
        use ring::hmac::{HMAC_SHA256, Key, sign};
        let secret = std::array::from_fn(|at| u8::try_from(at * 7 % 256).unwrap());
        let (key, other) = (MaskKey::new(1, secret), Key::new(HMAC_SHA256, &secret));
        for length in 0..200 {
            let value: Vec<u8> = (0..length).map(|at| u8::try_from(at * 31 % 251).unwrap()).collect();
            let expected = |purpose: &[u8]| sign(&other, &[purpose, &value].concat()).as_ref().to_vec();
            assert_eq!(key.hash(&value)[..], expected(b"hash\0"), "{length}");
            assert_eq!(key.token(&value)[..], expected(b"token\0"), "{length}");
        }
    }
}
