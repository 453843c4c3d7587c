//! Wycheproof's vectors of the signatures that tokens may have, through the same path as a token's: key set, choice of
//! key, check. What it has for JOSE itself is in no package; `tests/attacks` stands for that.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::Algorithm;
use serde_json::{Value, json};
use wycheproof::{ecdsa, eddsa, rsa_pkcs1_verify as pkcs1, rsa_pss_verify as pss};

use crate::KeySet;
use crate::keys::Found;
use crate::ring_provider::{install, verifies};

fn bytes(hex: &Value) -> Vec<u8> {
    let digits = hex.as_str().unwrap().as_bytes();
    let padded = if digits.len() % 2 == 1 { [b"0", digits].concat() } else { digits.to_vec() };
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
    padded.chunks(2).map(byte).collect()
}

/// Exactly `length` bytes of a number, as coordinates are written.
fn coordinate(hex: &Value, length: usize) -> String {
    let number = bytes(hex);
    let digits = &number[number.iter().take_while(|byte| **byte == 0).count()..];
    URL_SAFE_NO_PAD.encode([&vec![0; length - digits.len()], digits].concat())
}

fn jwk(group: &Value, algorithm: Algorithm) -> Value {
    let key = &group["publicKey"];
    let number = |name: &str| URL_SAFE_NO_PAD.encode(bytes(&key[name]));
    match algorithm {
        Algorithm::ES256 => {
            json!({"kty": "EC", "crv": "P-256", "x": coordinate(&key["wx"], 32), "y": coordinate(&key["wy"], 32)})
        }
        Algorithm::ES384 => {
            json!({"kty": "EC", "crv": "P-384", "x": coordinate(&key["wx"], 48), "y": coordinate(&key["wy"], 48)})
        }
        Algorithm::EdDSA => json!({"kty": "OKP", "crv": "Ed25519", "x": number("pk")}),
        _ => json!({"kty": "RSA", "n": number("modulus"), "e": number("publicExponent")}),
    }
}

/// Valid and other vectors of a set that came out as they must.
fn run(text: &str, algorithm: Algorithm) -> (usize, usize) {
    let set: Value = serde_json::from_str(text).unwrap();
    let (mut valid, mut other) = (0, 0);
    for group in set["testGroups"].as_array().unwrap() {
        let keys = KeySet::parse(&json!({"keys": [jwk(group, algorithm)]}).to_string());
        for test in group["tests"].as_array().unwrap() {
            let (message, signature) = (bytes(&test["msg"]), URL_SAFE_NO_PAD.encode(bytes(&test["sig"])));
            let accepted = keys.as_ref().is_ok_and(|keys| {
                let Found::Key(key) = keys.find(None, algorithm, &format!("{algorithm:?}")) else {
                    return false;
                };
                verifies(&signature, &message, key, algorithm)
            });
            match test["result"].as_str().unwrap() {
                "valid" => {
                    assert!(accepted, "{algorithm:?}, {}: {}", test["tcId"], test["comment"]);
                    valid += 1;
                }
                "invalid" => {
                    assert!(!accepted, "{algorithm:?}, {}: {}", test["tcId"], test["comment"]);
                    other += 1;
                }
                // Acceptable: a verifier may go either way.
                _ => other += 1,
            }
        }
    }
    (valid, other)
}

#[test]
fn wycheproofs_signatures_are_judged_as_it_judges_them() {
    install();
    let sets = [
        (ecdsa::TestName::EcdsaSecp256r1Sha256P1363.json_data(), Algorithm::ES256),
        (ecdsa::TestName::EcdsaSecp384r1Sha384P1363.json_data(), Algorithm::ES384),
        (eddsa::TestName::Ed25519.json_data(), Algorithm::EdDSA),
        (pkcs1::TestName::Rsa2048Sha256.json_data(), Algorithm::RS256),
        (pkcs1::TestName::Rsa3072Sha256.json_data(), Algorithm::RS256),
        (pkcs1::TestName::Rsa2048Sha384.json_data(), Algorithm::RS384),
        (pkcs1::TestName::Rsa2048Sha512.json_data(), Algorithm::RS512),
        (pss::TestName::RsaPss2048Sha256Mgf1SaltLen32.json_data(), Algorithm::PS256),
        (pss::TestName::RsaPss2048Sha384Mgf1SaltLen48.json_data(), Algorithm::PS384),
        (pss::TestName::RsaPss4096Sha512Mgf1SaltLen64.json_data(), Algorithm::PS512),
    ];
    let (mut valid, mut other) = (0, 0);
    for (text, algorithm) in sets {
        let (more_valid, more_other) = run(text, algorithm);
        assert!(more_valid > 0 && more_other > 0, "{algorithm:?}");
        valid += more_valid;
        other += more_other;
    }
    println!("{valid} valid and {other} other vectors");
    assert!(valid >= 500 && other >= 1_000, "{valid} valid, {other} other");
}
