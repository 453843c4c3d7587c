//! Keeps issuers' keys fresh: at start, every ten minutes, and when a token names an unknown key (rate-limited).

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Result;

use super::Hub;
use crate::config::Config;
use crate::{clock, jwks};

const EVERY: Duration = Duration::from_secs(600);
/// While an issuer has no keys at all, nobody of it gets in: ask again soon.
const RETRY: Duration = Duration::from_secs(2);
/// At most one fetch an issuer in this time, however many tokens name unknown keys.
const RATE: Duration = Duration::from_secs(5);

/// One client an issuer, and when each was last asked.
pub(crate) struct Fetches {
    clients: HashMap<String, reqwest::Client>,
    asked: Mutex<HashMap<String, Instant>>,
}

impl Fetches {
    pub(super) fn new(config: &Config) -> Result<Self> {
        let mut clients = HashMap::new();
        for issuer in &config.issuers {
            clients.insert(issuer.issuer.clone(), jwks::client(issuer.roots.as_deref())?);
        }
        Ok(Self { clients, asked: Mutex::default() })
    }

    /// Whether it may be asked now; if so, it counts as asked.
    fn admit(&self, issuer: &str, now: Instant) -> bool {
        let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        let recent = asked.get(issuer).is_some_and(|at| now.duration_since(*at) < RATE);
        if !recent {
            asked.insert(issuer.to_owned(), now);
        }
        !recent
    }
}

/// Runs for as long as the service.
pub(super) async fn refresh(hub: Arc<Hub>) {
    loop {
        for issuer in &hub.config.issuers {
            fetch(&hub, &issuer.issuer).await;
        }
        let missing = hub.current().state.issuers.iter().any(|issuer| issuer.jwks.is_none());
        tokio::time::sleep(if missing { RETRY } else { EVERY }).await;
    }
}

/// A token named a key that is not in the set.
pub(super) async fn refetch(hub: &Hub, issuer: &str) {
    if hub.fetches.clients.contains_key(issuer) && hub.fetches.admit(issuer, Instant::now()) {
        fetch(hub, issuer).await;
    }
}

async fn fetch(hub: &Hub, issuer: &str) {
    if let Err(error) = try_fetch(hub, issuer).await {
        tracing::warn!(issuer, error = format!("{error:#}"), "keys not fetched; the last good ones stay");
    }
}

async fn try_fetch(hub: &Hub, issuer: &str) -> Result<()> {
    let Some(client) = hub.fetches.clients.get(issuer) else { return Ok(()) };
    let keys = jwks::fetch(client, issuer).await?;
    let current = hub.current();
    let known = current.state.issuers.iter().find(|known| known.issuer == issuer);
    if known.and_then(|known| known.jwks.as_deref()) == Some(&*keys) {
        return Ok(());
    }
    hub.store.keep_issuer_keys(issuer, &keys, clock::unix_ms()).await?;
    hub.reload_if_changed().await?;
    tracing::info!(issuer, "new keys in force");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_unknown_keys_cause_one_fetch_an_issuer() {
        let fetches = Fetches { clients: HashMap::new(), asked: Mutex::default() };
        let start = Instant::now();
        assert!(fetches.admit("a", start));
        assert!(!fetches.admit("a", start + RATE / 2));
        assert!(fetches.admit("b", start));
        assert!(fetches.admit("a", start + RATE));
    }
}
