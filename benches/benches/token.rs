//! What verifying a bearer token costs the first time. Later the data plane remembers it.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "as in weir_benches")]

use std::hint::black_box;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use criterion::{criterion_group, criterion_main};
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use serde_json::json;
use weir_benches::Criterion;
use weir_benches::rules::NOW;
use weir_control::{ClaimCondition, Issuer};
use weir_token::Verifier;

const ISSUER: &str = "https://ci.example";

fn b64(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// A job's token as CI systems mint it, and a verifier that trusts its issuer.
fn token() -> (Verifier, String) {
    let random = SystemRandom::new();
    let pkcs8 = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random).unwrap();
    let key = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, pkcs8.as_ref(), &random).unwrap();
    let (x, y) = key.public_key().as_ref()[1..].split_at(32);
    let jwks = json!({"keys": [{"kty": "EC", "crv": "P-256", "x": b64(x), "y": b64(y), "kid": "k1", "use": "sig", "alg": "ES256"}]});
    let claims = json!({
        "iss": ISSUER,
        "aud": "weir",
        "sub": "repo:clinic/reports:ref:refs/heads/main",
        "exp": NOW.unix_ms() / 1_000 + 3_600,
        "iat": NOW.unix_ms() / 1_000 - 10,
        "jti": "0190a5e4-7c9f-7cc0-8d8a-3f1f6f6a2b11",
        "repository": "clinic/reports",
        "repository_owner": "clinic",
        "run_id": "7421993310",
        "groups": ["jobs", "clinic"],
        "ref": "refs/heads/main",
    });
    let header = json!({"alg": "ES256", "typ": "JWT", "kid": "k1"});
    let signed = format!("{}.{}", b64(header.to_string()), b64(claims.to_string()));
    let signature = key.sign(&random, signed.as_bytes()).unwrap();
    let issuer = Issuer {
        issuer: ISSUER.into(),
        audiences: vec!["weir".into()],
        algorithms: vec!["ES256".into()],
        jwks: Some(jwks.to_string()),
        conditions: vec![ClaimCondition { claim: "repository_owner".into(), any_of: vec!["clinic".into()] }],
        groups_claim: "groups".into(),
        run_claim: Some("run_id".into()),
        purpose_claim: None,
        kept_claims: vec!["repository".into()],
    };
    (Verifier::new(&[issuer]).unwrap(), format!("{signed}.{}", b64(signature)))
}

fn verify(criterion: &mut Criterion) {
    let (verifier, token) = token();
    assert_eq!(verifier.verify(token.as_bytes(), NOW).unwrap().identity.run.as_deref(), Some("7421993310"));
    criterion.bench_function("token/ES256, cold", |bench| {
        bench.iter(|| verifier.verify(black_box(token.as_bytes()), NOW).unwrap());
    });
}

criterion_group! { name = benches; config = weir_benches::pace(); targets = verify }
criterion_main!(benches);
