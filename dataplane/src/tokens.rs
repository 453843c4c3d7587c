//! Tokens verified lately, by their SHA-256: a session's login costs a hash where the same token came before. A hit is
//! still checked for expiry and revocation by whoever asks; a new state from admin empties it.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use ring::digest::{SHA256, digest};
use weir_policy::{Identity, Timestamp};
use weir_token::{Refusal, Verified};

use crate::standing::Standing;

type Hash = [u8; 32];

pub(crate) struct TokenCache {
    max: usize,
    known: HashMap<Hash, Arc<Proven>>,
    /// Oldest first.
    order: VecDeque<Hash>,
}

/// A token that proved itself, and the identity in the form that callers share.
pub(crate) struct Proven {
    pub verified: Verified,
    pub identity: Arc<Identity>,
}

/// Why a token is not taken.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Rejection {
    #[error(transparent)]
    Refused(#[from] Refusal),
    #[error("revoked")]
    Revoked,
    #[error("bound to a certificate that this connection did not show")]
    OfAnother,
    #[error("no token, and no certificate either")]
    Nobody,
}

/// Who a connection's certificate says that its client is. TLS has verified it.
///
/// # Errors
/// The client's: it names nobody.
pub(crate) fn of_certificate(der: &[u8]) -> Result<Arc<Proven>, weir_token::SvidRefusal> {
    let verified = weir_token::svid_identity(der)?;
    let identity = Arc::new(verified.identity.clone());
    Ok(Arc::new(Proven { verified, identity }))
}

/// The same of a certificate that the session's machine has verified.
pub(crate) fn certified(certified: &weir_wire::Certified<'_>) -> Arc<Proven> {
    let identity = certified.identity.clone();
    let verified = Verified { identity: identity.clone(), issued: Some(certified.issued), bound_to: None };
    Arc::new(Proven { verified, identity: Arc::new(identity) })
}

/// Whether a certificate is one still: what TLS cannot know, and what may have changed since.
///
/// # Errors
/// The client's or its authority's: it has expired, or was revoked.
pub(crate) fn recheck(
    standing: &Standing,
    certificate: &Arc<Proven>,
    now: Timestamp,
) -> Result<Arc<Proven>, Rejection> {
    if now >= certificate.identity.expires {
        return Err(Refusal::Expired.into());
    }
    if standing.is_revoked(&certificate.verified) {
        return Err(Rejection::Revoked);
    }
    Ok(Arc::clone(certificate))
}

impl TokenCache {
    pub(crate) fn new(max: usize) -> Self {
        Self { max: max.max(1), known: HashMap::new(), order: VecDeque::new() }
    }

    pub(crate) fn clear(&mut self) {
        self.known.clear();
        self.order.clear();
    }

    /// The identity that `token` proves on a connection whose client showed `certificate`.
    ///
    /// # Errors
    /// The client's or its issuer's: the token is not accepted.
    pub(crate) fn prove(
        &mut self,
        standing: &Standing,
        token: &[u8],
        certificate: Option<&Proven>,
        now: Timestamp,
    ) -> Result<Arc<Proven>, Rejection> {
        let proven = self.look_up(standing, token, now)?;
        let shown = certificate.and_then(|shown| shown.identity.token_id.as_deref());
        match proven.verified.bound_to.as_deref() {
            Some(bound_to) if shown != Some(bound_to) => Err(Rejection::OfAnother),
            Some(_) | None => Ok(proven),
        }
    }

    fn look_up(
        &mut self,
        standing: &Standing,
        token: &[u8],
        now: Timestamp,
    ) -> Result<Arc<Proven>, Rejection> {
        let hash = hash(token);
        if let Some(proven) = self.known.get(&hash) {
            return if now < proven.identity.expires {
                Ok(Arc::clone(proven))
            } else {
                Err(Refusal::Expired.into())
            };
        }
        let verified = standing.verifier.verify(token, now)?;
        if standing.is_revoked(&verified) {
            return Err(Rejection::Revoked);
        }
        Ok(self.keep(hash, verified))
    }

