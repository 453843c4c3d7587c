//! Tokens as issuers and attackers make them, each with the one outcome it must have.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test stops at the first surprise"
)]

mod attacks;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::rand::SystemRandom;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, EcdsaSigningAlgorithm,
    Ed25519KeyPair, KeyPair, RSA_PKCS1_SHA256, RSA_PKCS1_SHA512, RSA_PSS_SHA256, RsaEncoding, RsaKeyPair,
    RsaPublicKeyComponents,
};
use serde_json::{Value, json};
use weir_control::{ClaimCondition, Issuer, Revocation};
use weir_policy::Timestamp;
use weir_token::{Error, KeySet, MAX_TOKEN_BYTES, Refusal, SKEW_MS, Verifier};

const ISSUER: &str = "https://ci.example";
const NOW_S: u64 = 1_800_000_000;

const fn now() -> Timestamp {
    Timestamp::from_unix_seconds(NOW_S)
}

fn b64(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

enum Key {
    Ec(EcdsaKeyPair),
    Ed(Ed25519KeyPair),
    Rsa(Box<RsaKeyPair>),
}

impl Key {
    fn ec(algorithm: &'static EcdsaSigningAlgorithm) -> Self {
        let random = SystemRandom::new();
        let pkcs8 = EcdsaKeyPair::generate_pkcs8(algorithm, &random).unwrap();
        Self::Ec(EcdsaKeyPair::from_pkcs8(algorithm, pkcs8.as_ref(), &random).unwrap())
    }

    fn p256() -> Self {
        Self::ec(&ECDSA_P256_SHA256_FIXED_SIGNING)
    }

    fn ed() -> Self {
        let pkcs8 = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).unwrap();
        Self::Ed(Ed25519KeyPair::from_pkcs8(pkcs8.as_ref()).unwrap())
    }

    fn rsa() -> Self {
        Self::Rsa(Box::new(RsaKeyPair::from_pkcs8(include_bytes!("rsa2048-for-tests-only.pk8")).unwrap()))
    }

    fn jwk(&self, kid: &str) -> Value {
        let mut jwk = match self {
            Self::Ec(key) => {
                let point = key.public_key().as_ref();
                let (x, y) = point[1..].split_at((point.len() - 1) / 2);
                let curve = if x.len() == 32 { "P-256" } else { "P-384" };
                json!({"kty": "EC", "crv": curve, "x": b64(x), "y": b64(y)})
            }
            Self::Ed(key) => json!({"kty": "OKP", "crv": "Ed25519", "x": b64(key.public_key())}),
            Self::Rsa(key) => {
                // As some issuers publish it: with a zero byte in front.
                let public: RsaPublicKeyComponents<Vec<u8>> = key.public().into();
                let (modulus, exponent) = ([vec![0], public.n].concat(), public.e);
                json!({"kty": "RSA", "n": b64(modulus), "e": b64(exponent)})
            }
        };
        jwk["kid"] = json!(kid);
        jwk["use"] = json!("sig");
        jwk
    }

    fn sign(&self, algorithm: &str, message: &[u8]) -> Vec<u8> {
        match self {
            Self::Ec(key) => key.sign(&SystemRandom::new(), message).unwrap().as_ref().to_vec(),
            Self::Ed(key) => key.sign(message).as_ref().to_vec(),
            Self::Rsa(key) => {
                let encoding: &dyn RsaEncoding = match algorithm {
                    "PS256" => &RSA_PSS_SHA256,
                    "RS512" => &RSA_PKCS1_SHA512,
                    _ => &RSA_PKCS1_SHA256,
                };
                let mut signature = vec![0; key.public().modulus_len()];
                key.sign(encoding, &SystemRandom::new(), message, &mut signature).unwrap();
                signature
            }
        }
    }

    fn token(&self, header: &str, claims: &str) -> String {
        let algorithm =
            serde_json::from_str::<Value>(header).ok().and_then(|h| h["alg"].as_str().map(str::to_owned));
        let message = format!("{}.{}", b64(header), b64(claims));
        let signature = self.sign(&algorithm.unwrap_or_default(), message.as_bytes());
        format!("{message}.{}", b64(signature))
    }
}

