//! The fleet-wide masking key: what makes hashes and tokens deterministic here and unguessable elsewhere.

use std::fmt;

use ring::hmac;
use zeroize::{Zeroize, ZeroizeOnDrop};

/// 256 secret bits and their version. Never printed; wiped when dropped.
///
/// A new version breaks joins with data tokenised under the old one, on purpose.
#[derive(Zeroize, ZeroizeOnDrop)]
pub struct MaskKey {
    #[zeroize(skip)]
    version: u32,
    secret: [u8; 32],
}

impl MaskKey {
    pub const fn new(version: u32, secret: [u8; 32]) -> Self {
        Self { version, secret }
    }

    pub const fn version(&self) -> u32 {
        self.version
    }

    /// HMAC-SHA256 over `purpose ‖ 0 ‖ value`: one key serves several methods without their outputs being related.
    ///
    /// The MAC's key schedule is derived on each call, because ring's could not be wiped if it were kept.
    pub(crate) fn digest(&self, purpose: &str, value: &[u8]) -> [u8; 32] {
        let mut context = hmac::Context::with_key(&hmac::Key::new(hmac::HMAC_SHA256, &self.secret));
        context.update(purpose.as_bytes());
        context.update(&[0]);
        context.update(value);
        let tag = context.sign();
        let mut digest = [0; 32];
        for (to, from) in digest.iter_mut().zip(tag.as_ref()) {
            *to = *from;
        }
        digest
    }
}

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
        assert_ne!(key.digest("hash", b"x"), key.digest("token", b"x"));
        assert_ne!(key.digest("hash", b"x"), MaskKey::new(1, [2; 32]).digest("hash", b"x"));
        assert_eq!(key.digest("hash", b"x"), key.digest("hash", b"x"));
    }
}
