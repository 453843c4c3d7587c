//! The seal: the last frame of a segment, whose payload is a signed statement about all of it, laid out as FORMAT.md,
//! "Seal", says.

use ring::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};

use crate::Error;
use crate::event::{put, take};
use crate::frame::{FRAME_HEADER_LEN, frame_len};
use crate::hash::Digest;

pub(crate) const PURPOSE: [u8; 16] = *b"WEIR SEAL v1\0\0\0\0";
/// Bytes of the statement, which the signature covers.
pub(crate) const STATEMENT_LEN: usize = 304;
pub(crate) const SEAL_PAYLOAD_LEN: usize = STATEMENT_LEN + 64;
/// Bytes of the seal frame: the last of every sealed segment.
pub(crate) const SEAL_FRAME_LEN: usize = frame_len(SEAL_PAYLOAD_LEN);
const _: () = assert!(SEAL_FRAME_LEN == FRAME_HEADER_LEN + SEAL_PAYLOAD_LEN);

/// A node's segment signing key.
#[derive(Debug)]
pub struct SigningKey(Ed25519KeyPair);

impl SigningKey {
    /// Reads a PKCS#8 Ed25519 key, with or without its public half.
    ///
    /// # Errors
    /// The operator's: not such a key.
    pub fn from_pkcs8(der: &[u8]) -> Result<Self, Error> {
        Ed25519KeyPair::from_pkcs8_maybe_unchecked(der).map(Self).map_err(|_| Error::SigningKey)
    }

    #[must_use]
    pub fn public_key(&self) -> [u8; 32] {
        self.0.public_key().as_ref().try_into().unwrap_or_default()
    }

    pub(crate) fn sign(&self, bytes: &[u8]) -> [u8; 64] {
        self.0.sign(bytes).as_ref().try_into().unwrap_or([0; 64])
    }
}

/// What a public key's file begins with.
pub(crate) const PUBLIC_KEY_PREFIX: &str = "weir-segment-ed25519:";

/// A public key as its file holds it: one line of text.
#[must_use]
pub fn public_key_text(key: &[u8; 32]) -> String {
    format!("{PUBLIC_KEY_PREFIX}{}\n", Digest(*key))
}

/// Reads what [`public_key_text`] wrote.
///
/// # Errors
/// The caller's: not such a line.
pub fn parse_public_key(text: &str) -> Result<[u8; 32], Error> {
    let digits = text.trim().strip_prefix(PUBLIC_KEY_PREFIX).unwrap_or_default().as_bytes();
    let (pairs, rest) = digits.as_chunks::<2>();
    if !rest.is_empty() {
        return Err(Error::PublicKey);
    }
    let byte = |pair: &[u8; 2]| {
        let digit = |digit: u8| char::from(digit).to_digit(16);
        Some((digit(pair[0])? * 16 + digit(pair[1])?) as u8)
    };
    let key: Option<Vec<u8>> = pairs.iter().map(byte).collect();
    key.and_then(|key| key.try_into().ok()).ok_or(Error::PublicKey)
}

/// What the seal states, decoded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Statement {
    pub number: u64,
    pub id: [u8; 16],
    pub header: Digest,
    pub root: Digest,
    pub events: u64,
    pub index: Digest,
    /// Of everything before the seal's frame; zero for a segment that needs none.
    pub stored: Digest,
    pub to_upstream_bytes: u64,
    pub to_client_bytes: u64,
    /// Zero, as `latest`, for a segment without events.
    pub earliest_unix_us: i64,
    pub latest_unix_us: i64,
    pub sealed_unix_us: i64,
    pub index_offset: u64,
    pub seal_offset: u64,
    pub previous_root: Digest,
    pub after_unclean_end: bool,
    /// The index lists every word that its events can be found by.
    pub lists_words: bool,
    pub public_key: [u8; 32],
}

/// A statement as laid out, with its signature.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seal {
    pub statement: [u8; STATEMENT_LEN],
    pub signature: [u8; 64],
}