fn issuer(jwks: &[Value]) -> Issuer {
    Issuer {
        issuer: ISSUER.into(),
        audiences: vec!["weir".into()],
        algorithms: ["ES256", "ES384", "RS256", "RS512", "PS256", "EdDSA"].map(str::to_owned).to_vec(),
        jwks: Some(json!({ "keys": jwks }).to_string()),
        conditions: vec![],
        groups_claim: "groups".into(),
        run_claim: Some("run_id".into()),
        purpose_claim: Some("purpose".into()),
        kept_claims: vec!["repository".into(), "absent".into(), "attempt".into()],
    }
}

fn claims() -> Value {
    json!({
        "iss": ISSUER, "sub": "job-7", "aud": ["other", "weir"], "exp": NOW_S + 60, "nbf": NOW_S - 1, "iat": NOW_S - 1,
        "jti": "t-1", "groups": ["jobs", "ci"], "run_id": "r-9", "purpose": "billing", "repository": "acme/app",
        "attempt": 2,
    })
}

fn header(algorithm: &str) -> Value {
    json!({"alg": algorithm, "kid": "k1", "typ": "JWT"})
}

/// The outcome of a token with changed header and claims, signed properly with P-256.
fn outcome(header_change: impl Fn(&mut Value), claim_change: impl Fn(&mut Value)) -> Result<(), Refusal> {
    let key = Key::p256();
    let (mut header, mut claims) = (header("ES256"), claims());
    header_change(&mut header);
    claim_change(&mut claims);
    let token = key.token(&header.to_string(), &claims.to_string());
    let verifier = Verifier::new(&[issuer(&[key.jwk("k1")])]).unwrap();
    verifier.verify(token.as_bytes(), now()).map(drop)
}

fn leave(_: &mut Value) {}

#[test]
fn every_supported_algorithm_verifies_and_yields_the_identity() {
    for (algorithm, key) in [
        ("ES256", Key::p256()),
        ("ES384", Key::ec(&ECDSA_P384_SHA384_FIXED_SIGNING)),
        ("EdDSA", Key::ed()),
        ("RS256", Key::rsa()),
        ("RS512", Key::rsa()),
        ("PS256", Key::rsa()),
    ] {
        let verifier = Verifier::new(&[issuer(&[Key::p256().jwk("k0"), key.jwk("k1")])]).unwrap();
        let token = key.token(&header(algorithm).to_string(), &claims().to_string());
        let verified = verifier.verify(format!(" {token}\n").as_bytes(), now()).unwrap();
        let identity = &verified.identity;
        assert_eq!((identity.issuer.as_str(), identity.subject.as_str()), (ISSUER, "job-7"), "{algorithm}");
        assert_eq!(identity.groups, ["jobs", "ci"]);
        assert_eq!(identity.run.as_deref(), Some("r-9"));
        assert_eq!(identity.purpose.as_deref(), Some("billing"));
        assert_eq!(identity.token_id.as_deref(), Some("t-1"));
        assert_eq!(identity.expires, Timestamp::from_unix_seconds(NOW_S + 60));
        let kept = [("repository".to_owned(), "acme/app".to_owned()), ("attempt".to_owned(), "2".to_owned())];
        assert_eq!(identity.claims, kept);
        assert_eq!(verified.issued, Some(Timestamp::from_unix_seconds(NOW_S - 1)));
    }
}

