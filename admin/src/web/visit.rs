//! A person's session with the pages: a random id in a cookie, everything else in the store, under the id's hash.
//!
//! A visit ends when it was idle too long, after its longest time in any case, when its person signs out, and when its
//! person or the token that they signed in with is revoked. What changes things carries a token of the visit besides the
//! cookie, which another site's page cannot know.

use std::sync::Arc;

use axum::Form;
use axum::body::{Body, Bytes};
use axum::extract::{FromRequest, FromRequestParts, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, Method};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::digest::{SHA256, digest};
use ring::hmac;
use ring::rand::{SecureRandom as _, SystemRandom};
use serde::de::DeserializeOwned;
use subtle::ConstantTimeEq as _;
use weir_control::Revocation;
use weir_policy::{Identity, Timestamp};
use zeroize::Zeroizing;

use super::failure::Oops;
use super::{Site, cookies};
use crate::clock;
use crate::serve::{Person, Roles};
use crate::state::{IdHash, StoredVisit};

const ID_BYTES: usize = 32;
/// How much later somebody is noted as seen at the earliest: not every request is a write.
const SEEN_EVERY_MS: u64 = 10_000;
/// A form's longest body.
const MAX_FORM_BYTES: usize = 64 << 10;

/// Somebody who signed in.
pub(crate) struct Visitor {
    pub person: Person,
    pub name: String,
    /// What every form of this visit carries.
    pub csrf: String,
    pub id: IdHash,
}

#[derive(serde::Deserialize)]
struct Carried {
    csrf: String,
}

/// A visitor's form, which came from a page of ours.
pub(crate) struct Posted<T> {
    pub visitor: Visitor,
    pub form: T,
}

/// Begins a visit; the answer is the cookie's value.
pub(super) async fn begin(
    site: &Site,
    mut visit: StoredVisit,
    now_ms: u64,
) -> anyhow::Result<Zeroizing<String>> {
    let mut id = Zeroizing::new([0; ID_BYTES]);
    SystemRandom::new().fill(&mut *id).map_err(|_| anyhow::anyhow!("the system gave no randomness"))?;
    let longest = u64::try_from(site.provider.config.longest.as_millis()).unwrap_or(u64::MAX);
    (visit.signed_in_ms, visit.seen_ms) = (now_ms, now_ms);
    visit.ends_ms = now_ms.saturating_add(longest).min(i64::MAX.cast_unsigned());
    site.hub.store.keep_visit(&hash(&*id), &visit).await?;
    Ok(Zeroizing::new(URL_SAFE_NO_PAD.encode(*id)))
}

/// Ends the visit that these cookies name, if they name one.
pub(super) async fn end(site: &Site, headers: &HeaderMap) -> anyhow::Result<()> {
    match presented(site, headers) {
        Some(id) => site.hub.store.end_visit(&hash(&id)).await,
        None => Ok(()),
    }
}

fn hash(id: &[u8]) -> IdHash {
    let mut hash = [0; 32];
    hash.copy_from_slice(digest(&SHA256, id).as_ref());
    hash
}

fn presented(site: &Site, headers: &HeaderMap) -> Option<Zeroizing<Vec<u8>>> {
    let text = cookies::read(&site.origin, headers, cookies::VISIT)?;
    let id = Zeroizing::new(URL_SAFE_NO_PAD.decode(text).ok()?);
    (id.len() == ID_BYTES).then_some(id)
}

/// What forms carry: made from the id, so that it need not be kept.
fn csrf_of(id: &[u8]) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, id);
    URL_SAFE_NO_PAD.encode(hmac::sign(&key, b"weir form 1"))
}

/// Whether a visit is still good.
fn is_good(visit: &StoredVisit, now_ms: u64, idle_ms: u64, revocations: &[Revocation]) -> bool {
    let revoked = revocations.iter().any(|revocation| match revocation {
        Revocation::Subject { issuer, subject, before_unix_ms } => {
            *issuer == visit.issuer && *subject == visit.subject && visit.token_issued_ms < *before_unix_ms
        }
        Revocation::Token { issuer, token_id } => {
            *issuer == visit.issuer && visit.token_id.as_ref() == Some(token_id)
        }
    });
    !revoked && now_ms < visit.ends_ms && now_ms.saturating_sub(visit.seen_ms) < idle_ms
}