    fn keep(&mut self, hash: Hash, verified: Verified) -> Arc<Proven> {
        let identity = Arc::new(verified.identity.clone());
        let proven = Arc::new(Proven { verified, identity });
        if self.order.len() >= self.max
            && let Some(oldest) = self.order.pop_front()
        {
            self.known.remove(&oldest);
        }
        self.known.insert(hash, Arc::clone(&proven));
        self.order.push_back(hash);
        proven
    }
}

fn hash(token: &[u8]) -> Hash {
    let mut hash = [0; 32];
    for (to, from) in hash.iter_mut().zip(digest(&SHA256, token).as_ref()) {
        *to = *from;
    }
    hash
}

#[cfg(test)]
mod tests {
    use weir_control::{Issuer, MaskKey, State};

    use super::*;

    fn standing() -> Standing {
        let issuer = Issuer {
            issuer: "https://i".into(),
            audiences: vec!["weir".into()],
            algorithms: vec!["ES256".into()],
            jwks: None,
            conditions: Vec::new(),
            groups_claim: "groups".into(),
            run_claim: None,
            purpose_claim: None,
            kept_claims: Vec::new(),
        };
        let state = State {
            version: 1,
            issuers: vec![issuer],
            connections: Vec::new(),
            grants: Vec::new(),
            revocations: Vec::new(),
            mask_key: MaskKey { version: 1, key: "00".repeat(32) },
            approval_keys: Vec::new(),
            run_approvals: Vec::new(),
        };
        Standing::new(&state).unwrap()
    }

    fn verified(expires_s: u64) -> Verified {
        let identity = Identity {
            issuer: "https://i".into(),
            subject: "s".into(),
            groups: Vec::new(),
            claims: Vec::new(),
            token_id: None,
            run: None,
            purpose: None,
            expires: Timestamp::from_unix_seconds(expires_s),
        };
        Verified { identity, issued: None, bound_to: None }
    }

    #[test]
    fn a_known_token_is_taken_until_it_expires_and_an_unknown_one_is_verified() {
        let standing = standing();
        let mut cache = TokenCache::new(2);
        cache.keep(hash(b"known"), verified(10));
        assert!(cache.prove(&standing, b"known", None, Timestamp::from_unix_seconds(9)).is_ok());
        let late = cache.prove(&standing, b"known", None, Timestamp::from_unix_seconds(10));
        assert!(matches!(late, Err(Rejection::Refused(Refusal::Expired))));
        let unknown = cache.prove(&standing, b"unknown", None, Timestamp::from_unix_seconds(9));
        assert!(matches!(unknown, Err(Rejection::Refused(Refusal::Malformed(_)))));
    }

    #[test]
    fn the_cache_forgets_the_oldest_and_on_demand_everything() {
        let standing = standing();
        let mut cache = TokenCache::new(2);
        for token in [b"a", b"b", b"c"] {
            cache.keep(hash(token), verified(10));
        }
        let mut is_known = |token: &[u8]| cache.prove(&standing, token, None, Timestamp::default()).is_ok();
        assert_eq!((is_known(b"a"), is_known(b"b"), is_known(b"c")), (false, true, true));
        cache.clear();
        assert!(cache.prove(&standing, b"c", None, Timestamp::default()).is_err());
    }

    #[test]
    fn a_bound_token_is_taken_only_beside_its_certificate() {
        let standing = standing();
        let mut cache = TokenCache::new(2);
        let bound = Verified { bound_to: Some("aa".into()), ..verified(10) };
        cache.keep(hash(b"bound"), bound);
        cache.keep(hash(b"free"), verified(10));
        let shown = |hash: &str| {
            let mut verified = verified(10);
            verified.identity.token_id = Some(hash.into());
            Proven { identity: Arc::new(verified.identity.clone()), verified }
        };
        for (token, certificate, accepted) in [
            (&b"bound"[..], Some(shown("aa")), true),
            (b"bound", Some(shown("bb")), false),
            (b"bound", None, false),
            (b"free", Some(shown("bb")), true),
            (b"free", None, true),
        ] {
            let outcome = cache.prove(&standing, token, certificate.as_ref(), Timestamp::default());
            assert_eq!(outcome.is_ok(), accepted);
        }
    }
}
