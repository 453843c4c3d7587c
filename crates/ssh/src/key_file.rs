//! The text of OpenSSH's files: lines of public keys and certificates, and private keys in its own format (PROTOCOL.key).
//!
//! Read here and not by a library: the one there is refuses every 256th P-256 key, whose number is a byte shorter.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::BufMut;
use zeroize::Zeroizing;

use crate::Error;
use crate::encoding::{Reader, put_string};

const BEGIN: &str = "-----BEGIN OPENSSH PRIVATE KEY-----";
const END: &str = "-----END OPENSSH PRIVATE KEY-----";
const MAGIC: &[u8] = b"openssh-key-v1\0";
const FILE_BYTES: usize = 64 << 10;

/// The blob in a line of a `.pub` file: kind, base64, and a comment that says nothing. `None`: it is no such line.
pub(crate) fn blob_of_line(line: &str) -> Option<Vec<u8>> {
    let mut words = line.split_ascii_whitespace();
    let (kind, text) = (words.next()?, words.next().filter(|text| text.len() <= FILE_BYTES)?);
    let blob = STANDARD.decode(text).ok()?;
    let named = Reader::new("public key", &blob).string().ok()?;
    (named == kind.as_bytes()).then_some(blob)
}

pub(crate) fn text_of_blob(blob: &[u8]) -> String {
    STANDARD.encode(blob)
}

/// `SHA256:` and the digest, as OpenSSH prints it.
pub(crate) fn fingerprint(blob: &[u8]) -> String {
    let digest = ring::digest::digest(&ring::digest::SHA256, blob);
    format!("SHA256:{}", base64::engine::general_purpose::STANDARD_NO_PAD.encode(digest))
}

/// A private key's numbers.
pub(crate) enum PrivateNumbers {
    Ed25519 { seed: Zeroizing<[u8; 32]>, public: [u8; 32] },
    P256 { scalar: Zeroizing<[u8; 32]>, public: Vec<u8> },
}

pub(crate) fn is_openssh(text: &str) -> bool {
    text.contains(BEGIN)
}

/// Reads the one key of a file's text.
///
/// # Errors
/// `unreadable`, or what to do about a key of another kind or with a passphrase.
pub(crate) fn private(text: &str, unreadable: &Error) -> Result<PrivateNumbers, Error> {
    let armoured = text.split_once(BEGIN).and_then(|(_, rest)| rest.split_once(END)).map(|(body, _)| body);
    let body = armoured.filter(|body| body.len() <= FILE_BYTES).ok_or_else(|| unreadable.clone())?;
    let body: Zeroizing<String> = Zeroizing::new(body.split_ascii_whitespace().collect());
    let bytes = Zeroizing::new(STANDARD.decode(body.as_bytes()).map_err(|_| unreadable.clone())?);
    read(&bytes).map_err(|error| if matches!(error, Error::KeyFile(_)) { error } else { unreadable.clone() })
}

/// An Ed25519 key's file, without a comment.
pub(crate) fn written(seed: &[u8; 32], public: &[u8; 32]) -> Zeroizing<String> {
    let mut blob = Vec::new();
    put_string(&mut blob, b"ssh-ed25519");
    put_string(&mut blob, public);
    let mut inner = Zeroizing::new(Vec::with_capacity(256));
    // Two equal words, by which a reader knows that it decrypted rightly: here nothing is encrypted.
    inner.put_u64(0);
    inner.put_slice(&blob);
    let pair = Zeroizing::new([&seed[..], public].concat());
    put_string(&mut *inner, &pair);
    put_string(&mut *inner, b"");
    for pad in (1..=8u8).take((8 - inner.len() % 8) % 8) {
        inner.put_u8(pad);
    }
    let mut file = Zeroizing::new(Vec::with_capacity(512));
    file.put_slice(MAGIC);
    for field in [&b"none"[..], b"none", b""] {
        put_string(&mut *file, field);
    }
    file.put_u32(1);
    put_string(&mut *file, &blob);
    put_string(&mut *file, &inner);
    let body = Zeroizing::new(STANDARD.encode(&*file));
    let mut text = Zeroizing::new(String::with_capacity(body.len() + 128));
    text.push_str(BEGIN);
    text.push('\n');
    for (at, letter) in body.chars().enumerate() {
        if at > 0 && at % 70 == 0 {
            text.push('\n');
        }
        text.push(letter);
    }
    text.push('\n');
    text.push_str(END);
    text.push('\n');
    text
}

