//! AES-GCM as RFC 5647 and OpenSSH lay it out: the length field in the clear and authenticated, a counter as nonce.

use ring::aead::{AES_128_GCM, AES_256_GCM, Aad, LessSafeKey, Nonce, Tag, UnboundKey};

use super::Secrets;
use crate::Error;
use crate::algorithms::Cipher;

pub(super) struct AesGcm {
    key: LessSafeKey,
    fixed: [u8; 4],
    counter: u64,
}

impl AesGcm {
    pub(super) fn new(cipher: Cipher, secrets: &Secrets) -> Result<Self, Error> {
        let algorithm = if cipher == Cipher::Aes128Gcm { &AES_128_GCM } else { &AES_256_GCM };
        let key = UnboundKey::new(algorithm, &secrets.key).map_err(|_| Error::Crypto("key length"))?;
        let fixed = *secrets.iv.first_chunk().ok_or(Error::Crypto("IV length"))?;
        let counter = secrets.iv.get(4..).and_then(<[u8]>::first_chunk).ok_or(Error::Crypto("IV length"))?;
        Ok(Self { key: LessSafeKey::new(key), fixed, counter: u64::from_be_bytes(*counter) })
    }

    /// The invocation counter goes round modulo 2^64, as RFC 5647 has it; keys live for far fewer packets.
    fn nonce(&mut self) -> Nonce {
        let [a, b, c, d] = self.fixed;
        let [e, f, g, h, i, j, k, l] = self.counter.to_be_bytes();
        self.counter = self.counter.wrapping_add(1);
        Nonce::assume_unique_for_key([a, b, c, d, e, f, g, h, i, j, k, l])
    }

    pub(super) fn seal(&mut self, packet: &mut [u8], tag: &mut [u8]) -> Result<(), Error> {
        let nonce = self.nonce();
        let (length, body) = packet.split_first_chunk_mut::<4>().ok_or(Error::Crypto("packet length"))?;
        let made = self
            .key
            .seal_in_place_separate_tag(nonce, Aad::from(&*length), body)
            .map_err(|_| Error::Crypto("AES-GCM"))?;
        tag.copy_from_slice(made.as_ref());
        Ok(())
    }

    pub(super) fn open(&mut self, packet: &mut [u8], tag: &[u8]) -> Result<(), Error> {
        let nonce = self.nonce();
        let tag = Tag::try_from(tag).map_err(|_| Error::Crypto("tag length"))?;
        let (length, body) = packet.split_first_chunk_mut::<4>().ok_or(Error::Crypto("packet length"))?;
        self.key
            .open_in_place_separate_tag(nonce, Aad::from(&*length), tag, body, 0..)
            .map(|_| ())
            .map_err(|_| Error::Integrity)
    }
}
