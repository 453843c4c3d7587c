//! Signed checkpoints to somebody else's server, one request a segment in order: a witness that neither the recorder nor the
//! archive controls. It is told of what is sealed, whether it was shipped or not, and holds up no shipping.
//!
//! `Weir-Signature` is `sha256=` and the HMAC-SHA-256, in hex, of `Weir-Timestamp`, a dot and the body, by the shared secret.

use std::path::PathBuf;

use anyhow::{Context as _, Result, bail};
use reqwest::{Client, Url};
use ring::hmac;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::confirmations::State;
use super::content::Sealed;
use crate::{clock, jwks, keys, sessions};

/// Requests of one round at most: the rest comes with the next.
const MAX_A_ROUND: usize = 256;
/// A secret is no shorter.
const MIN_SECRET: usize = 16;

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Webhook {
    pub url: String,
    /// File of mode 0600.
    pub secret: PathBuf,
    /// Trusted instead of the system's roots.
    #[serde(default)]
    pub ca: Option<PathBuf>,
}

/// How far the witness was told.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Told {
    number: u64,
}

impl Webhook {
    /// # Errors
    /// The operator's: no URL by which a secret may go.
    pub(super) fn check(&self) -> Result<()> {
        let url = Url::parse(&self.url).ok();
        let loopback = url
            .as_ref()
            .and_then(Url::host_str)
            .is_some_and(|host| matches!(host, "127.0.0.1" | "[::1]" | "localhost"));
        match url.as_ref().map(Url::scheme) {
            Some("https") => Ok(()),
            Some("http") if loopback => Ok(()),
            _ => bail!("[ship.webhook] url {:?} must be an https URL", self.url),
        }
    }

    /// Tells of every sealed segment that was not told of.
    ///
    /// # Errors
    /// The first that was not taken; it and what follows is told of at the next call.
    pub(super) async fn tell(&self, segments: &std::path::Path, node: &str, state: &State) -> Result<()> {
        let mut told: Told = state.webhook()?.unwrap_or_default();
        let mut client = None;
        let mut left = MAX_A_ROUND;
        for path in sessions::segment_files(segments)? {
            let number = path.file_stem().and_then(|stem| stem.to_str()?.parse::<u64>().ok());
            if number.is_none_or(|number| number <= told.number) || left == 0 {
                continue;
            }
            // One that is not sound is an alarm where it is shipped.
            let Ok(Some(sealed)) = tokio::task::block_in_place(|| Sealed::open(&path)) else { continue };
            let client = match &mut client {
                Some(client) => client,
                none => none.insert(Sender::open(self)?),
            };
            client
                .send(node, &sealed)
                .await
                .with_context(|| format!("the webhook {} was not told", self.url))?;
            told.number = sealed.checkpoint.statement().number;
            state.keep_webhook(&told)?;
            left -= 1;
        }
        Ok(())
    }
}

struct Sender {
    client: Client,
    url: String,
    key: hmac::Key,
}

impl Sender {
    fn open(webhook: &Webhook) -> Result<Self> {
        let secret = keys::read_secret(&webhook.secret)?;
        let secret = secret.trim_ascii();
        if secret.len() < MIN_SECRET {
            bail!("{} is shorter than {MIN_SECRET} bytes", webhook.secret.display());
        }
        let key = hmac::Key::new(hmac::HMAC_SHA256, secret);
        Ok(Self { client: jwks::client(webhook.ca.as_deref())?, url: webhook.url.clone(), key })
    }

    async fn send(&self, node: &str, sealed: &Sealed) -> Result<()> {
        let checkpoint = sealed.checkpoint.checkpoint();
        let body = json!({
            "node": node, "number": checkpoint.number, "root": checkpoint.root.to_string(),
            "checkpoint": sealed.checkpoint.to_string(),
        });
        let (body, at) = (body.to_string(), clock::unix_ms() / 1_000);
        let signature = hmac::sign(&self.key, format!("{at}.{body}").as_bytes());
        let request = self.client.post(&self.url).header("Content-Type", "application/json");
        let request = request
            .header("Weir-Timestamp", at.to_string())
            .header("Weir-Signature", format!("sha256={}", hex::encode(signature)));
        let answer = request.body(body).send().await.map_err(reqwest::Error::without_url)?;
        if !answer.status().is_success() {
            bail!("it answered {}", answer.status());
        }
        Ok(())
    }
}
