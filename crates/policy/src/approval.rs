//! Approvals: what admin signs when people release a held command, or all alike of a run up to a limit; and the only way
//! to make an [`Approval`] or a [`RunApproval`].
//!
//! Both ends of the encoding live here, so that they cannot drift apart. Keys are the callers' matter.

use crate::{Approval, Error, Timestamp};

const DOMAIN: &[u8] = b"weir approval v1\0";
const RUN_DOMAIN: &[u8] = b"weir run approval v1\0";

/// What an approval says, before it is signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApprovalClaim {
    /// Hold id.
    pub hold: String,
    /// [`crate::Hold::digest`] of the held command.
    pub digest: [u8; 32],
    /// [`crate::Hold::rule_hash`] of the rule that held it.
    pub rule_hash: [u8; 32],
    /// The people who approved.
    pub approvers: Vec<String>,
    /// Not usable from this moment on.
    pub expires: Timestamp,
}

impl ApprovalClaim {
    /// The bytes to sign (Ed25519) and to hand over beside the signature. One claim has one encoding.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = DOMAIN.to_vec();
        bytes.extend_from_slice(&self.digest);
        bytes.extend_from_slice(&self.rule_hash);
        bytes.extend_from_slice(&self.expires.unix_ms().to_le_bytes());
        put(&mut bytes, &self.hold);
        for approver in &self.approvers {
            put(&mut bytes, approver);
        }
        bytes
    }
}

/// What an approval for a whole run says, before it is signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunClaim {
    /// Its own name: that of the hold which it answered first.
    pub hold: String,
    /// [`crate::Hold::scope`] of what it releases.
    pub scope: [u8; 32],
    /// [`crate::Hold::rule_hash`] of the rule that held it.
    pub rule_hash: [u8; 32],
    /// The most that it releases, on all nodes together.
    pub statements: u64,
    pub rows: Option<u64>,
    pub approvers: Vec<String>,
    /// Not usable from this moment on.
    pub expires: Timestamp,
}

/// A [`RunClaim`] that admin's key signed.
#[derive(Debug, PartialEq, Eq)]
pub struct RunApproval {
    claim: RunClaim,
    signature: Vec<u8>,
}

impl RunClaim {
    /// The bytes to sign (Ed25519) and to hand over beside the signature. One claim has one encoding.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = RUN_DOMAIN.to_vec();
        bytes.extend_from_slice(&self.scope);
        bytes.extend_from_slice(&self.rule_hash);
        bytes.extend_from_slice(&self.expires.unix_ms().to_le_bytes());
        bytes.extend_from_slice(&self.statements.to_le_bytes());
        bytes.extend_from_slice(&self.rows.unwrap_or(u64::MAX).to_le_bytes());
        put(&mut bytes, &self.hold);
        for approver in &self.approvers {
            put(&mut bytes, approver);
        }
        bytes
    }
}

impl RunApproval {
    /// Accepts an approval that `public_key` (Ed25519, 32 bytes) signed.
    ///
    /// # Errors
    /// The signature does not fit, or the bytes are no claim: admin's fault, or an attack.
    pub fn verify(bytes: &[u8], signature: &[u8], public_key: &[u8]) -> Result<Self, Error> {
        verify_signature(bytes, signature, public_key)?;
        let rest = bytes.strip_prefix(RUN_DOMAIN).ok_or(Error::Approval("not a run's approval"))?;
        let (scope, rest) = rest.split_first_chunk().ok_or(SHORT)?;
        let (rule_hash, rest) = rest.split_first_chunk().ok_or(SHORT)?;
        let (expires, rest) = rest.split_first_chunk().ok_or(SHORT)?;
        let (statements, rest) = rest.split_first_chunk().ok_or(SHORT)?;
        let (rows, rest) = rest.split_first_chunk().ok_or(SHORT)?;
        let (hold, rest) = take(rest)?;
        let claim = RunClaim {
            hold,
            scope: *scope,
            rule_hash: *rule_hash,
            statements: u64::from_le_bytes(*statements),
            rows: Some(u64::from_le_bytes(*rows)).filter(|rows| *rows != u64::MAX),
            approvers: names(rest)?,
            expires: Timestamp::from_unix_ms(u64::from_le_bytes(*expires)),
        };
        Ok(Self { claim, signature: signature.to_vec() })
    }

    pub const fn claim(&self) -> &RunClaim {
        &self.claim
    }

    /// For the record.
    pub fn signature(&self) -> &[u8] {
        &self.signature
    }
}

