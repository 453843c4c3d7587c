//! `jsonwebtoken`'s signature checks on `ring`. It signs nothing: nobody mints tokens with it.

use std::sync::Once;

use jsonwebtoken::crypto::{CryptoProvider, JwtVerifier, KeyUtils};
use jsonwebtoken::errors::{Error, ErrorKind, Result};
use jsonwebtoken::signature::{Error as SignatureError, Verifier};
use jsonwebtoken::{Algorithm, DecodingKey, DecodingKeyKind};
use ring::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, ED25519, RSA_PKCS1_2048_8192_SHA256,
    RSA_PKCS1_2048_8192_SHA384, RSA_PKCS1_2048_8192_SHA512, RSA_PSS_2048_8192_SHA256,
    RSA_PSS_2048_8192_SHA384, RSA_PSS_2048_8192_SHA512, RsaParameters, RsaPublicKeyComponents,
    UnparsedPublicKey, VerificationAlgorithm,
};

static PROVIDER: CryptoProvider = CryptoProvider {
    signer_factory: |_, _| Err(unsupported()),
    verifier_factory: |algorithm, key| Ok(Box::new(RingVerifier { algorithm: *algorithm, key: key.clone() })),
    key_utils: KeyUtils {
        rsa_pub_components_from_private_key: |_| Err(unsupported()),
        rsa_pub_components_from_public_key: |_| Err(unsupported()),
        ec_pub_components_from_private_key: |_, _| Err(unsupported()),
        ed_pub_components_from_private_key: |_, _| Err(unsupported()),
        compute_digest: |_, _| Err(unsupported()),
    },
};

/// Without a provider `jsonwebtoken` panics at its first use.
pub(crate) fn install() {
    static ONCE: Once = Once::new();
    // A second provider in one process is impossible: this crate is `jsonwebtoken`'s only user (deny.toml).
    ONCE.call_once(|| _ = PROVIDER.install_default());
}

/// Checks `signature` (base64url) over `message`.
pub(crate) fn verifies(signature: &str, message: &[u8], key: &DecodingKey, algorithm: Algorithm) -> bool {
    jsonwebtoken::crypto::verify(signature, message, key, algorithm).unwrap_or(false)
}

fn unsupported() -> Error {
    ErrorKind::UnsupportedAlgorithm.into()
}

struct RingVerifier {
    algorithm: Algorithm,
    key: DecodingKey,
}

enum Check {
    Plain(&'static dyn VerificationAlgorithm),
    Rsa(&'static RsaParameters),
}

fn check(algorithm: Algorithm) -> Result<Check> {
    Ok(match algorithm {
        Algorithm::ES256 => Check::Plain(&ECDSA_P256_SHA256_FIXED),
        Algorithm::ES384 => Check::Plain(&ECDSA_P384_SHA384_FIXED),
        Algorithm::EdDSA => Check::Plain(&ED25519),
        Algorithm::RS256 => Check::Rsa(&RSA_PKCS1_2048_8192_SHA256),
        Algorithm::RS384 => Check::Rsa(&RSA_PKCS1_2048_8192_SHA384),
        Algorithm::RS512 => Check::Rsa(&RSA_PKCS1_2048_8192_SHA512),
        Algorithm::PS256 => Check::Rsa(&RSA_PSS_2048_8192_SHA256),
        Algorithm::PS384 => Check::Rsa(&RSA_PSS_2048_8192_SHA384),
        Algorithm::PS512 => Check::Rsa(&RSA_PSS_2048_8192_SHA512),
        // HMAC, and whatever a later release adds: refused.
        Algorithm::HS256 | Algorithm::HS384 | Algorithm::HS512 | _ => return Err(unsupported()),
    })
}

impl Verifier<Vec<u8>> for RingVerifier {
    fn verify(&self, message: &[u8], signature: &Vec<u8>) -> std::result::Result<(), SignatureError> {
        if self.key.family() != self.algorithm.family() {
            return Err(SignatureError::new());
        }
        let check = check(self.algorithm).map_err(|_| SignatureError::new())?;
        let outcome = match (check, self.key.kind()) {
            (Check::Rsa(parameters), DecodingKeyKind::RsaModulusExponent { n, e }) => {
                RsaPublicKeyComponents { n: unpadded(n), e: unpadded(e) }
                    .verify(parameters, message, signature)
            }
            (Check::Plain(algorithm), DecodingKeyKind::SecretOrDer(key)) => {
                UnparsedPublicKey::new(algorithm, key).verify(message, signature)
            }
            (Check::Plain(_) | Check::Rsa(_), _) => Err(ring::error::Unspecified),
        };
        outcome.map_err(|_| SignatureError::new())
    }
}

impl JwtVerifier for RingVerifier {
    fn algorithm(&self) -> Algorithm {
        self.algorithm
    }
}

/// Some issuers pad the modulus with a zero byte, which `ring` refuses.
fn unpadded(mut number: &[u8]) -> &[u8] {
    while let [0, rest @ ..] = number {
        number = rest;
    }
    number
}
