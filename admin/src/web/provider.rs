//! The issuer that signs people in: where it is, and the exchange of a code for a verified ID token (OpenID Connect Core
//! 1.0, section 3.1, with PKCE).
//!
//! No OpenID library: tokens are verified by `weir-token`, as everywhere else, so that there is one implementation to attack
//! and one cryptography; what is left of the flow is in this file. No redirect of the issuer's is followed, and what it
//! answers never reaches a page.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, bail};
use reqwest::{Client, StatusCode, Url};
use serde::Deserialize;
use weir_policy::Identity;
use weir_token::{Refusal, Verified, Verifier};
use zeroize::Zeroizing;

use crate::config::SignIn;
use crate::jwks::{self, Discovery};
use crate::{clock, keys};

/// How long what the issuer said of itself is good without asking again.
const FRESH: Duration = Duration::from_secs(600);
/// At most one look for new keys in this time, however many tokens name unknown ones.
const RATE: Duration = Duration::from_secs(5);

pub(crate) struct Provider {
    pub config: SignIn,
    secret: Option<Zeroizing<String>>,
    client: Client,
    known: Mutex<Option<Arc<Known>>>,
}

struct Known {
    discovery: Discovery,
    verifier: Verifier,
    at: Instant,
}

/// Somebody whom the issuer vouches for.
pub(crate) struct SignedIn {
    pub identity: Identity,
    pub name: String,
    pub issued_ms: u64,
}

/// What the token endpoint answers. The access token is of no use here, and is dropped unread.
#[derive(Deserialize)]
struct Tokens {
    id_token: Option<String>,
}

/// What a code is exchanged with.
pub(crate) struct Exchange<'a> {
    pub code: &'a str,
    pub verifier: &'a str,
    pub nonce: &'a str,
    pub redirect_uri: &'a str,
}

impl Provider {
    /// # Errors
    /// The operator's: the secret or the roots cannot be read.
    pub(crate) fn new(config: &SignIn) -> Result<Self> {
        let secret = config.client_secret_file.as_deref().map(keys::read_secret).transpose()?;
        let text = |bytes: Zeroizing<Vec<u8>>| -> Result<_> {
            let text = str::from_utf8(&bytes).context("admin.sign_in.client_secret_file is no text")?;
            Ok(Zeroizing::new(text.trim().to_owned()))
        };
        Ok(Self {
            config: config.clone(),
            secret: secret.map(text).transpose()?,
            client: jwks::client(config.roots.as_deref())?,
            known: Mutex::default(),
        })
    }

    /// Where a browser goes to sign in.
    pub(crate) async fn authorization(&self) -> Result<Url> {
        let known = self.known().await?;
        let endpoint = known.discovery.authorization_endpoint.as_deref();
        jwks::checked(endpoint.context("the issuer has no authorization endpoint")?)
    }

    /// Where a browser goes to be signed out at the issuer, too, if that is known and there is such a place.
    pub(crate) fn end_session(&self) -> Option<Url> {
        let known = self.lock().clone()?;
        jwks::checked(known.discovery.end_session_endpoint.as_deref()?).ok()
    }

    /// Whether an answer that came by the browser may be this issuer's (RFC 9207).
    pub(crate) async fn said_it(&self, issuer: Option<&str>) -> Result<bool> {
        let must = self.known().await?.discovery.authorization_response_iss_parameter_supported;
        Ok(issuer.map_or(!must, |issuer| issuer == self.config.issuer))
    }

    /// Exchanges a code, and verifies who it is.
    ///
    /// # Errors
    /// The issuer's, or of whoever brought the code. The text is for the log alone.
    pub(crate) async fn exchange(&self, exchange: &Exchange<'_>) -> Result<SignedIn> {
        let token = self
            .token(&[
                ("grant_type", "authorization_code"),
                ("code", exchange.code),
                ("redirect_uri", exchange.redirect_uri),
                ("code_verifier", exchange.verifier),
            ])
            .await?;
        let verified = self.verified(&token).await?;
        if claim(&verified, "nonce") != Some(exchange.nonce) {
            bail!("the ID token is not for this sign-in (nonce)");
        }
        Ok(self.signed_in(verified))
    }