#[test]
fn a_run_may_be_a_number_and_is_never_a_list_or_nothing() {
    let run = |value: Value| {
        let key = Key::p256();
        let mut claims = claims();
        claims["run_id"] = value;
        let token = key.token(&header("ES256").to_string(), &claims.to_string());
        let verifier = Verifier::new(&[issuer(&[key.jwk("k1")])]).unwrap();
        verifier.verify(token.as_bytes(), now()).unwrap().identity.run
    };
    assert_eq!(run(json!(4711)).as_deref(), Some("4711"));
    for none in [json!(""), json!([]), json!(["a", "b"]), json!({"a": 1}), json!(null)] {
        assert_eq!(run(none), None);
    }
}

#[test]
fn each_bad_claim_is_refused_for_its_own_reason() {
    type Change = fn(&mut Value);
    let without =
        |name: &'static str| move |claims: &mut Value| drop(claims.as_object_mut().unwrap().remove(name));
    let table: [(Change, Refusal); 12] = [
        (|c| c["iss"] = json!("https://evil.example"), Refusal::Issuer("https://evil.example".into())),
        (|c| c["iss"] = json!("https://ci.example/"), Refusal::Issuer("https://ci.example/".into())),
        (|c| c["aud"] = json!("other"), Refusal::Audience),
        (|c| c["aud"] = json!([]), Refusal::Audience),
        (|c| c["exp"] = json!(NOW_S), Refusal::Expired),
        (|c| c["exp"] = json!(-1), Refusal::Malformed("bad time")),
        (|c| c["exp"] = json!("tomorrow"), Refusal::Malformed("bad time")),
        (|c| c["exp"] = json!(1e300), Refusal::Malformed("bad time")),
        (|c| c["nbf"] = json!(NOW_S + SKEW_MS / 1_000 + 1), Refusal::NotYetValid),
        (|c| c["iat"] = json!(NOW_S + SKEW_MS / 1_000 + 1), Refusal::NotYetValid),
        (|c| c["sub"] = json!(""), Refusal::Malformed("no sub")),
        (|c| c["sub"] = json!(7), Refusal::Malformed("no sub")),
    ];
    for (at, (change, refusal)) in table.into_iter().enumerate() {
        assert_eq!(outcome(leave, change), Err(refusal), "row {at}");
    }
    for (name, refusal) in [
        ("iss", Refusal::Malformed("no iss")),
        ("sub", Refusal::Malformed("no sub")),
        ("aud", Refusal::Audience),
        ("exp", Refusal::Malformed("no exp")),
    ] {
        assert_eq!(outcome(leave, without(name)), Err(refusal), "{name}");
    }
    for name in ["nbf", "iat", "jti", "groups"] {
        assert_eq!(outcome(leave, without(name)), Ok(()), "{name}");
    }
    assert_eq!(outcome(leave, |c| c["nbf"] = json!(NOW_S + SKEW_MS / 1_000)), Ok(()));
    assert_eq!(outcome(leave, |c| c["exp"] = json!(NOW_S as f64 + 0.5)), Err(Refusal::Expired));
}

#[test]
fn each_bad_header_is_refused_for_its_own_reason() {
    type Change = fn(&mut Value);
    let unknown = || Refusal::UnknownKey { issuer: ISSUER.into() };
    let table: [(Change, Refusal); 12] = [
        (|h| h["alg"] = json!("none"), Refusal::Algorithm("none".into())),
        (|h| h["alg"] = json!("NONE"), Refusal::Algorithm("NONE".into())),
        (|h| h["alg"] = json!("HS256"), Refusal::Algorithm("HS256".into())),
        (|h| h["alg"] = json!("es256"), Refusal::Algorithm("es256".into())),
        (|h| h["alg"] = json!(["ES256"]), Refusal::Malformed("no alg")),
        (|h| h["alg"] = json!("RS256"), unknown()),
        (|h| h["kid"] = json!("k2"), unknown()),
        (|h| h["kid"] = json!(1), Refusal::Malformed("kid is not text")),
        (|h| h["crit"] = json!(["b64"]), Refusal::Critical),
        (|h| h["jku"] = json!("https://evil.example/jwks"), Refusal::EmbeddedKey("jku")),
        (|h| h["x5c"] = json!([]), Refusal::EmbeddedKey("x5c")),
        (|h| h["typ"] = json!("logout+jwt"), Refusal::Type("\"logout+jwt\"".into())),
    ];
    for (at, (change, refusal)) in table.into_iter().enumerate() {
        assert_eq!(outcome(change, leave), Err(refusal), "row {at}");
    }
    for typ in ["jwt", "at+jwt", "application/at+jwt"] {
        assert_eq!(outcome(|h| h["typ"] = json!(typ), leave), Ok(()), "{typ}");
    }
}

