//! Issuers' keys: OIDC discovery and the key set, fetched by admin alone, checked, kept and pushed.
//!
//! An answer that fails any check changes nothing: the last good set goes on serving. No redirect is followed, answers
//! are small or refused, and plain HTTP is spoken to loopback only.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, bail};
use reqwest::{Client, Url};
use serde::Deserialize;

const MAX_ANSWER_BYTES: usize = 256 << 10;
const TIMEOUT: Duration = Duration::from_secs(5);

/// What an issuer says of itself. Where people sign in and programs get tokens is asked of the sign-in's issuer alone.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Discovery {
    pub issuer: String,
    pub jwks_uri: String,
    pub authorization_endpoint: Option<String>,
    pub token_endpoint: Option<String>,
    pub end_session_endpoint: Option<String>,
    /// Whether answers to browsers name their issuer (RFC 9207).
    #[serde(default)]
    pub authorization_response_iss_parameter_supported: bool,
}

/// Where an issuer says who it is (OpenID Connect Discovery 1.0, section 4).
pub(crate) fn discovery_url(issuer: &str) -> Result<Url> {
    let url = format!("{}/.well-known/openid-configuration", issuer.trim_end_matches('/'));
    checked(&url).with_context(|| format!("issuer {issuer:?}"))
}

/// HTTPS anywhere, HTTP only to loopback.
pub(crate) fn checked(text: &str) -> Result<Url> {
    let url = Url::parse(text).with_context(|| format!("{text:?} is no URL"))?;
    let host = url.host_str().unwrap_or_default();
    let loopback = matches!(host, "127.0.0.1" | "[::1]" | "localhost");
    match url.scheme() {
        "https" => Ok(url),
        "http" if loopback => Ok(url),
        _ => bail!("{text:?} must be https: keys fetched in the clear prove nothing"),
    }
}

/// A client that trusts the system's roots, or only those of a file.
pub(crate) fn client(roots: Option<&Path>) -> Result<Client> {
    let builder = Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy()
        .timeout(TIMEOUT)
        .user_agent("weir-admin");
    let builder = match roots {
        Some(path) => {
            let pem = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
            builder.tls_backend_preconfigured(crate::tls::client_config(&pem)?)
        }
        None => builder,
    };
    builder.build().context("cannot make an HTTP client")
}

/// The issuer's key set as published, known to be usable.
pub(crate) async fn fetch(client: &Client, issuer: &str) -> Result<Arc<str>> {
    fetch_keys(client, &discover(client, issuer).await?).await
}

/// What the issuer says of itself, if it is that issuer.
pub(crate) async fn discover(client: &Client, issuer: &str) -> Result<Discovery> {
    let document = get(client, discovery_url(issuer)?).await?;
    let discovery: Discovery =
        serde_json::from_str(&document).context("discovery document has no issuer and jwks_uri")?;
    if discovery.issuer != issuer {
        bail!("discovery document is of issuer {:?}, not {issuer:?}", discovery.issuer);
    }
    Ok(discovery)
}

/// The key set that a discovery document names.
pub(crate) async fn fetch_keys(client: &Client, discovery: &Discovery) -> Result<Arc<str>> {
    let keys = get(client, checked(&discovery.jwks_uri)?).await?;
    weir_token::KeySet::parse(&keys)?;
    Ok(keys.into())
}

async fn get(client: &Client, url: Url) -> Result<String> {
    let answer = client.get(url.clone()).send().await.with_context(|| format!("cannot reach {url}"))?;
    if answer.status() != reqwest::StatusCode::OK {
        bail!("{url} answered {}", answer.status());
    }
    text_of(answer).await
}

/// An answer's body, which is text and not long.
pub(crate) async fn text_of(mut answer: reqwest::Response) -> Result<String> {
    let url = answer.url().clone();
    let mut body = Vec::new();
    while let Some(chunk) = answer.chunk().await.with_context(|| format!("{url} broke off"))? {
        if body.len() + chunk.len() > MAX_ANSWER_BYTES {
            bail!("{url} answered more than {MAX_ANSWER_BYTES} bytes");
        }
        body.extend_from_slice(&chunk);
    }
    String::from_utf8(body).map_err(|_| anyhow!("{url} answered no text"))
}

#[cfg(test)]
mod tests {
    use axum::Router;
    use axum::response::Redirect;
    use axum::routing::get;
    use tokio::net::TcpListener;

    use super::*;

    const KEYS: &str =
        r#"{"keys":[{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}"#;

    /// An issuer that answers so; `@` stands for its own URL.
    async fn outcome(discovery: &str, keys: &str) -> Result<Arc<str>, String> {
        crate::tls::install_provider();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (discovery, keys) = (discovery.replace('@', &url), keys.to_owned());
        let router = Router::new()
            .route("/.well-known/openid-configuration", get(|| async { discovery }))
            .route("/keys", get(|| async { keys }))
            .route("/moved", get(|| async { Redirect::temporary("/keys") }));
        let serving = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        let outcome = fetch(&client(None).unwrap(), &url).await.map_err(|error| format!("{error:#}"));
        serving.abort();
        outcome
    }

    #[tokio::test]
    async fn only_a_proper_issuers_usable_keys_are_taken() {
        let good = r#"{"issuer":"@","jwks_uri":"@/keys"}"#;
        assert_eq!(&*outcome(good, KEYS).await.unwrap(), KEYS);
        let long = format!("{KEYS}{}", " ".repeat(MAX_ANSWER_BYTES));
        for (discovery, keys, says) in [
            (r#"{"issuer":"https://else.example","jwks_uri":"@/keys"}"#, KEYS, "not \"http://"),
            (r#"{"issuer":"@"}"#, KEYS, "no issuer and jwks_uri"),
            ("<html>", KEYS, "no issuer and jwks_uri"),
            (r#"{"issuer":"@","jwks_uri":"@/moved"}"#, KEYS, "307"),
            (r#"{"issuer":"@","jwks_uri":"@/gone"}"#, KEYS, "404"),
            (r#"{"issuer":"@","jwks_uri":"http://192.0.2.1/keys"}"#, KEYS, "must be https"),
            (r#"{"issuer":"@","jwks_uri":"file:///etc/passwd"}"#, KEYS, "must be https"),
            (good, r#"{"keys":[]}"#, "no key"),
            (good, "{}", "list of keys"),
            (good, &long, "more than"),
        ] {
            let error = outcome(discovery, keys).await.unwrap_err();
            assert!(error.contains(says), "{discovery} {says}: {error}");
        }
    }
}
