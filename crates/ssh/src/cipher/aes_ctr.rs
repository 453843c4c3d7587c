//! AES in counter mode with HMAC beside it (RFC 4344, RFC 6668), plain or encrypt-then-MAC.
//!
//! The counter is kept here and given to the library for each packet: SSH encrypts whole blocks alone, so none is ever half used, and the
//! first block can be looked at without touching the input.

use aws_lc_rs::cipher::{AES_128, AES_256, EncryptingKey, EncryptionContext, UnboundCipherKey};
use aws_lc_rs::iv::FixedLength;
use ring::hmac;
use subtle::ConstantTimeEq;

use super::{Layout, Secrets};
use crate::Error;
use crate::algorithms::{Cipher, Mac};

const BLOCK: usize = 16;

pub(super) struct AesCtr {
    key: EncryptingKey,
    counter: u128,
    mac: hmac::Key,
    kind: Mac,
}

impl AesCtr {
    pub(super) fn new(cipher: Cipher, mac: Mac, secrets: &Secrets) -> Result<Self, Error> {
        let algorithm = if cipher == Cipher::Aes128Ctr { &AES_128 } else { &AES_256 };
        let key = UnboundCipherKey::new(algorithm, &secrets.key).map_err(|_| Error::Crypto("key length"))?;
        let key = EncryptingKey::ctr(key).map_err(|_| Error::Crypto("AES-CTR"))?;
        let counter = *secrets.iv.first_chunk().ok_or(Error::Crypto("IV length"))?;
        let hash = match mac {
            Mac::Sha256Etm | Mac::Sha256 => hmac::HMAC_SHA256,
            Mac::Sha512Etm | Mac::Sha512 => hmac::HMAC_SHA512,
        };
        let mac_key = hmac::Key::new(hash, &secrets.mac);
        Ok(Self { key, counter: u128::from_be_bytes(counter), mac: mac_key, kind: mac })
    }

    pub(super) fn layout(&self) -> Layout {
        let etm = self.kind.is_etm();
        Layout {
            block: BLOCK,
            length_padded: !etm,
            tag: self.kind.bytes(),
            head: if etm { 4 } else { BLOCK },
        }
    }

    /// Encrypts or decrypts, which is the same, and moves the counter on.
    fn apply(&mut self, blocks: &mut [u8]) -> Result<(), Error> {
        self.apply_at(self.counter, blocks)?;
        self.counter = self.counter.wrapping_add((blocks.len() / BLOCK) as u128);
        Ok(())
    }

    fn apply_at(&self, counter: u128, blocks: &mut [u8]) -> Result<(), Error> {
        let counter = EncryptionContext::Iv128(FixedLength::from(counter.to_be_bytes()));
        self.key.less_safe_encrypt(blocks, counter).map(|_| ()).map_err(|_| Error::Crypto("AES-CTR"))
    }

    fn tag(&self, sequence: u32, packet: &[u8]) -> hmac::Tag {
        let mut context = hmac::Context::with_key(&self.mac);
        context.update(&sequence.to_be_bytes());
        context.update(packet);
        context.sign()
    }

    fn check(&self, sequence: u32, packet: &[u8], tag: &[u8]) -> Result<(), Error> {
        let equal = self.tag(sequence, packet).as_ref().ct_eq(tag);
        if bool::from(equal) { Ok(()) } else { Err(Error::Integrity) }
    }

    pub(super) fn length(&self, input: &[u8]) -> Result<[u8; 4], Error> {
        if self.kind.is_etm() {
            return input.first_chunk().copied().ok_or(Error::Contract("a head was promised"));
        }
        let mut block: [u8; BLOCK] = *input.first_chunk().ok_or(Error::Contract("a head was promised"))?;
        self.apply_at(self.counter, &mut block)?;
        block.first_chunk().copied().ok_or(Error::Crypto("block length"))
    }

    pub(super) fn seal(&mut self, sequence: u32, packet: &mut [u8], tag: &mut [u8]) -> Result<(), Error> {
        let made = if self.kind.is_etm() {
            let body = packet.get_mut(4..).ok_or(Error::Crypto("packet length"))?;
            self.apply(body)?;
            self.tag(sequence, packet)
        } else {
            let made = self.tag(sequence, packet);
            self.apply(packet)?;
            made
        };
        tag.copy_from_slice(made.as_ref());
        Ok(())
    }

    pub(super) fn open(&mut self, sequence: u32, packet: &mut [u8], tag: &[u8]) -> Result<(), Error> {
        if self.kind.is_etm() {
            self.check(sequence, packet, tag)?;
            let body = packet.get_mut(4..).ok_or(Error::Crypto("packet length"))?;
            return self.apply(body);
        }
        self.apply(packet)?;
        self.check(sequence, packet, tag)
    }
}
