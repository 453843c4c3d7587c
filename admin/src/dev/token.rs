//! `dev token`: a token of the development issuer, signed here from its directory.

use anyhow::{Context as _, Result, anyhow, bail};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::rand::{SecureRandom as _, SystemRandom};
use serde_json::{Map, Value, json};

use super::issuer::DevIssuer;
use crate::cli::TokenArgs;
use crate::clock;

/// # Errors
/// The caller's: no issuer in that directory, or a claim that is none.
pub(crate) fn mint(args: &TokenArgs) -> Result<String> {
    if !args.dir.is_dir() {
        bail!("no issuer in {}: is `weir-admin dev up` running?", args.dir.display());
    }
    let issuer = DevIssuer::open(&args.dir)?;
    let seconds = clock::unix_ms() / 1_000;
    let mut id = [0; 16];
    SystemRandom::new().fill(&mut id).map_err(|_| anyhow!("the system gave no randomness"))?;
    let mut claims = Map::new();
    for (name, value) in [
        ("iss", json!(issuer.url()?)),
        ("sub", json!(args.sub)),
        ("aud", json!(args.aud)),
        ("groups", json!(args.groups)),
        ("iat", json!(seconds)),
        ("nbf", json!(seconds)),
        ("exp", json!(seconds.saturating_add(args.ttl.as_secs()))),
        ("jti", json!(hex::encode(id))),
    ] {
        claims.insert(name.to_owned(), value);
    }
    for claim in &args.claims {
        let (name, value) =
            claim.split_once('=').with_context(|| format!("--claim {claim:?} is not name=value"))?;
        // `--claim name=null` leaves a claim out: for tests of tokens that lack one.
        let value = serde_json::from_str(value).unwrap_or_else(|_| Value::String(value.to_owned()));
        if value.is_null() {
            claims.remove(name);
        } else {
            claims.insert(name.to_owned(), value);
        }
    }
    sign(&issuer, &Value::Object(claims))
}

fn sign(issuer: &DevIssuer, claims: &Value) -> Result<String> {
    let key = issuer.key()?;
    let header = json!({"alg": "ES256", "typ": "JWT", "kid": DevIssuer::key_id(&key)});
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let message = format!("{}.{}", part(&header), part(claims));
    let signature = key
        .sign(&SystemRandom::new(), message.as_bytes())
        .map_err(|_| anyhow!("the token could not be signed"))?;
    Ok(format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature)))
}
