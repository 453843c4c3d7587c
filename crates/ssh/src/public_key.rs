//! Public keys as they lie in SSH messages and files, and checking signatures by them.
//!
//! No DSA, no SHA-1, no RSA under 2048 bits, and none of the key kinds that live on a security device: callers here are machines.

use ring::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, ED25519, RSA_PKCS1_2048_8192_SHA256,
    RSA_PKCS1_2048_8192_SHA512, RsaPublicKeyComponents, UnparsedPublicKey,
};

use crate::Error;
use crate::algorithms::SignatureAlgorithm;
use crate::encoding::Reader;
use crate::key_file;

/// Bytes of a key's blob: RSA with 8192 bits has about 1,060.
const BLOB_BYTES: usize = 4096;

/// A key whose kind the gateway knows. Two are equal when their blobs are.
#[derive(Clone, PartialEq, Eq)]
pub struct PublicKey {
    blob: Vec<u8>,
    key: Key,
}

#[derive(Clone, PartialEq, Eq)]
pub(crate) enum Key {
    Ed25519([u8; 32]),
    P256([u8; 65]),
    P384([u8; 97]),
    Rsa { exponent: Vec<u8>, modulus: Vec<u8> },
}

impl PublicKey {
    /// Reads a key's blob, as it lies in messages.
    ///
    /// # Errors
    /// No key, or one of a kind that the gateway does not take.
    pub fn from_blob(blob: &[u8]) -> Result<Self, Error> {
        let mut reader = Reader::new("public key", blob);
        let kind = reader.string()?;
        let key = Key::read(kind, &mut reader)?;
        reader.end()?;
        Ok(Self { blob: blob.to_vec(), key })
    }

    /// Reads a line of a `.pub` file.
    ///
    /// # Errors
    /// As [`PublicKey::from_blob`].
    pub fn from_line(line: &str) -> Result<Self, Error> {
        let unreadable =
            Error::KeyFile("not a public key line: give the text of a .pub file (ssh-keygen makes one)");
        Self::from_blob(&key_file::blob_of_line(line).ok_or(unreadable)?)
    }

    /// The line of a `.pub` file, without a comment.
    #[must_use]
    pub fn line(&self) -> String {
        let kind = Reader::new("public key", &self.blob).string().unwrap_or_default();
        format!("{} {}", String::from_utf8_lossy(kind), key_file::text_of_blob(&self.blob))
    }

    #[must_use]
    pub fn blob(&self) -> &[u8] {
        &self.blob
    }

    /// `SHA256:` and base64, as OpenSSH prints it.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        key_file::fingerprint(&self.blob)
    }

    /// The algorithms that a key of this kind signs by, best first.
    #[must_use]
    pub const fn algorithms(&self) -> &'static [SignatureAlgorithm] {
        self.key.algorithms()
    }

    /// Checks a signature blob, which must have been made by `expected`.
    ///
    /// # Errors
    /// It is no signature, by another algorithm, or wrong.
    pub fn verify(&self, expected: SignatureAlgorithm, data: &[u8], signature: &[u8]) -> Result<(), Error> {
        let mut reader = Reader::new("signature", signature);
        if reader.string()? != expected.name().as_bytes() {
            return Err(Error::Protocol("a signature by another algorithm than was agreed"));
        }
        let bytes = reader.string()?;
        reader.end()?;
        self.key.verify(expected, data, bytes)
    }

    /// As [`PublicKey::verify`], by whichever of the key's algorithms the signature names.
    pub(crate) fn verify_any(&self, data: &[u8], signature: &[u8]) -> Result<(), Error> {
        let name = Reader::new("signature", signature).string()?;
        let named = self.algorithms().iter().find(|it| it.name().as_bytes() == name);
        let named = named.ok_or(Error::Protocol("a signature by an algorithm that is not taken"))?;
        self.verify(*named, data, signature)
    }
}

impl std::fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("PublicKey").field(&self.fingerprint()).finish()
    }
}

