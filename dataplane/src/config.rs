//! `weir.toml`, as the data plane reads it. The file is the node's: admin and the recorder read their own sections of
//! the same file, which are accepted here unread. Holds no secret and opens no socket.
//!
//! ```toml
//! [node]
//! name = "n1"                       # default: the host's name
//! cores = 2                         # default: every core this process may run on
//! metrics = "127.0.0.1:9464"        # Prometheus, health and readiness, in plain HTTP; default: nowhere
//!
//! [[listener]]
//! protocol = "postgres"             # or "http", or "ssh"
//! address = "0.0.0.0:5432"
//! cert = "/etc/weir/tls/cert.pem"   # chain, leaf first; read again on SIGHUP
//! key = "/etc/weir/tls/key.pem"
//! spiffe = [                        # a client certificate of these trust domains says who the client is
//!   { trust_domain = "acme.internal", bundle = "/etc/weir/tls/acme.pem" },
//! ]
//! auth = "oauthbearer"              # postgres only; default "password": the token is the password
//! oauth_discovery = "https://issuer/.well-known/openid-configuration"   # oauthbearer: for clients without a token
//! oauth_scope = "openid"            # oauthbearer: what to ask that issuer for
//!
//! [[listener]]
//! protocol = "http"
//! address = "0.0.0.0:8443"
//! cert = "/etc/weir/tls/cert.pem"
//! key = "/etc/weir/tls/key.pem"
//! connection = "billing-api"        # http only: the connection this listener stands for
//!
//! [[listener]]
//! protocol = "ssh"
//! address = "0.0.0.0:2222"
//! host_keys = ["/etc/weir/ssh/host_ed25519"]   # a certificate lies beside as host_ed25519-cert.pub; read again on SIGHUP
//! user_authorities = ["/etc/weir/ssh/user_ca.pub"]   # whose user certificates count; read again on SIGHUP
//! tokens = true                     # default: tokens are taken as passwords and by keyboard-interactive
//!
//! [policy]
//! bundle = "/var/lib/weir/policy/current.bundle"   # read again when it changes, and on SIGHUP
//! trusted_keys = ["ed25519:<64 hex digits>"]       # as `weir-policy keygen` prints; two while rotating
//!
//! [recorder]
//! socket = "/run/weir/recorder.sock"               # other keys are the recorder's own
//!
//! [control]
//! socket = "/run/weir/control.sock"                # other keys are admin's own
//! state_max_age = "30s"
//!
//! [limits]                          # see limits.rs
//! idle_timeout = "8h"
//!
//! [admin]                           # admin's
//! [[issuer]]                        # admin's
//! ```

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;
use weir_control::Protocol;
use weir_sources::{Problem, Source, deserialize_duration};

