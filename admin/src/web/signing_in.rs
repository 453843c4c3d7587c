//! One attempt at signing in, between leaving for the issuer and coming back: sealed into a cookie of the browser that
//! began it, so that nothing is kept here for strangers, and no answer is taken from another browser.

use anyhow::{Result, anyhow};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::digest::{SHA256, digest};
use ring::rand::{SecureRandom as _, SystemRandom};
use serde::{Deserialize, Serialize};

/// How long somebody may take at the issuer.
pub(super) const SECONDS: u32 = 600;

#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct SigningIn {
    pub state: String,
    pub nonce: String,
    /// PKCE's (RFC 7636): 43 characters.
    pub verifier: String,
    /// The page that was asked for: always one of ours.
    pub back: String,
    pub until_ms: u64,
}

/// Seals attempts under a key that no other process has: a restart asks people to begin again.
pub(super) struct Sealing {
    key: LessSafeKey,
    random: SystemRandom,
}

impl SigningIn {
    pub(super) fn new(back: Option<&str>, now_ms: u64) -> Result<Self> {
        Ok(Self {
            state: word()?,
            nonce: word()?,
            verifier: word()?,
            back: back.filter(|back| is_ours(back)).unwrap_or("/").to_owned(),
            until_ms: now_ms.saturating_add(u64::from(SECONDS) * 1_000),
        })
    }

    /// PKCE's S256.
    pub(super) fn challenge(&self) -> String {
        URL_SAFE_NO_PAD.encode(digest(&SHA256, self.verifier.as_bytes()))
    }
}

/// Whether a text is a path of ours, whatever a browser makes of it behind our origin.
fn is_ours(path: &str) -> bool {
    path.len() <= 512
        && path.starts_with('/')
        && !path.starts_with("//")
        && !path.starts_with("/sign-")
        && path.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'\\')
}

/// 256 random bits.
fn word() -> Result<String> {
    let mut bytes = [0; 32];
    SystemRandom::new().fill(&mut bytes).map_err(|_| anyhow!("the system gave no randomness"))?;
    Ok(URL_SAFE_NO_PAD.encode(bytes))
}

impl Sealing {
    pub(super) fn new() -> Result<Self> {
        let random = SystemRandom::new();
        let mut key = [0; 32];
        random.fill(&mut key).map_err(|_| anyhow!("the system gave no randomness"))?;
        let key = UnboundKey::new(&AES_256_GCM, &key).map_err(|_| anyhow!("no key of 32 bytes"))?;
        Ok(Self { key: LessSafeKey::new(key), random })
    }

    pub(super) fn seal(&self, attempt: &SigningIn) -> Result<String> {
        let mut nonce = [0; NONCE_LEN];
        self.random.fill(&mut nonce).map_err(|_| anyhow!("the system gave no randomness"))?;
        let mut sealed = serde_json::to_vec(attempt)?;
        let unique = Nonce::assume_unique_for_key(nonce);
        let sealing = self.key.seal_in_place_append_tag(unique, Aad::empty(), &mut sealed);
        sealing.map_err(|_| anyhow!("too long to seal"))?;
        Ok(URL_SAFE_NO_PAD.encode([nonce.as_slice(), &sealed].concat()))
    }

    /// None: not sealed here, altered, or too old.
    pub(super) fn open(&self, text: &str, now_ms: u64) -> Option<SigningIn> {
        let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
        let (nonce, sealed) = bytes.split_first_chunk::<NONCE_LEN>()?;
        let mut sealed = sealed.to_vec();
        let unique = Nonce::assume_unique_for_key(*nonce);
        let opened = self.key.open_in_place(unique, Aad::empty(), &mut sealed).ok()?;
        let attempt: SigningIn = serde_json::from_slice(opened).ok()?;
        (now_ms < attempt.until_ms).then_some(attempt)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_attempt_opens_where_it_was_sealed_unaltered_and_in_time() {
        let (here, elsewhere) = (Sealing::new().unwrap(), Sealing::new().unwrap());
        let attempt = SigningIn::new(Some("/approvals/x?a=b"), 1_000).unwrap();
        let sealed = here.seal(&attempt).unwrap();
        assert_eq!(here.open(&sealed, 600_999), Some(attempt));
        assert_eq!(here.open(&sealed, 601_000), None);
        assert_eq!(elsewhere.open(&sealed, 2_000), None);
        let mut altered = sealed.into_bytes();
        altered[20] ^= 1;
        assert_eq!(here.open(str::from_utf8(&altered).unwrap(), 2_000), None);
        assert_eq!(here.open("", 2_000), None);
    }

    #[test]
    fn nobody_is_sent_anywhere_but_to_a_page_of_ours() {
        let back = |to: &str| SigningIn::new(Some(to), 0).unwrap().back;
        assert_eq!(back("/sessions?subject=a%20b"), "/sessions?subject=a%20b");
        for bad in [
            "//evil.example",
            "https://evil.example",
            "/\\evil.example",
            "\\/evil.example",
            "/a\nb",
            "/ a",
            "evil",
            "",
            "@evil.example",
            "/sign-in/callback?code=x",
            "/sign-out",
        ] {
            assert_eq!(back(bad), "/", "{bad}");
        }
    }
}