#[test]
fn a_token_cannot_bring_its_own_key() {
    let (trusted, own) = (Key::p256(), Key::p256());
    let verifier = Verifier::new(&[issuer(&[trusted.jwk("k1")])]).unwrap();
    let mut bringing = header("ES256");
    bringing["jwk"] = own.jwk("k1");
    let token = own.token(&bringing.to_string(), &claims().to_string());
    assert_eq!(verifier.verify(token.as_bytes(), now()), Err(Refusal::EmbeddedKey("jwk")));
    let token = own.token(&header("ES256").to_string(), &claims().to_string());
    assert_eq!(verifier.verify(token.as_bytes(), now()), Err(Refusal::Signature));
}

#[test]
fn a_public_key_is_never_taken_for_a_shared_secret() {
    let rsa = Key::rsa();
    let jwk = rsa.jwk("k1");
    let modulus = jwk["n"].as_str().unwrap();
    for secret in [modulus.as_bytes().to_vec(), URL_SAFE_NO_PAD.decode(modulus).unwrap()] {
        let message = format!("{}.{}", b64(header("HS256").to_string()), b64(claims().to_string()));
        let tag =
            ring::hmac::sign(&ring::hmac::Key::new(ring::hmac::HMAC_SHA256, &secret), message.as_bytes());
        let token = format!("{message}.{}", b64(tag));
        let verifier = Verifier::new(&[issuer(&[rsa.jwk("k1")])]).unwrap();
        assert_eq!(verifier.verify(token.as_bytes(), now()), Err(Refusal::Algorithm("HS256".into())));
    }
    // A shared secret that somebody published is no key either.
    let oct = json!({"kty": "oct", "kid": "k1", "k": b64("secret")});
    assert!(matches!(KeySet::parse(&json!({"keys": [oct]}).to_string()), Err(Error::NoKeys)));
}

#[test]
fn changed_bytes_and_missing_parts_are_refused() {
    let key = Key::p256();
    let verifier = Verifier::new(&[issuer(&[key.jwk("k1")])]).unwrap();
    let token = key.token(&header("ES256").to_string(), &claims().to_string());
    let (message, signature) = token.rsplit_once('.').unwrap();
    let mut raw = URL_SAFE_NO_PAD.decode(signature).unwrap();
    for at in 0..raw.len() {
        raw[at] ^= 1;
        let changed = format!("{message}.{}", b64(&raw));
        assert_eq!(verifier.verify(changed.as_bytes(), now()), Err(Refusal::Signature), "byte {at}");
        raw[at] ^= 1;
    }
    let (head, payload) = message.split_once('.').unwrap();
    let mut other = claims();
    other["sub"] = json!("root");
    let other = b64(other.to_string());
    assert_eq!(
        verifier.verify(format!("{head}.{other}.{signature}").as_bytes(), now()),
        Err(Refusal::Signature)
    );
    for bad in [
        String::new(),
        "x".into(),
        message.to_owned(),
        format!("{message}."),
        format!("{message}.{signature}.x"),
        format!(".{payload}.{signature}"),
        format!("{head}..{signature}"),
        format!("{head}=.{payload}.{signature}"),
        format!("{head}.{payload}.{signature}="),
        format!("{}.{payload}.{signature}", b64("[]")),
        format!("{}.{payload}.{signature}", b64("{\"alg\":\"ES256\"} trailing")),
    ] {
        let refusal = verifier.verify(bad.as_bytes(), now()).unwrap_err();
        assert!(matches!(refusal, Refusal::Malformed(_) | Refusal::Signature), "{bad}: {refusal}");
    }
    assert_eq!(verifier.verify(&[b'a'; MAX_TOKEN_BYTES + 1], now()), Err(Refusal::Long));
    assert_eq!(verifier.verify(&[0xff, b'.', b'.'], now()), Err(Refusal::Malformed("not text")));
}

