//! One direction's keys: sealing a packet in place, and opening one.
//!
//! A *packet* here is the length field (4 bytes), the padding length, payload and padding; its *tag* (MAC) lies behind it. Framing and
//! sequence numbers are the `packet` module's.

mod aes_ctr;
mod aes_gcm;

use aws_lc_rs::aead::chacha20_poly1305_openssh as chacha;
use zeroize::Zeroizing;

use crate::Error;
use crate::algorithms::{Cipher, Mac};
use aes_ctr::AesCtr;
use aes_gcm::AesGcm;

/// What a direction's packets look like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Layout {
    /// What the padded part is a multiple of.
    pub block: usize,
    /// The length field counts towards the multiple.
    pub length_padded: bool,
    /// Bytes of the tag.
    pub tag: usize,
    /// Bytes needed to know the length.
    pub head: usize,
}

/// Secrets for one direction, in the order and lengths that cipher and MAC need.
pub(crate) struct Secrets {
    pub iv: Zeroizing<Vec<u8>>,
    pub key: Zeroizing<Vec<u8>>,
    pub mac: Zeroizing<Vec<u8>>,
}

pub(crate) struct Sealer(Sealing);
pub(crate) struct Opener(Opening);

enum Sealing {
    /// Before the first NEWKEYS.
    Clear,
    // Several hundred bytes of key schedule: behind a pointer.
    Gcm(Box<AesGcm>),
    ChaCha(Box<chacha::SealingKey>),
    Ctr(Box<AesCtr>),
}

enum Opening {
    Clear,
    Gcm(Box<AesGcm>),
    ChaCha(Box<chacha::OpeningKey>),
    Ctr(Box<AesCtr>),
}

const CLEAR: Layout = Layout { block: 8, length_padded: true, tag: 0, head: 4 };
const GCM: Layout = Layout { block: 16, length_padded: false, tag: 16, head: 4 };
const CHACHA: Layout = Layout { block: 8, length_padded: false, tag: 16, head: 4 };

impl Sealer {
    pub(crate) const fn clear() -> Self {
        Self(Sealing::Clear)
    }

    /// `mac` is ignored by the ciphers that authenticate by themselves.
    ///
    /// # Errors
    /// Secrets of other lengths than the algorithms', which would be the gateway's fault.
    pub(crate) fn new(cipher: Cipher, mac: Mac, secrets: &Secrets) -> Result<Self, Error> {
        Ok(Self(match cipher {
            Cipher::Aes256Gcm | Cipher::Aes128Gcm => Sealing::Gcm(Box::new(AesGcm::new(cipher, secrets)?)),
            Cipher::ChaCha20Poly1305 => {
                Sealing::ChaCha(Box::new(chacha::SealingKey::new(chacha_key(secrets)?)))
            }
            Cipher::Aes256Ctr | Cipher::Aes128Ctr => {
                Sealing::Ctr(Box::new(AesCtr::new(cipher, mac, secrets)?))
            }
        }))
    }

    pub(crate) fn layout(&self) -> Layout {
        match &self.0 {
            Sealing::Clear => CLEAR,
            Sealing::Gcm(_) => GCM,
            Sealing::ChaCha(_) => CHACHA,
            Sealing::Ctr(ctr) => ctr.layout(),
        }
    }

    /// Seals `packet` in place and fills `tag`, which is as long as the layout says.
    pub(crate) fn seal(&mut self, sequence: u32, packet: &mut [u8], tag: &mut [u8]) -> Result<(), Error> {
        match &mut self.0 {
            Sealing::Clear => Ok(()),
            Sealing::Gcm(gcm) => gcm.seal(packet, tag),
            Sealing::ChaCha(key) => {
                let tag = tag.first_chunk_mut().ok_or(Error::Crypto("tag length"))?;
                key.seal_in_place(sequence, packet, tag);
                Ok(())
            }
            Sealing::Ctr(ctr) => ctr.seal(sequence, packet, tag),
        }
    }
}

impl Opener {
    pub(crate) const fn clear() -> Self {
        Self(Opening::Clear)
    }

    /// As [`Sealer::new`].
    pub(crate) fn new(cipher: Cipher, mac: Mac, secrets: &Secrets) -> Result<Self, Error> {
        Ok(Self(match cipher {
            Cipher::Aes256Gcm | Cipher::Aes128Gcm => Opening::Gcm(Box::new(AesGcm::new(cipher, secrets)?)),
            Cipher::ChaCha20Poly1305 => {
                Opening::ChaCha(Box::new(chacha::OpeningKey::new(chacha_key(secrets)?)))
            }
            Cipher::Aes256Ctr | Cipher::Aes128Ctr => {
                Opening::Ctr(Box::new(AesCtr::new(cipher, mac, secrets)?))
            }
        }))
    }

    pub(crate) fn layout(&self) -> Layout {
        match &self.0 {
            Opening::Clear => CLEAR,
            Opening::Gcm(_) => GCM,
            Opening::ChaCha(_) => CHACHA,
            Opening::Ctr(ctr) => ctr.layout(),
        }
    }

    /// The packet's length field. `input` holds at least `layout().head` bytes and stays as it is, so that a packet whose rest
    /// is still on its way can be handed in again.
    pub(crate) fn length(&self, sequence: u32, input: &[u8]) -> Result<u32, Error> {
        let head: [u8; 4] = *input.first_chunk().ok_or(Error::Contract("a head was promised"))?;
        Ok(u32::from_be_bytes(match &self.0 {
            Opening::Clear | Opening::Gcm(_) => head,
            Opening::ChaCha(key) => key.decrypt_packet_length(sequence, head),
            Opening::Ctr(ctr) => ctr.length(input)?,
        }))
    }

    /// Opens `packet` in place: length field in the clear afterwards.
    ///
    /// # Errors
    /// [`Error::Integrity`]; `packet` then holds nothing that may be used.
    pub(crate) fn open(&mut self, sequence: u32, packet: &mut [u8], tag: &[u8]) -> Result<(), Error> {
        match &mut self.0 {
            Opening::Clear => Ok(()),
            Opening::Gcm(gcm) => gcm.open(packet, tag),
            Opening::ChaCha(key) => {
                let tag = tag.first_chunk().ok_or(Error::Crypto("tag length"))?;
                key.open_in_place(sequence, packet, tag).map(|_| ()).map_err(|_| Error::Integrity)
            }
            Opening::Ctr(ctr) => ctr.open(sequence, packet, tag),
        }
    }
}

fn chacha_key(secrets: &Secrets) -> Result<&[u8; chacha::KEY_LEN], Error> {
    secrets.key.first_chunk().ok_or(Error::Crypto("key length"))
}
