//! Why a token was not accepted, and why a set of issuers was not.

/// The client's doing, or its issuer's: the token proves nothing here. The text is for the record and for operators.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("algorithm {0:?} is not allowed for its issuer")]
    Algorithm(String),
    #[error("audience is not this gateway")]
    Audience,
    #[error("claim {0:?} is not what the issuer's configuration requires")]
    Condition(String),
    #[error("is bound (cnf) to something other than a client certificate's SHA-256")]
    Confirmation,
    #[error("header demands extensions (crit) that are not understood")]
    Critical,
    #[error("member {0:?} occurs twice")]
    Duplicate(String),
    #[error("header carries its own key ({0})")]
    EmbeddedKey(&'static str),
    #[error("expired")]
    Expired,
    #[error("issuer {0:?} is not trusted")]
    Issuer(String),
    #[error("key set of issuer {0:?} has not been fetched yet")]
    KeysMissing(String),
    #[error("longer than {} bytes", crate::MAX_TOKEN_BYTES)]
    Long,
    #[error("not a signed JWT: {0}")]
    Malformed(&'static str),
    #[error("names no key, and its issuer has several that fit")]
    NoKeyId,
    #[error("not valid yet")]
    NotYetValid,
    #[error("signature does not verify")]
    Signature,
    #[error("type {0:?} is not an access or identity token")]
    Type(String),
    /// The one refusal worth a look at the issuer: its keys may have been rotated.
    #[error("key id is not in the key set of issuer {issuer:?}")]
    UnknownKey { issuer: String },
}

impl Refusal {
    /// What every caller is told, whichever refusal it was.
    pub const PUBLIC: &'static str = "token was not accepted";
}

/// The operator's doing: a configured issuer cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("issuer {0}: algorithm {1:?} is unknown or symmetric; use RS256, PS256, ES256 or EdDSA")]
    Algorithm(String, String),
    #[error("issuer {0} allows no algorithm")]
    NoAlgorithm(String),
    #[error("issuer {0} has no audience, which would accept tokens meant for others")]
    NoAudience(String),
    #[error("issuer {0} occurs twice")]
    Twice(String),
    #[error("key set is not JSON with a list of keys: {0}")]
    KeySet(String),
    #[error("key set has no key that signatures can be checked with")]
    NoKeys,
}