impl Key {
    /// Reads what follows the kind's name.
    pub(crate) fn read(kind: &[u8], reader: &mut Reader<'_>) -> Result<Self, Error> {
        if reader.rest().len() > BLOB_BYTES {
            return Err(Error::Limit("a public key"));
        }
        match kind {
            b"ssh-ed25519" => Ok(Self::Ed25519(reader.string()?.try_into().map_err(|_| reader.malformed())?)),
            b"ecdsa-sha2-nistp256" => Ok(Self::P256(point(b"nistp256", reader)?)),
            b"ecdsa-sha2-nistp384" => Ok(Self::P384(point(b"nistp384", reader)?)),
            b"ssh-rsa" => {
                let exponent = reader.positive()?.to_vec();
                Ok(Self::Rsa { exponent, modulus: reader.positive()?.to_vec() })
            }
            _ => Err(Error::Protocol("a key of a kind that is not taken")),
        }
    }

    pub(crate) fn blob(&self) -> Vec<u8> {
        use crate::encoding::{put_positive, put_string};
        let mut out = Vec::with_capacity(128);
        match self {
            Self::Ed25519(key) => {
                put_string(&mut out, b"ssh-ed25519");
                put_string(&mut out, key);
            }
            Self::P256(point) => {
                put_string(&mut out, b"ecdsa-sha2-nistp256");
                put_string(&mut out, b"nistp256");
                put_string(&mut out, point);
            }
            Self::P384(point) => {
                put_string(&mut out, b"ecdsa-sha2-nistp384");
                put_string(&mut out, b"nistp384");
                put_string(&mut out, point);
            }
            Self::Rsa { exponent, modulus } => {
                put_string(&mut out, b"ssh-rsa");
                put_positive(&mut out, exponent);
                put_positive(&mut out, modulus);
            }
        }
        out
    }

    pub(crate) fn into_public(self) -> PublicKey {
        PublicKey { blob: self.blob(), key: self }
    }

    const fn algorithms(&self) -> &'static [SignatureAlgorithm] {
        match self {
            Self::Ed25519(_) => &[SignatureAlgorithm::Ed25519],
            Self::P256(_) => &[SignatureAlgorithm::EcdsaP256],
            Self::P384(_) => &[SignatureAlgorithm::EcdsaP384],
            Self::Rsa { .. } => &[SignatureAlgorithm::RsaSha512, SignatureAlgorithm::RsaSha256],
        }
    }

    fn verify(&self, by: SignatureAlgorithm, data: &[u8], signature: &[u8]) -> Result<(), Error> {
        let sound = match (self, by) {
            (Self::Ed25519(key), SignatureAlgorithm::Ed25519) => {
                UnparsedPublicKey::new(&ED25519, key).verify(data, signature)
            }
            (Self::P256(key), SignatureAlgorithm::EcdsaP256) => {
                UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, key).verify(data, &fixed::<32>(signature)?)
            }
            (Self::P384(key), SignatureAlgorithm::EcdsaP384) => {
                UnparsedPublicKey::new(&ECDSA_P384_SHA384_FIXED, key).verify(data, &fixed::<48>(signature)?)
            }
            (Self::Rsa { exponent, modulus }, SignatureAlgorithm::RsaSha512) => {
                RsaPublicKeyComponents { n: modulus, e: exponent }.verify(
                    &RSA_PKCS1_2048_8192_SHA512,
                    data,
                    signature,
                )
            }
            (Self::Rsa { exponent, modulus }, SignatureAlgorithm::RsaSha256) => {
                RsaPublicKeyComponents { n: modulus, e: exponent }.verify(
                    &RSA_PKCS1_2048_8192_SHA256,
                    data,
                    signature,
                )
            }
            _ => return Err(Error::Protocol("a signature by an algorithm that is not the key's")),
        };
        sound.map_err(|_| Error::Protocol("a signature that is wrong"))
    }
}

/// An uncompressed point on the named curve.
fn point<const N: usize>(curve: &[u8], reader: &mut Reader<'_>) -> Result<[u8; N], Error> {
    if reader.string()? != curve {
        return Err(reader.malformed());
    }
    reader.string()?.try_into().map_err(|_| reader.malformed())
}

/// SSH's two numbers of an ECDSA signature side by side, as ring takes them.
fn fixed<const N: usize>(signature: &[u8]) -> Result<Vec<u8>, Error> {
    let mut reader = Reader::new("ECDSA signature", signature);
    let mut out = Vec::with_capacity(2 * N);
    for _ in 0..2 {
        let number = reader.positive()?;
        let zeros = N.checked_sub(number.len()).ok_or(reader.malformed())?;
        out.resize(out.len() + zeros, 0);
        out.extend_from_slice(number);
    }
    reader.end()?;
    Ok(out)
}
