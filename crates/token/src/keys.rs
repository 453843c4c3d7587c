//! An issuer's published key set (JWKS): the keys that can check a signature, by key id.

use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, KeyOperations, PublicKeyUse};
use jsonwebtoken::{Algorithm, DecodingKey};
use serde::Deserialize;
use serde_json::Value;

use crate::Error;

/// Keys of one issuer. Keys it cannot use (encryption, symmetric, unknown curves) are left out, not errors:
/// issuers publish keys of every kind side by side.
#[derive(Clone)]
pub struct KeySet {
    keys: Vec<Key>,
}

#[derive(Clone)]
struct Key {
    id: Option<String>,
    /// What the set says that the key is for; a token may name no other.
    algorithm: Option<String>,
    curve: Option<EllipticCurve>,
    key: DecodingKey,
}

#[derive(Deserialize)]
struct Published {
    keys: Vec<Value>,
}

pub(crate) enum Found<'a> {
    Key(&'a DecodingKey),
    Ambiguous,
    Unknown,
}

impl KeySet {
    /// Reads a key set as published.
    ///
    /// # Errors
    /// The issuer's fault: not a key set, or none of its keys can check a signature.
    pub fn parse(json: &str) -> Result<Self, Error> {
        let published: Published =
            serde_json::from_str(json).map_err(|error| Error::KeySet(error.to_string()))?;
        let keys: Vec<Key> = published.keys.into_iter().filter_map(usable).collect();
        if keys.is_empty() { Err(Error::NoKeys) } else { Ok(Self { keys }) }
    }

    /// Key ids, for lists and comparisons.
    pub fn ids(&self) -> impl Iterator<Item = &str> {
        self.keys.iter().filter_map(|key| key.id.as_deref())
    }

    /// The one key a token with this header may be checked with.
    pub(crate) fn find(&self, id: Option<&str>, algorithm: Algorithm, name: &str) -> Found<'_> {
        let mut fitting = self
            .keys
            .iter()
            .filter(|key| id.is_none() || key.id.as_deref() == id)
            .filter(|key| key.key.family() == algorithm.family())
            .filter(|key| key.algorithm.as_deref().is_none_or(|only| only == name))
            .filter(|key| key.curve.as_ref().is_none_or(|curve| fits(curve, algorithm)));
        match (fitting.next(), fitting.next()) {
            (None, _) => Found::Unknown,
            (Some(key), None) => Found::Key(&key.key),
            (Some(_), Some(_)) => Found::Ambiguous,
        }
    }
}

fn fits(curve: &EllipticCurve, algorithm: Algorithm) -> bool {
    let only = match curve {
        EllipticCurve::P256 => Algorithm::ES256,
        EllipticCurve::P384 => Algorithm::ES384,
        EllipticCurve::Ed25519 => Algorithm::EdDSA,
        // No algorithm here uses P-521, or whatever a later release adds.
        EllipticCurve::P521 | _ => return false,
    };
    algorithm == only
}

fn usable(value: Value) -> Option<Key> {
    let algorithm = value.get("alg").and_then(Value::as_str).map(str::to_owned);
    let jwk: Jwk = serde_json::from_value(value).ok()?;
    let signs = jwk.common.public_key_use.as_ref().is_none_or(|us| *us == PublicKeyUse::Signature);
    let verifies =
        jwk.common.key_operations.as_ref().is_none_or(|list| list.contains(&KeyOperations::Verify));
    let curve = match &jwk.algorithm {
        AlgorithmParameters::EllipticCurve(key) => Some(key.curve.clone()),
        AlgorithmParameters::OctetKeyPair(key) => Some(key.curve.clone()),
        AlgorithmParameters::RSA(_) => None,
        // A symmetric key in a public set is no secret; what is not known here checks nothing.
        AlgorithmParameters::OctetKey(_) | AlgorithmParameters::Other(_) | _ => return None,
    };
    if !signs || !verifies {
        return None;
    }
    let key = DecodingKey::from_jwk(&jwk).ok()?;
    Some(Key { id: jwk.common.key_id, algorithm, curve, key })
}
