//! What a verified payload says about its bearer, by its issuer's configuration.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value};
use weir_control::Issuer;
use weir_policy::{Identity, Timestamp};

use crate::{Refusal, SKEW_MS};

pub(crate) type Claims = Map<String, Value>;

/// A claim by name, or by JSON pointer where the name begins with `/` (`/realm_access/roles`).
fn claim<'a>(claims: &'a Claims, name: &str) -> Option<&'a Value> {
    let Some(path) = name.strip_prefix('/') else { return claims.get(name) };
    let (first, rest) = path.split_once('/').map_or((path, None), |(first, rest)| (first, Some(rest)));
    let value = claims.get(first)?;
    rest.map_or(Some(value), |rest| value.pointer(&format!("/{rest}")))
}

fn text(claims: &Claims, name: &str) -> Option<String> {
    claim(claims, name)?.as_str().map(str::to_owned).filter(|text| !text.is_empty())
}

/// Every value of a claim as text: one string, number or boolean, or a list of them.
fn texts(value: &Value) -> Vec<String> {
    match value {
        Value::String(text) => vec![text.clone()],
        Value::Number(number) => vec![number.to_string()],
        Value::Bool(truth) => vec![truth.to_string()],
        Value::Array(items) => items.iter().filter(|item| !item.is_array()).flat_map(texts).collect(),
        Value::Null | Value::Object(_) => Vec::new(),
    }
}

pub(crate) fn issuer(claims: &Claims) -> Result<&str, Refusal> {
    claims.get("iss").and_then(Value::as_str).ok_or(Refusal::Malformed("no iss"))
}

/// Every check of the payload but its signature.
pub(crate) fn check(claims: &Claims, issuer: &Issuer, now: Timestamp) -> Result<(), Refusal> {
    let audience = claims.get("aud").map(texts).unwrap_or_default();
    if !audience.iter().any(|one| issuer.audiences.contains(one)) {
        return Err(Refusal::Audience);
    }
    if time(claims, "exp")?.ok_or(Refusal::Malformed("no exp"))? <= now {
        return Err(Refusal::Expired);
    }
    for name in ["nbf", "iat"] {
        if time(claims, name)?.is_some_and(|from| from > now.plus_ms(SKEW_MS)) {
            return Err(Refusal::NotYetValid);
        }
    }
    for condition in &issuer.conditions {
        let values = claim(claims, &condition.claim).map(texts).unwrap_or_default();
        let holds = values.iter().any(|value| condition.any_of.iter().any(|pattern| matches(pattern, value)));
        if !holds {
            return Err(Refusal::Condition(condition.claim.clone()));
        }
    }
    Ok(())
}

fn matches(pattern: &str, value: &str) -> bool {
    pattern.strip_suffix('*').map_or(pattern == value, |prefix| value.starts_with(prefix))
}

/// A NumericDate (RFC 7519): seconds, perhaps with a fraction, which is cut off.
pub(crate) fn time(claims: &Claims, name: &str) -> Result<Option<Timestamp>, Refusal> {
    let Some(value) = claims.get(name) else { return Ok(None) };
    let seconds = value.as_u64().or_else(|| value.as_f64().and_then(whole_seconds));
    seconds.map(|seconds| Some(Timestamp::from_unix_seconds(seconds))).ok_or(Refusal::Malformed("bad time"))
}

fn whole_seconds(value: f64) -> Option<u64> {
    // Below 2^53 the conversion is exact; anything outside is no date.
    let sane = (0.0..9_007_199_254_740_992.0).contains(&value);
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the range was just checked")]
    sane.then_some(value as u64)
}

/// Whose hands a token is for (RFC 7800). A proof that cannot be checked here is none: such a token is not a bearer's.
pub(crate) fn certificate_bound_to(claims: &Claims) -> Result<Option<String>, Refusal> {
    let Some(confirmation) = claims.get("cnf") else { return Ok(None) };
    let members = confirmation.as_object().filter(|members| members.len() == 1);
    let hash = members.and_then(|members| members.get("x5t#S256")?.as_str());
    let hash = hash.and_then(|hash| URL_SAFE_NO_PAD.decode(hash).ok()).filter(|hash| hash.len() == 32);
    let hash = hash.ok_or(Refusal::Confirmation)?;
    Ok(Some(hash.iter().map(|byte| format!("{byte:02x}")).collect()))
}

pub(crate) fn identity(claims: &Claims, issuer: &Issuer) -> Result<Identity, Refusal> {
    let subject = text(claims, "sub").ok_or(Refusal::Malformed("no sub"))?;
    let kept = issuer.kept_claims.iter().filter_map(|name| {
        let values = claim(claims, name).map(texts).filter(|values| !values.is_empty())?;
        Some((name.clone(), values.join(" ")))
    });
    Ok(Identity {
        issuer: issuer.issuer.clone(),
        subject,
        groups: claim(claims, &issuer.groups_claim).map(texts).unwrap_or_default(),
        claims: kept.collect(),
        token_id: text(claims, "jti"),
        run: issuer.run_claim.as_deref().and_then(|name| text(claims, name)),
        purpose: issuer.purpose_claim.as_deref().and_then(|name| text(claims, name)),
        expires: time(claims, "exp")?.ok_or(Refusal::Malformed("no exp"))?,
    })
}