/// The visitor whom these cookies name. `deliberate`: somebody did this, rather than a page that is open somewhere.
pub(super) async fn visitor(
    site: &Site,
    headers: &HeaderMap,
    deliberate: bool,
) -> anyhow::Result<Option<Visitor>> {
    let Some(id) = presented(site, headers) else { return Ok(None) };
    let id_hash = hash(&id);
    let Some(visit) = site.hub.store.visit(&id_hash).await? else { return Ok(None) };
    let now_ms = clock::unix_ms();
    let idle_ms = u64::try_from(site.provider.config.idle.as_millis()).unwrap_or(u64::MAX);
    if !is_good(&visit, now_ms, idle_ms, &site.hub.current().state.revocations) {
        site.hub.store.end_visit(&id_hash).await?;
        return Ok(None);
    }
    if deliberate && now_ms.saturating_sub(visit.seen_ms) >= SEEN_EVERY_MS.min(idle_ms / 4) {
        site.hub.store.touch_visit(&id_hash, now_ms).await?;
    }
    let identity = Identity {
        issuer: visit.issuer,
        subject: visit.subject,
        groups: visit.groups,
        claims: Vec::new(),
        token_id: visit.token_id,
        run: None,
        purpose: None,
        expires: Timestamp::from_unix_ms(visit.ends_ms),
    };
    let roles = Roles::of(&identity.groups, &site.hub.config.admin);
    let person = Person { identity, roles };
    Ok(Some(Visitor { person, name: visit.name, csrf: csrf_of(&id), id: id_hash }))
}

/// Whether htmx asked for a part of a page by itself.
pub(super) fn is_by_itself(headers: &HeaderMap) -> bool {
    headers.contains_key("hx-request")
}

impl FromRequestParts<Arc<Site>> for Visitor {
    type Rejection = Oops;

    async fn from_request_parts(parts: &mut Parts, site: &Arc<Site>) -> Result<Self, Oops> {
        let by_itself = parts.method == Method::GET && is_by_itself(&parts.headers);
        let visitor = visitor(site, &parts.headers, !by_itself).await?;
        visitor.ok_or_else(|| {
            let back = (parts.method == Method::GET).then(|| parts.uri.path_and_query()).flatten();
            Oops::NotSignedIn { back: back.map(ToString::to_string), by_itself }
        })
    }
}

impl<T: DeserializeOwned> FromRequest<Arc<Site>> for Posted<T> {
    type Rejection = Oops;

    async fn from_request(request: Request, site: &Arc<Site>) -> Result<Self, Oops> {
        let (mut parts, body) = request.into_parts();
        let visitor = Visitor::from_request_parts(&mut parts, site).await?;
        let body = axum::body::to_bytes(body, MAX_FORM_BYTES).await;
        let body = body.map_err(|_| Oops::bad_request("that is more than a form can hold"))?;
        let carried: Option<Carried> = read(&parts, &body).await;
        let (expected, carried) = (visitor.csrf.as_bytes(), carried.map(|carried| carried.csrf));
        if !carried.is_some_and(|carried| bool::from(expected.ct_eq(carried.as_bytes()))) {
            return Err(Oops::forged("the form's token is not this session's"));
        }
        let form = read(&parts, &body).await.ok_or_else(|| Oops::bad_request("the form is not complete"))?;
        Ok(Self { visitor, form })
    }
}

/// As browsers send forms; anything else is none.
async fn read<T: DeserializeOwned>(parts: &Parts, body: &Bytes) -> Option<T> {
    let request = Request::from_parts(parts.clone(), Body::from(body.clone()));
    Form::from_request(request, &()).await.ok().map(|Form(form)| form)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn visit() -> StoredVisit {
        StoredVisit {
            issuer: "i".into(),
            subject: "s".into(),
            name: "S".into(),
            groups: vec![],
            token_id: Some("t".into()),
            token_issued_ms: 1_000,
            signed_in_ms: 1_000,
            seen_ms: 5_000,
            ends_ms: 50_000,
        }
    }

    #[test]
    fn a_visit_ends_by_idleness_by_its_time_and_by_revocation() {
        let good = |now_ms, revocations: &[Revocation]| is_good(&visit(), now_ms, 10_000, revocations);
        assert!(good(14_999, &[]));
        assert!(!good(15_000, &[]));
        let busy = StoredVisit { seen_ms: 49_000, ..visit() };
        assert!(is_good(&busy, 49_999, 10_000, &[]));
        assert!(!is_good(&busy, 50_000, 10_000, &[]));
        let subject = |subject: &str, before_unix_ms| Revocation::Subject {
            issuer: "i".into(),
            subject: subject.into(),
            before_unix_ms,
        };
        assert!(!good(6_000, &[subject("s", 2_000)]));
        assert!(good(6_000, &[subject("s", 1_000)]));
        assert!(good(6_000, &[subject("other", 2_000)]));
        let token = |token_id: &str| Revocation::Token { issuer: "i".into(), token_id: token_id.into() };
        assert!(!good(6_000, &[token("t")]));
        assert!(good(6_000, &[token("u")]));
    }

    #[test]
    fn a_forms_token_is_another_for_every_visit_and_tells_nothing_of_the_id() {
        let (one, other) = (csrf_of(&[1; 32]), csrf_of(&[2; 32]));
        assert_ne!(one, other);
        assert_ne!(one, URL_SAFE_NO_PAD.encode([1; 32]));
        assert_eq!(one, csrf_of(&[1; 32]));
    }
}