#[test]
fn a_member_named_twice_is_refused_wherever_it_stands() {
    let key = Key::p256();
    let verifier = Verifier::new(&[issuer(&[key.jwk("k1")])]).unwrap();
    let (head, payload) = (header("ES256").to_string(), claims().to_string());
    let doubled = |text: &str, extra: &str| format!("{{{extra},{}", &text[1..]);
    for (head, payload, name) in [
        (head.clone(), doubled(&payload, "\"sub\":\"root\""), "sub"),
        (head.clone(), doubled(&payload, "\"\\u0073ub\":\"root\""), "sub"),
        (head.clone(), doubled(&payload, "\"a\":{\"b\":1,\"b\":2}"), "b"),
        (doubled(&head, "\"alg\":\"none\""), payload.clone(), "alg"),
    ] {
        let token = key.token(&head, &payload);
        assert_eq!(verifier.verify(token.as_bytes(), now()), Err(Refusal::Duplicate(name.into())));
    }
}

#[test]
fn a_token_without_key_id_needs_an_issuer_with_one_fitting_key() {
    let (first, second) = (Key::p256(), Key::p256());
    let token = first.token(&json!({"alg": "ES256"}).to_string(), &claims().to_string());
    let verify =
        |keys: &[Value]| Verifier::new(&[issuer(keys)]).unwrap().verify(token.as_bytes(), now()).map(drop);
    assert_eq!(verify(&[first.jwk("k1"), Key::rsa().jwk("k2")]), Ok(()));
    assert_eq!(verify(&[first.jwk("k1"), second.jwk("k2")]), Err(Refusal::NoKeyId));
    assert_eq!(verify(&[second.jwk("k1")]), Err(Refusal::Signature));
    let mut for_encryption = first.jwk("k1");
    for_encryption["use"] = json!("enc");
    assert!(matches!(KeySet::parse(&json!({"keys": [for_encryption]}).to_string()), Err(Error::NoKeys)));
    let mut for_another = first.jwk("k1");
    for_another["alg"] = json!("ES384");
    assert_eq!(verify(&[for_another]), Err(Refusal::UnknownKey { issuer: ISSUER.into() }));
}

#[test]
fn an_issuer_without_fetched_keys_is_told_apart() {
    let key = Key::p256();
    let mut unfetched = issuer(&[]);
    unfetched.jwks = None;
    let token = key.token(&header("ES256").to_string(), &claims().to_string());
    let refusal = Verifier::new(&[unfetched]).unwrap().verify(token.as_bytes(), now()).unwrap_err();
    assert_eq!(refusal, Refusal::KeysMissing(ISSUER.into()));
}

#[test]
fn one_issuers_key_does_not_verify_anothers_token() {
    let (ours, theirs) = (Key::p256(), Key::p256());
    let mut other = issuer(&[theirs.jwk("k1")]);
    other.issuer = "https://other.example".into();
    let verifier = Verifier::new(&[issuer(&[ours.jwk("k1")]), other]).unwrap();
    let token = theirs.token(&header("ES256").to_string(), &claims().to_string());
    assert_eq!(verifier.verify(token.as_bytes(), now()), Err(Refusal::Signature));
}

