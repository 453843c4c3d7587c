//! The one door: a token's bytes in, an identity out.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::Algorithm;
use serde_json::{Map, Value};
use weir_control::{Issuer, Revocation};
use weir_policy::{Identity, Timestamp};

use crate::keys::Found;
use crate::{Error, KeySet, Refusal, claims, ring_provider, strict};

/// Longest token looked at.
pub const MAX_TOKEN_BYTES: usize = 16 << 10;

/// How far an issuer's clock may run ahead: applies to `nbf` and `iat`, never to `exp`.
pub const SKEW_MS: u64 = 60_000;

/// Header members that would let a token bring its own key.
const EMBEDDED: [&str; 4] = ["jku", "jwk", "x5c", "x5u"];

/// Checks tokens of a set of trusted issuers.
pub struct Verifier {
    issuers: Vec<Trusted>,
}

struct Trusted {
    issuer: Issuer,
    keys: Option<KeySet>,
}

/// A token that proved itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified {
    pub identity: Identity,
    /// `iat`; what a subject's revocation counts from.
    pub issued: Option<Timestamp>,
    /// SHA-256 of the only client certificate whose connections may present this token (RFC 8705), in hex.
    pub bound_to: Option<String>,
}

impl Verifier {
    /// # Errors
    /// The operator's fault: an issuer without audience, with a symmetric algorithm, twice, or with a broken key set.
    pub fn new(issuers: &[Issuer]) -> Result<Self, Error> {
        ring_provider::install();
        let mut trusted: Vec<Trusted> = Vec::with_capacity(issuers.len());
        for issuer in issuers {
            if trusted.iter().any(|known| known.issuer.issuer == issuer.issuer) {
                return Err(Error::Twice(issuer.issuer.clone()));
            }
            trusted.push(Trusted::new(issuer)?);
        }
        Ok(Self { issuers: trusted })
    }

    /// Verifies a token; surrounding white space is trimmed, since files end in newlines.
    ///
    /// # Errors
    /// The client's or its issuer's fault: see [`Refusal`].
    pub fn verify(&self, token: &[u8], now: Timestamp) -> Result<Verified, Refusal> {
        let token = token.trim_ascii();
        if token.len() > MAX_TOKEN_BYTES {
            return Err(Refusal::Long);
        }
        let token = str::from_utf8(token).map_err(|_| Refusal::Malformed("not text"))?;
        let (message, signature) = token.rsplit_once('.').ok_or(Refusal::Malformed("not three parts"))?;
        let (head, payload) = message.split_once('.').ok_or(Refusal::Malformed("not three parts"))?;
        if payload.contains('.') {
            return Err(Refusal::Malformed("not three parts"));
        }
        let header = part(head)?;
        let claims = part(payload)?;
        let name = claims::issuer(&claims)?;
        let trusted = self.trusted(name).ok_or_else(|| Refusal::Issuer(name.to_owned()))?;
        trusted.check_signature(&header, message, signature)?;
        claims::check(&claims, &trusted.issuer, now)?;
        let identity = claims::identity(&claims, &trusted.issuer)?;
        let bound_to = claims::certificate_bound_to(&claims)?;
        Ok(Verified { identity, issued: claims::time(&claims, "iat")?, bound_to })
    }

    fn trusted(&self, name: &str) -> Option<&Trusted> {
        self.issuers.iter().find(|trusted| trusted.issuer.issuer == name)
    }
}

impl Verified {
    /// Whether an operator withdrew this token, or everything this subject was given before some time.
    /// A token without `iat` counts as older than any revocation of its subject.
    pub fn revoked_by(&self, revocations: &[Revocation]) -> bool {
        let who = &self.identity;
        revocations.iter().any(|revocation| match revocation {
            Revocation::Subject { issuer, subject, before_unix_ms } => {
                *issuer == who.issuer
                    && *subject == who.subject
                    && self.issued.is_none_or(|issued| issued.unix_ms() < *before_unix_ms)
            }
            Revocation::Token { issuer, token_id } => {
                *issuer == who.issuer && who.token_id.as_ref() == Some(token_id)
            }
        })
    }
}

impl Trusted {
    fn new(issuer: &Issuer) -> Result<Self, Error> {
        let name = || issuer.issuer.clone();
        if issuer.audiences.is_empty() {
            return Err(Error::NoAudience(name()));
        }
        if issuer.algorithms.is_empty() {
            return Err(Error::NoAlgorithm(name()));
        }
        if let Some(bad) = issuer.algorithms.iter().find(|algorithm| asymmetric(algorithm).is_none()) {
            return Err(Error::Algorithm(name(), bad.clone()));
        }
        let keys = issuer.jwks.as_deref().map(KeySet::parse).transpose()?;
        Ok(Self { issuer: issuer.clone(), keys })
    }

    fn check_signature(
        &self,
        header: &Map<String, Value>,
        message: &str,
        signature: &str,
    ) -> Result<(), Refusal> {
        let name = header.get("alg").and_then(Value::as_str).ok_or(Refusal::Malformed("no alg"))?;
        let allowed = self.issuer.algorithms.iter().any(|algorithm| algorithm == name);
        let algorithm = asymmetric(name)
            .filter(|_| allowed)
            .ok_or_else(|| Refusal::Algorithm(name.chars().take(16).collect()))?;
        check_header(header)?;
        let id = match header.get("kid") {
            None => None,
            Some(Value::String(id)) => Some(id.as_str()),
            Some(_) => return Err(Refusal::Malformed("kid is not text")),
        };
        let issuer = &self.issuer.issuer;
        let keys = self.keys.as_ref().ok_or_else(|| Refusal::KeysMissing(issuer.clone()))?;
        let key = match keys.find(id, algorithm, name) {
            Found::Key(key) => key,
            Found::Ambiguous => return Err(Refusal::NoKeyId),
            Found::Unknown => return Err(Refusal::UnknownKey { issuer: issuer.clone() }),
        };
        if ring_provider::verifies(signature, message.as_bytes(), key, algorithm) {
            Ok(())
        } else {
            Err(Refusal::Signature)
        }
    }
}

fn asymmetric(name: &str) -> Option<Algorithm> {
    name.parse::<Algorithm>()
        .ok()
        .filter(|algorithm| !name.starts_with("HS") && name == format!("{algorithm:?}"))
}

fn check_header(header: &Map<String, Value>) -> Result<(), Refusal> {
    if header.contains_key("crit") {
        return Err(Refusal::Critical);
    }
    if let Some(name) = EMBEDDED.into_iter().find(|name| header.contains_key(*name)) {
        return Err(Refusal::EmbeddedKey(name));
    }
    match header.get("typ") {
        None => Ok(()),
        Some(Value::String(kind)) if is_access_token(kind) => Ok(()),
        Some(other) => Err(Refusal::Type(other.to_string().chars().take(32).collect())),
    }
}

/// `JWT` for identity tokens, `at+jwt` for access tokens (RFC 9068); others (logout, DPoP proofs) are not credentials.
fn is_access_token(kind: &str) -> bool {
    ["jwt", "at+jwt", "application/jwt", "application/at+jwt"]
        .iter()
        .any(|known| known.eq_ignore_ascii_case(kind))
}

fn part(encoded: &str) -> Result<Map<String, Value>, Refusal> {
    let bytes = URL_SAFE_NO_PAD.decode(encoded).map_err(|_| Refusal::Malformed("not base64url"))?;
    strict::object(&bytes)
}