use crate::limits::Limits;

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Config {
    #[serde(default)]
    pub node: Node,
    #[serde(default, rename = "listener")]
    pub listeners: Vec<Listener>,
    pub policy: PolicySource,
    pub recorder: RecorderEnd,
    pub control: ControlEnd,
    #[serde(default)]
    pub limits: Limits,
    /// Admin's own, unread.
    #[serde(default, rename = "admin")]
    _admin: Option<toml::Value>,
    #[serde(default, rename = "issuer")]
    _issuer: Option<toml::Value>,
    #[serde(default, rename = "ship")]
    _ship: Option<toml::Value>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Node {
    /// What the record and admin call this node; empty: the host's name.
    pub name: String,
    /// Threads to run, one a core; zero: every core this process may run on.
    pub cores: usize,
    /// Where monitoring may ask, in plain HTTP: `/metrics`, `/healthz`, `/readyz`.
    pub metrics: Option<SocketAddr>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Listener {
    pub protocol: Protocol,
    pub address: SocketAddr,
    /// TLS's; SSH has none.
    #[serde(default)]
    pub cert: Option<PathBuf>,
    #[serde(default)]
    pub key: Option<PathBuf>,
    /// SSH's private keys.
    #[serde(default)]
    pub host_keys: Vec<PathBuf>,
    /// SSH: files of public keys.
    #[serde(default)]
    pub user_authorities: Vec<PathBuf>,
    /// SSH: tokens are taken too.
    #[serde(default = "default_tokens")]
    pub tokens: bool,
    /// The connection every client of this listener means; needed for HTTP, meaningless for Postgres.
    #[serde(default)]
    pub connection: Option<String>,
    #[serde(default)]
    pub spiffe: Vec<TrustDomain>,
    #[serde(default)]
    pub auth: Auth,
    #[serde(default)]
    pub oauth_discovery: Option<String>,
    #[serde(default)]
    pub oauth_scope: Option<String>,
}

/// Authorities whose certificates name a trust domain's members.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct TrustDomain {
    pub trust_domain: String,
    /// PEM; read again on SIGHUP.
    pub bundle: PathBuf,
}

/// What a Postgres client is asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Auth {
    OauthBearer,
    #[default]
    Password,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct PolicySource {
    pub bundle: PathBuf,
    pub trusted_keys: Vec<String>,
}

#[derive(Clone, Debug, Deserialize)]
pub(crate) struct RecorderEnd {
    pub socket: PathBuf,
}

#[derive(Clone, Debug, Deserialize)]
pub(crate) struct ControlEnd {
    pub socket: PathBuf,
    /// New sessions are refused once the pushed state is older: a revocation could have been missed.
    #[serde(default = "default_state_max_age", deserialize_with = "deserialize_duration")]
    pub state_max_age: Duration,
}

const fn default_tokens() -> bool {
    true
}

const fn default_state_max_age() -> Duration {
    Duration::from_secs(30)
}

impl Config {
    /// Reads and checks the file.
    ///
    /// # Errors
    /// The operator's: unreadable, not TOML, an unknown key, or values that cannot hold together.
    pub(crate) fn load(path: &Path) -> Result<Self, Problem> {
        Self::parse(&Source::read(path)?)
    }

    fn parse(source: &Source) -> Result<Self, Problem> {
        let config: Self = source.parse()?;
        config.check().map_err(|message| weir_sources::whole(&source.file, message))?;
        Ok(config)
    }

    fn check(&self) -> Result<(), String> {
        if self.listeners.is_empty() {
            return Err("no [[listener]]: nothing would ever connect; add one".into());
        }
        for listener in &self.listeners {
            listener.check_keys()?;
            listener.check_identity()?;
            match (listener.protocol, &listener.connection) {
                (Protocol::Http, None) => {
                    return Err(format!(
                        "listener {}: protocol \"http\" needs `connection = \"<name>\"`",
                        listener.address
                    ));
                }
                (Protocol::Postgres, Some(_)) => {
                    return Err(format!(
                        "listener {}: a postgres client names its connection as the database; remove `connection`",
                        listener.address
                    ));
                }
                (Protocol::Ssh, Some(_)) => {
                    return Err(format!(
                        "listener {}: an SSH client names its connection as the user (`role+connection`); remove `connection`",
                        listener.address
                    ));
                }
                (Protocol::Http, Some(_)) | (Protocol::Postgres | Protocol::Ssh, None) => {}
            }
        }
        if self.policy.trusted_keys.is_empty() {
            return Err("policy.trusted_keys is empty: no bundle could ever be trusted".into());
        }
        if !self.limits.ring_bytes.is_power_of_two() || self.limits.ring_bytes < 1 << 20 {
            return Err("limits.ring_bytes must be a power of two, at least 1048576".into());
        }
        Ok(())
    }
}

impl Listener {
    /// Whether it has what its protocol proves itself by, and nothing of another's.
    fn check_keys(&self) -> Result<(), String> {
        let address = self.address;
        let tls = self.cert.is_some() || self.key.is_some() || !self.spiffe.is_empty();
        let ssh = !self.host_keys.is_empty() || !self.user_authorities.is_empty() || !self.tokens;
        match self.protocol {
            Protocol::Ssh if tls => {
                Err(format!("listener {address}: SSH has no TLS; remove cert, key and spiffe"))
            }
            Protocol::Ssh if self.host_keys.is_empty() => Err(format!(
                "listener {address}: protocol \"ssh\" needs host_keys = [\"<file>\"] (`weir-admin init` makes what is missing)"
            )),
            Protocol::Ssh if self.user_authorities.is_empty() && !self.tokens => Err(format!(
                "listener {address}: nobody could log in: name user_authorities, or leave tokens on"
            )),
            Protocol::Http | Protocol::Postgres if ssh => Err(format!(
                "listener {address}: host_keys, user_authorities and tokens are for protocol \"ssh\""
            )),
            Protocol::Http | Protocol::Postgres if self.cert.is_none() || self.key.is_none() => {
                Err(format!("listener {address}: needs `cert` and `key`, PEM files"))
            }
            Protocol::Http | Protocol::Postgres | Protocol::Ssh => Ok(()),
        }
    }

    /// Whether how clients say who they are can hold together.
    fn check_identity(&self) -> Result<(), String> {
        let address = self.address;
        for (index, domain) in self.spiffe.iter().enumerate() {
            let name = &domain.trust_domain;
            if !weir_token::is_trust_domain(name) {
                return Err(format!(
                    "listener {address}: trust_domain {name:?} must be a-z, 0-9, '.', '-' and '_' (no spiffe://)"
                ));
            }
            if self.spiffe.iter().take(index).any(|other| other.trust_domain == *name) {
                return Err(format!("listener {address}: trust_domain {name:?} occurs twice"));
            }
        }
        let discovery = self.oauth_discovery.as_deref();
        match (self.auth, self.protocol, discovery) {
            (Auth::OauthBearer, Protocol::Ssh, _) => Err(format!(
                "listener {address}: `auth` is for postgres; SSH has user_authorities and tokens"
            )),
            (Auth::OauthBearer, Protocol::Http, _) => {
                Err(format!("listener {address}: HTTP clients send their token anyway; remove `auth`"))
            }
            (Auth::OauthBearer, Protocol::Postgres, Some(url))
                if url.starts_with("https://") && url.contains("/.well-known/") =>
            {
                Ok(())
            }
            (Auth::OauthBearer, Protocol::Postgres, _) => Err(format!(
                "listener {address}: auth = \"oauthbearer\" needs \
                 `oauth_discovery = \"https://<issuer>/.well-known/openid-configuration\"`"
            )),
            (Auth::Password, ..) if discovery.is_some() || self.oauth_scope.is_some() => Err(format!(
                "listener {address}: oauth_discovery and oauth_scope need auth = \"oauthbearer\""
            )),
            (Auth::Password, ..) => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAMPLE: &str = r#"
[[listener]]
protocol = "postgres"
address = "127.0.0.1:5433"
cert = "c.pem"
key = "k.pem"
[policy]
bundle = "b"
trusted_keys = ["00"]
[recorder]
socket = "r.sock"
segments = "/var/lib/weir/segments"
[control]
socket = "c.sock"
[admin]
listen = "127.0.0.1:9"
[[issuer]]
issuer = "https://i"
"#;

    fn parse(text: &str) -> Result<Config, String> {
        let source = Source { file: "weir.toml".into(), text: text.into() };
        Config::parse(&source).map_err(|problem| problem.to_string())
    }

    #[test]
    fn other_programs_sections_are_accepted_unread() {
        let config = parse(SAMPLE).unwrap();
        assert_eq!(config.control.state_max_age, Duration::from_secs(30));
        assert_eq!(config.limits.startup_packet_bytes, 10_000);
    }

    #[test]
    fn an_unknown_key_is_refused_with_its_line_and_the_nearest_known_one() {
        for (line, near) in [
            ("[limits]\nidle_timeot = \"8h\"", "idle_timeout"),
            ("[limits]\nconections = 7", "connections"),
            ("[node]\ncore = 2", "cores"),
            ("[polcy]\nbundle = 1", "policy"),
        ] {
            let error = parse(&format!("{SAMPLE}{line}\n")).unwrap_err();
            assert!(error.contains(&format!("did you mean `{near}`?")), "{error}");
            let line = SAMPLE.lines().count() + line.lines().count() - usize::from(near == "policy");
            assert!(error.starts_with(&format!("weir.toml:{line}: ")), "{error}");
        }
    }

    #[test]
    fn values_that_cannot_hold_together_are_refused_with_what_to_write_instead() {
        for (from, to, says) in [
            ("\"postgres\"", "\"http\"", "needs `connection"),
            ("key = \"k.pem\"", "key = \"k.pem\"\nconnection = \"x\"", "remove `connection`"),
            ("key = \"k.pem\"", "key = \"k.pem\"\nauth = \"oauthbearer\"", "needs `oauth_discovery"),
            (
                "key = \"k.pem\"",
                "key = \"k.pem\"\nauth = \"oauthbearer\"\noauth_discovery = \"http://i/.well-known/x\"",
                "needs `oauth_discovery",
            ),
            ("key = \"k.pem\"", "key = \"k.pem\"\noauth_scope = \"openid\"", "need auth = \"oauthbearer\""),
            (
                "key = \"k.pem\"",
                "key = \"k.pem\"\nspiffe = [{ trust_domain = \"spiffe://x\", bundle = \"b\" }]",
                "no spiffe://",
            ),
            (
                "key = \"k.pem\"",
                "key = \"k.pem\"\nspiffe = [{ trust_domain = \"x\", bundle = \"b\" }, { trust_domain = \"x\", bundle = \"c\" }]",
                "occurs twice",
            ),
            ("key = \"k.pem\"", "", "needs `cert` and `key`"),
            ("key = \"k.pem\"", "key = \"k.pem\"\nhost_keys = [\"h\"]", "are for protocol \"ssh\""),
            ("\"postgres\"", "\"ssh\"", "SSH has no TLS"),
            (
                "protocol = \"postgres\"\naddress = \"127.0.0.1:5433\"\ncert = \"c.pem\"\nkey = \"k.pem\"",
                "protocol = \"ssh\"\naddress = \"127.0.0.1:22\"",
                "needs host_keys",
            ),
            (
                "protocol = \"postgres\"\naddress = \"127.0.0.1:5433\"\ncert = \"c.pem\"\nkey = \"k.pem\"",
                "protocol = \"ssh\"\naddress = \"127.0.0.1:22\"\nhost_keys = [\"h\"]\ntokens = false",
                "nobody could log in",
            ),
            (
                "protocol = \"postgres\"\naddress = \"127.0.0.1:5433\"\ncert = \"c.pem\"\nkey = \"k.pem\"",
                "protocol = \"ssh\"\naddress = \"127.0.0.1:22\"\nhost_keys = [\"h\"]\nconnection = \"web\"",
                "remove `connection`",
            ),
            ("[\"00\"]", "[]", "trusted_keys is empty"),
            ("[admin]", "[limits]\nring_bytes = 1000\n[admin]", "power of two"),
            ("[admin]", "[limits]\nidle_timeout = \"soon\"\n[admin]", "no length of time"),
        ] {
            let error = parse(&SAMPLE.replacen(from, to, 1)).unwrap_err();
            assert!(error.contains(says), "{error}");
        }
    }
}