#[test]
fn claim_conditions_must_all_hold() {
    let key = Key::p256();
    let token = key.token(&header("ES256").to_string(), &claims().to_string());
    for (claim, any_of, holds) in [
        ("repository", vec!["acme/app"], true),
        ("repository", vec!["other/app", "acme/*"], true),
        ("repository", vec!["acme"], false),
        ("repository", vec![], false),
        ("groups", vec!["ci"], true),
        ("absent", vec!["*"], false),
        ("attempt", vec!["2"], true),
    ] {
        let mut strict = issuer(&[key.jwk("k1")]);
        let any_of = any_of.into_iter().map(str::to_owned).collect();
        strict.conditions = vec![ClaimCondition { claim: claim.into(), any_of }];
        let outcome = Verifier::new(&[strict]).unwrap().verify(token.as_bytes(), now()).map(drop);
        assert_eq!(outcome, if holds { Ok(()) } else { Err(Refusal::Condition(claim.into())) }, "{claim}");
    }
}

#[test]
fn groups_may_lie_inside_another_claim() {
    let key = Key::p256();
    let mut nested = issuer(&[key.jwk("k1")]);
    nested.groups_claim = "/realm_access/roles".into();
    let mut inside = claims();
    inside["realm_access"] = json!({"roles": ["deep"]});
    let token = key.token(&header("ES256").to_string(), &inside.to_string());
    let verified = Verifier::new(&[nested]).unwrap().verify(token.as_bytes(), now()).unwrap();
    assert_eq!(verified.identity.groups, ["deep"]);
}

#[test]
fn revocations_reach_a_subjects_older_tokens_and_one_token_by_its_id() {
    let key = Key::p256();
    let verifier = Verifier::new(&[issuer(&[key.jwk("k1")])]).unwrap();
    let token = key.token(&header("ES256").to_string(), &claims().to_string());
    let mut verified = verifier.verify(token.as_bytes(), now()).unwrap();
    let subject = |issuer: &str, subject: &str, seconds: u64| Revocation::Subject {
        issuer: issuer.into(),
        subject: subject.into(),
        before_unix_ms: seconds * 1_000,
    };
    let by_id =
        |issuer: &str, token_id: &str| Revocation::Token { issuer: issuer.into(), token_id: token_id.into() };
    for (revocation, revoked) in [
        (subject(ISSUER, "job-7", NOW_S), true),
        (subject(ISSUER, "job-7", NOW_S - 1), false),
        (subject(ISSUER, "job-8", NOW_S), false),
        (subject("https://other.example", "job-7", NOW_S), false),
        (by_id(ISSUER, "t-1"), true),
        (by_id(ISSUER, "t-2"), false),
        (by_id("https://other.example", "t-1"), false),
    ] {
        assert_eq!(verified.revoked_by(std::slice::from_ref(&revocation)), revoked, "{revocation:?}");
    }
    verified.issued = None;
    assert!(verified.revoked_by(&[subject(ISSUER, "job-7", 1)]));
}

#[test]
fn issuers_that_would_accept_too_much_are_refused() {
    let good = || issuer(&[Key::p256().jwk("k1")]);
    let with = |change: fn(&mut Issuer)| {
        let mut issuer = good();
        change(&mut issuer);
        Verifier::new(&[issuer]).err().map(|error| error.to_string()).unwrap_or_default()
    };
    assert!(with(|i| i.audiences.clear()).contains("no audience"));
    assert!(with(|i| i.algorithms.clear()).contains("no algorithm"));
    assert!(with(|i| i.algorithms.push("HS256".into())).contains("HS256"));
    assert!(with(|i| i.algorithms.push("none".into())).contains("none"));
    assert!(with(|i| i.jwks = Some("{}".into())).contains("not JSON with a list of keys"));
    assert!(with(|i| i.jwks = Some("{\"keys\":[]}".into())).contains("no key"));
    assert!(matches!(Verifier::new(&[good(), good()]), Err(Error::Twice(_))));
}
