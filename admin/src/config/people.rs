//! The parts of `weir.toml` about people: where their pages are, who signs them in, and which groups may do what.
//!
//! ```toml
//! [admin.web]
//! url = "https://weir.example.com"      # as browsers see it; http is for a loopback name alone
//! listen = "0.0.0.0:8443"               # default: the pages are on admin.listen, for a proxy that ends TLS in front
//! cert = "/etc/weir/tls/web.pem"        # with listen
//! key = "/etc/weir/tls/web.key"
//!
//! [admin.sign_in]
//! issuer = "https://login.example.com"
//! client_id = "weir"
//! client_secret_file = "/etc/weir/secrets/oidc"   # mode 0600; default: a public client, PKCE alone
//! algorithms = ["RS256"]                # of ID tokens; default: RS256, ES256
//! scopes = ["openid", "profile", "groups"]        # default: openid, profile
//! groups_claim = "groups"               # or a JSON pointer; it must be in the ID token
//! name_claim = "name"
//! roots = "/etc/weir/tls/issuer-ca.pem" # default: the system's roots
//! idle = "30m"                          # a session ends when it is not used for so long
//! longest = "8h"                        # and after this in any case
//! ```

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use reqwest::Url;
use serde::{Deserialize, Deserializer};

use super::Admin;

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Web {
    pub url: String,
    #[serde(default)]
    pub listen: Option<SocketAddr>,
    #[serde(default)]
    pub cert: Option<PathBuf>,
    #[serde(default)]
    pub key: Option<PathBuf>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SignIn {
    pub issuer: String,
    pub client_id: String,
    #[serde(default)]
    pub client_secret_file: Option<PathBuf>,
    #[serde(default = "super::default_algorithms")]
    pub algorithms: Vec<String>,
    #[serde(default = "default_scopes")]
    pub scopes: Vec<String>,
    #[serde(default = "super::default_groups_claim")]
    pub groups_claim: String,
    #[serde(default = "default_name_claim")]
    pub name_claim: String,
    #[serde(default)]
    pub roots: Option<PathBuf>,
    #[serde(default = "default_idle", deserialize_with = "duration")]
    pub idle: Duration,
    #[serde(default = "default_longest", deserialize_with = "duration")]
    pub longest: Duration,
}

fn default_scopes() -> Vec<String> {
    vec!["openid".into(), "profile".into()]
}

fn default_name_claim() -> String {
    "name".into()
}

const fn default_idle() -> Duration {
    Duration::from_secs(30 * 60)
}

const fn default_longest() -> Duration {
    Duration::from_secs(8 * 3600)
}

fn duration<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
    let text = String::deserialize(from)?;
    weir_sources::duration(&text).map_err(serde::de::Error::custom)
}

/// Where the pages are, as browsers name it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Origin {
    /// Scheme, host and port: `https://weir.example.com`.
    pub url: String,
    /// Host and port, as in a `Host` field.
    pub host: String,
    /// Whether browsers reach it by TLS. If not, it is on a loopback name.
    pub secure: bool,
}

impl Web {
    /// # Errors
    /// The operator's: not a bare `https://host`, or `http` to anything but loopback.
    pub(crate) fn origin(&self) -> Result<Origin> {
        let text = &self.url;
        let url = Url::parse(text).with_context(|| format!("admin.web.url: {text:?} is no URL"))?;
        let bare = url.path() == "/"
            && url.query().is_none()
            && url.fragment().is_none()
            && url.username().is_empty()
            && url.password().is_none();
        let Some(name) = url.host_str().filter(|_| bare) else {
            bail!("admin.web.url: {text:?} must be https://HOST with nothing behind it");
        };
        let secure = match url.scheme() {
            "https" => true,
            "http" if matches!(name, "localhost" | "127.0.0.1" | "[::1]") => false,
            _ => bail!("admin.web.url: {text:?} must be https: http is for loopback alone"),
        };
        let host = url.port().map_or_else(|| name.to_owned(), |port| format!("{name}:{port}"));
        Ok(Origin { url: format!("{}://{host}", url.scheme()), host, secure })
    }
}

/// # Errors
/// The operator's: what is said about people does not hold together.
pub(super) fn check(admin: &Admin) -> Result<()> {
    let (web, sign_in) = match (&admin.web, &admin.sign_in) {
        (None, None) => return Ok(()),
        (Some(web), Some(sign_in)) => (web, sign_in),
        (Some(_), None) => bail!("[admin.web] needs [admin.sign_in]: the pages are for people who signed in"),
        (None, Some(_)) => bail!("[admin.sign_in] needs [admin.web]: its url is where people come back to"),
    };
    let origin = web.origin()?;
    match (web.listen, &web.cert, &web.key) {
        (None, None, None) => {}
        (Some(_), Some(_), Some(_)) if origin.secure => {}
        (Some(_), Some(_), Some(_)) => bail!("admin.web.url must be https: admin.web.listen speaks TLS"),
        _ => bail!("admin.web.listen needs cert and key, and they need it"),
    }
    crate::jwks::discovery_url(&sign_in.issuer)?;
    if !sign_in.scopes.iter().any(|scope| scope == "openid") {
        bail!("admin.sign_in.scopes must name openid: there is no ID token without it");
    }
    if sign_in.idle.is_zero() || sign_in.longest < sign_in.idle {
        bail!("admin.sign_in: longest must be at least idle, and idle more than nothing");
    }
    weir_token::Verifier::new(&[sign_in.as_issuer(None)])?;
    Ok(())
}

impl SignIn {
    /// What an ID token must be.
    pub(crate) fn as_issuer(&self, jwks: Option<String>) -> weir_control::Issuer {
        let kept = ["nonce", "azp", "aud", "email", &self.name_claim];
        weir_control::Issuer {
            issuer: self.issuer.clone(),
            audiences: vec![self.client_id.clone()],
            algorithms: self.algorithms.clone(),
            jwks,
            conditions: Vec::new(),
            groups_claim: self.groups_claim.clone(),
            run_claim: None,
            purpose_claim: None,
            kept_claims: kept.into_iter().map(str::to_owned).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pages_address_is_https_or_loopback_and_nothing_more() {
        let origin = |url: &str| Web { url: url.into(), listen: None, cert: None, key: None }.origin();
        let good = origin("https://weir.example.com").unwrap();
        assert_eq!((good.url.as_str(), good.host.as_str()), ("https://weir.example.com", "weir.example.com"));
        assert!(good.secure);
        let odd = origin("https://weir.example.com:8443/").unwrap();
        assert_eq!(odd.host, "weir.example.com:8443");
        assert!(!origin("http://localhost:8444").unwrap().secure);
        for bad in [
            "http://weir.example.com",
            "https://weir.example.com/weir",
            "https://weir.example.com/?a=b",
            "https://u:p@weir.example.com",
            "http://localhost.example.com",
            "ftp://localhost",
            "weir.example.com",
        ] {
            assert!(origin(bad).is_err(), "{bad}");
        }
    }
}