    async fn token(&self, fields: &[(&str, &str)]) -> Result<Zeroizing<String>> {
        let known = self.known().await?;
        let endpoint = known.discovery.token_endpoint.as_deref();
        let endpoint = jwks::checked(endpoint.context("the issuer has no token endpoint")?)?;
        let mut fields = fields.to_vec();
        let request = self.client.post(endpoint);
        let request = match &self.secret {
            Some(secret) => request.basic_auth(encoded(&self.config.client_id), Some(encoded(secret))),
            None => {
                fields.push(("client_id", &self.config.client_id));
                request
            }
        };
        let body = form(&fields);
        let request = request.header("content-type", "application/x-www-form-urlencoded").body(body);
        let answer = request.send().await.context("the issuer's token endpoint cannot be reached")?;
        let status = answer.status();
        let text = Zeroizing::new(jwks::text_of(answer).await?);
        if status != StatusCode::OK {
            #[derive(Deserialize)]
            struct Refused {
                error: String,
            }
            let why = serde_json::from_str::<Refused>(&text).map(|refused| refused.error);
            bail!("the issuer's token endpoint answered {status}: {:?}", why.unwrap_or_default());
        }
        let tokens: Tokens =
            serde_json::from_str(&text).map_err(|_| anyhow!("the token answer is no JSON"))?;
        tokens.id_token.map(Zeroizing::new).context("the issuer gave no ID token")
    }

    /// An ID token of the issuer for this client.
    pub(crate) async fn verified(&self, token: &str) -> Result<Verified> {
        let known = self.known().await?;
        let mut outcome = known.verifier.verify(token.as_bytes(), clock::now());
        if matches!(&outcome, Err(Refusal::UnknownKey { .. } | Refusal::KeysMissing(_)))
            && known.at.elapsed() >= RATE
        {
            outcome = self.refresh().await?.verifier.verify(token.as_bytes(), clock::now());
        }
        let verified = outcome.map_err(|refusal| anyhow!("the ID token was refused: {refusal}"))?;
        if verified.bound_to.is_some() {
            bail!("the ID token is bound to a certificate");
        }
        // For several audiences, the party that asked for it must be us (OpenID Connect Core 3.1.3.7).
        let ours = self.config.client_id.as_str();
        let party = claim(&verified, "azp");
        if party.is_some_and(|party| party != ours)
            || (party.is_none() && claim(&verified, "aud") != Some(ours))
        {
            bail!("the ID token is for another client (azp)");
        }
        Ok(verified)
    }

    fn signed_in(&self, mut verified: Verified) -> SignedIn {
        let name = claim(&verified, &self.config.name_claim).or_else(|| claim(&verified, "email"));
        let name = name.unwrap_or(&verified.identity.subject).to_owned();
        verified.identity.claims.clear();
        // A token that does not say when it was made is older than any revocation.
        let issued_ms = verified.issued.map_or(0, |issued| issued.unix_ms());
        SignedIn { identity: verified.identity, name, issued_ms }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Arc<Known>>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn known(&self) -> Result<Arc<Known>> {
        let known = self.lock().clone();
        match known {
            Some(known) if known.at.elapsed() < FRESH => Ok(known),
            Some(known) => Ok(self.refresh().await.unwrap_or(known)),
            None => self.refresh().await,
        }
    }

    async fn refresh(&self) -> Result<Arc<Known>> {
        let discovery = jwks::discover(&self.client, &self.config.issuer).await?;
        let jwks = jwks::fetch_keys(&self.client, &discovery).await?;
        let verifier = Verifier::new(&[self.config.as_issuer(Some(jwks.to_string()))])?;
        let known = Arc::new(Known { discovery, verifier, at: Instant::now() });
        *self.lock() = Some(known.clone());
        Ok(known)
    }
}

fn claim<'a>(verified: &'a Verified, name: &str) -> Option<&'a str> {
    verified.identity.claims.iter().find(|(known, _)| known.as_str() == name).map(|(_, value)| value.as_str())
}

/// As `application/x-www-form-urlencoded` has it.
fn form(fields: &[(&str, &str)]) -> String {
    let pairs: Vec<String> =
        fields.iter().map(|(name, value)| format!("{}={}", encoded(name), encoded(value))).collect();
    pairs.join("&")
}

/// Everything but unreserved characters is percent-encoded.
pub(crate) fn encoded(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => out.push(char::from(byte)),
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}