fn read(bytes: &[u8]) -> Result<PrivateNumbers, Error> {
    let mut reader = Reader::new("private key", bytes);
    if reader.take(MAGIC.len())? != MAGIC {
        return Err(reader.malformed());
    }
    let cipher = reader.string()?;
    // Key derivation and its options.
    reader.string()?;
    reader.string()?;
    if cipher != b"none" {
        return Err(Error::KeyFile(
            "the private key is encrypted with a passphrase, which a machine cannot type: ssh-keygen -p -N '' -f FILE",
        ));
    }
    if reader.u32()? != 1 {
        return Err(reader.malformed());
    }
    // The public key, which is beside the private one too.
    reader.string()?;
    let mut reader = Reader::new("private key", reader.string()?);
    if reader.u32()? != reader.u32()? {
        return Err(reader.malformed());
    }
    match reader.string()? {
        b"ssh-ed25519" => {
            let public = reader.string()?.try_into().map_err(|_| reader.malformed())?;
            let seed = reader.string()?.first_chunk().ok_or(reader.malformed())?;
            Ok(PrivateNumbers::Ed25519 { seed: Zeroizing::new(*seed), public })
        }
        b"ecdsa-sha2-nistp256" => {
            reader.string()?;
            let public = reader.string()?.to_vec();
            let number = reader.positive()?;
            let mut scalar = Zeroizing::new([0; 32]);
            let start = 32usize.checked_sub(number.len()).ok_or(reader.malformed())?;
            scalar.get_mut(start..).ok_or(reader.malformed())?.copy_from_slice(number);
            Ok(PrivateNumbers::P256 { scalar, public })
        }
        b"ssh-rsa" => Err(Error::KeyFile("RSA keys are read as PKCS#8: ssh-keygen -p -m PKCS8 -f FILE")),
        _ => Err(Error::KeyFile("a key of a kind that is not taken: make one by ssh-keygen -t ed25519")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::SigningKey;
    use crate::algorithms::SignatureAlgorithm;
    use crate::encoding::put_positive;

    /// P-256's base point: the public key of the private key 1.
    const BASE: &str = "046b17d1f2e12c4247f8bce6e563a440f277037d812deb33a0f4a13945d898c296\
                        4fe342e2fe1a7f9b8ee7eb4a7c0f9e162bce33576b315ececbb6406837bf51f5";

    #[test]
    fn a_p256_key_whose_number_is_short_is_read() {
        let point = hex::decode(BASE).unwrap();
        let mut inner = vec![0; 8];
        put_string(&mut inner, b"ecdsa-sha2-nistp256");
        put_string(&mut inner, b"nistp256");
        put_string(&mut inner, &point);
        put_positive(&mut inner, &[1]);
        put_string(&mut inner, b"comment");
        let mut file = MAGIC.to_vec();
        for field in [&b"none"[..], b"none", b""] {
            put_string(&mut file, field);
        }
        file.put_u32(1);
        put_string(&mut file, b"public");
        put_string(&mut file, &inner);
        let key =
            SigningKey::from_file_text(&format!("{BEGIN}\n{}\n{END}\n", STANDARD.encode(&file))).unwrap();
        let signature = key.sign(SignatureAlgorithm::EcdsaP256, b"text").unwrap();
        key.public().verify(SignatureAlgorithm::EcdsaP256, b"text", &signature).unwrap();
        assert!(key.public().verify(SignatureAlgorithm::EcdsaP256, b"other", &signature).is_err());
    }

    #[test]
    fn no_cut_of_a_file_is_a_key() {
        let mut file = MAGIC.to_vec();
        put_string(&mut file, b"none");
        for end in 0..file.len() {
            assert!(read(&file[..end]).is_err());
        }
        assert_eq!(blob_of_line("ssh-rsa AAAAC3NzaC1lZDI1NTE5AAAAIA=="), None);
        assert_eq!(blob_of_line("ssh-ed25519"), None);
    }
}