fn verify_signature(bytes: &[u8], signature: &[u8], public_key: &[u8]) -> Result<(), Error> {
    ring::signature::UnparsedPublicKey::new(&ring::signature::ED25519, public_key)
        .verify(bytes, signature)
        .map_err(|_| Error::Approval("the signature does not fit"))
}

/// The rest of a claim: names up to its end.
fn names(mut rest: &[u8]) -> Result<Vec<String>, Error> {
    let mut names = Vec::new();
    while !rest.is_empty() {
        let (name, tail) = take(rest)?;
        names.push(name);
        rest = tail;
    }
    Ok(names)
}

impl Approval {
    /// Accepts an approval that `public_key` (Ed25519, 32 bytes) signed.
    ///
    /// # Errors
    /// The signature does not fit, or the bytes are no claim: admin's fault, or an attack.
    pub fn verify(bytes: &[u8], signature: &[u8], public_key: &[u8]) -> Result<Self, Error> {
        verify_signature(bytes, signature, public_key)?;
        let rest = bytes.strip_prefix(DOMAIN).ok_or(Error::Approval("not an approval"))?;
        let (digest, rest) = rest.split_first_chunk().ok_or(SHORT)?;
        let (rule_hash, rest) = rest.split_first_chunk().ok_or(SHORT)?;
        let (expires, rest) = rest.split_first_chunk().ok_or(SHORT)?;
        let (hold, rest) = take(rest)?;
        let approvers = names(rest)?;
        Ok(Self {
            hold,
            digest: *digest,
            rule_hash: *rule_hash,
            approvers,
            expires: Timestamp::from_unix_ms(u64::from_le_bytes(*expires)),
        })
    }
}

const SHORT: Error = Error::Approval("cut short");

fn put(bytes: &mut Vec<u8>, text: &str) {
    bytes.extend_from_slice(&(text.len() as u64).to_le_bytes());
    bytes.extend_from_slice(text.as_bytes());
}

fn take(bytes: &[u8]) -> Result<(String, &[u8]), Error> {
    let (len, rest) = bytes.split_first_chunk().ok_or(SHORT)?;
    let len = usize::try_from(u64::from_le_bytes(*len)).map_err(|_| SHORT)?;
    let (text, rest) = rest.split_at_checked(len).ok_or(SHORT)?;
    let text = std::str::from_utf8(text).map_err(|_| Error::Approval("a name is not UTF-8"))?;
    Ok((text.to_owned(), rest))
}

#[cfg(test)]
mod tests {
    use ring::rand::SystemRandom;
    use ring::signature::{Ed25519KeyPair, KeyPair};

    use super::*;

    fn key() -> Ed25519KeyPair {
        let document = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).unwrap();
        Ed25519KeyPair::from_pkcs8(document.as_ref()).unwrap()
    }

    fn claim() -> ApprovalClaim {
        ApprovalClaim {
            hold: "h-1".into(),
            digest: [7; 32],
            rule_hash: [9; 32],
            approvers: vec!["ann".into(), "ben".into()],
            expires: Timestamp::from_unix_seconds(100),
        }
    }

    #[test]
    fn a_signed_claim_comes_back_as_it_was() {
        let key = key();
        let bytes = claim().to_bytes();
        let approval =
            Approval::verify(&bytes, key.sign(&bytes).as_ref(), key.public_key().as_ref()).unwrap();
        assert_eq!(approval.hold(), "h-1");
        assert_eq!(approval.approvers(), ["ann", "ben"]);
        assert_eq!(approval.expires(), Timestamp::from_unix_seconds(100));
    }

    #[test]
    fn any_changed_byte_and_any_other_key_are_refused() {
        let key = key();
        let bytes = claim().to_bytes();
        let signature = key.sign(&bytes);
        for at in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[at] ^= 1;
            assert!(Approval::verify(&changed, signature.as_ref(), key.public_key().as_ref()).is_err());
        }
        let other = self::key();
        assert!(Approval::verify(&bytes, signature.as_ref(), other.public_key().as_ref()).is_err());
    }

    #[test]
    fn signed_bytes_that_are_cut_anywhere_are_refused_or_name_fewer_approvers() {
        let key = key();
        let bytes = claim().to_bytes();
        for len in 0..bytes.len() {
            let cut = &bytes[..len];
            match Approval::verify(cut, key.sign(cut).as_ref(), key.public_key().as_ref()) {
                Ok(approval) => assert!(approval.approvers().len() < 2),
                Err(error) => assert!(matches!(error, Error::Approval(_))),
            }
        }
    }
}