impl Statement {
    pub(crate) fn sign(&self, key: &SigningKey) -> Seal {
        let mut statement = [0; STATEMENT_LEN];
        let mut out = statement.as_mut_slice();
        put(&mut out, &PURPOSE);
        put(&mut out, &self.number.to_le_bytes());
        put(&mut out, &self.id);
        put(&mut out, &self.header.0);
        put(&mut out, &self.root.0);
        put(&mut out, &self.events.to_le_bytes());
        put(&mut out, &self.index.0);
        put(&mut out, &self.stored.0);
        put(&mut out, &self.to_upstream_bytes.to_le_bytes());
        put(&mut out, &self.to_client_bytes.to_le_bytes());
        put(&mut out, &self.earliest_unix_us.to_le_bytes());
        put(&mut out, &self.latest_unix_us.to_le_bytes());
        put(&mut out, &self.sealed_unix_us.to_le_bytes());
        put(&mut out, &self.index_offset.to_le_bytes());
        put(&mut out, &self.seal_offset.to_le_bytes());
        put(&mut out, &self.previous_root.0);
        let flags = u32::from(self.after_unclean_end) | (u32::from(self.lists_words) << 1);
        put(&mut out, &flags.to_le_bytes());
        put(&mut out, &[0; 4]);
        put(&mut out, &self.public_key);
        Seal { statement, signature: key.sign(&statement) }
    }
}

impl Seal {
    /// Splits a seal frame's payload.
    ///
    /// # Errors
    /// The recording's: not the length of a seal.
    pub fn read(payload: &[u8]) -> Result<Self, Error> {
        let parts = payload.split_first_chunk::<STATEMENT_LEN>();
        let parts = parts.and_then(|(statement, rest)| Some((statement, <[u8; 64]>::try_from(rest).ok()?)));
        let (&statement, signature) = parts.ok_or(Error::Seal("it is not as long as a seal"))?;
        Ok(Self { statement, signature })
    }

    /// What it states, checked against its own signature, whoever's that is: compare `public_key` with a trusted one.
    ///
    /// # Errors
    /// The recording's: another version, or the signature does not match.
    pub fn open(&self) -> Result<Statement, Error> {
        let mut rest = self.statement.as_slice();
        if take::<16>(&mut rest) != PURPOSE {
            return Err(Error::Seal("it is not a seal of a version this Weir knows"));
        }
        let mut statement = Statement {
            number: u64::from_le_bytes(take(&mut rest)),
            id: take(&mut rest),
            header: Digest(take(&mut rest)),
            root: Digest(take(&mut rest)),
            events: u64::from_le_bytes(take(&mut rest)),
            index: Digest(take(&mut rest)),
            stored: Digest(take(&mut rest)),
            ..Statement::default()
        };
        statement.to_upstream_bytes = u64::from_le_bytes(take(&mut rest));
        statement.to_client_bytes = u64::from_le_bytes(take(&mut rest));
        statement.earliest_unix_us = i64::from_le_bytes(take(&mut rest));
        statement.latest_unix_us = i64::from_le_bytes(take(&mut rest));
        statement.sealed_unix_us = i64::from_le_bytes(take(&mut rest));
        statement.index_offset = u64::from_le_bytes(take(&mut rest));
        statement.seal_offset = u64::from_le_bytes(take(&mut rest));
        statement.previous_root = Digest(take(&mut rest));
        let flags = u32::from_le_bytes(take(&mut rest));
        (statement.after_unclean_end, statement.lists_words) = (flags & 1 != 0, flags & 2 != 0);
        let _zero: [u8; 4] = take(&mut rest);
        statement.public_key = take(&mut rest);
        UnparsedPublicKey::new(&ED25519, statement.public_key)
            .verify(&self.statement, &self.signature)
            .map_err(|_| Error::Seal("its signature does not match what it states"))?;
        Ok(statement)
    }

    /// The key that it names, not checked.
    pub(crate) fn public_key(&self) -> [u8; 32] {
        self.statement.last_chunk().copied().unwrap_or_default()
    }

    pub(crate) fn payload(&self) -> [u8; SEAL_PAYLOAD_LEN] {
        let mut payload = [0; SEAL_PAYLOAD_LEN];
        let mut out = payload.as_mut_slice();
        put(&mut out, &self.statement);
        put(&mut out, &self.signature);
        payload
    }
}
