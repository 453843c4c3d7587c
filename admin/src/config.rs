//! `weir.toml`, as admin reads it. The file is the node's; sections of the other programs are accepted unread.
//!
//! ```toml
//! [control]
//! socket = "/run/weir/control.sock"
//! users = ["weir-dataplane"]            # whose processes may connect, besides admin's own user
//!
//! [recorder]
//! socket = "/run/weir-recorder/ring"    # admin's own actions are recorded too: allowed_uids must name its user
//!
//! [admin]
//! listen = "127.0.0.1:8444"             # loopback only
//! database = "/var/lib/weir/admin.db"
//! catalogue = "/var/lib/weir/catalogue.db" # recorded sessions; default: beside the database
//! keys = "/var/lib/weir/admin-keys"     # envelope, approval and mask keys, each mode 0600
//! access = "/etc/weir/access"           # connections, roles, grants
//! segment_key = "/etc/weir/segment.pub" # whose checkpoints are taken; default: the first key that is seen
//! administrators = ["weir-administrators"]
//! auditors = ["weir-auditors"]
//! viewers = ["engineering"]             # see what goes on, but no command
//! approvers = ["privacy-officers"]      # default: whomever rules name
//!
//! [admin.web]                           # and [admin.sign_in]: see `config/people.rs`
//!
//! [[issuer]]
//! issuer = "https://token.actions.githubusercontent.com"
//! audiences = ["weir"]
//! algorithms = ["RS256"]                # default: RS256, ES256
//! groups_claim = "groups"               # or a JSON pointer such as "/realm_access/roles"
//! run_claim = "run_id"
//! purpose_claim = "purpose"
//! kept_claims = ["repository", "ref"]
//! conditions = [{ claim = "repository_owner", any_of = ["acme"] }]
//! roots = "/etc/weir/tls/issuer-ca.pem" # default: the system's roots
//! ```

mod people;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::{Result, bail};
use serde::Deserialize;
use weir_control::ClaimCondition;
use weir_sources::Source;

pub(crate) use people::{Origin, SignIn, Web};

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Config {
    pub control: Control,
    pub admin: Admin,
    #[serde(default, rename = "issuer")]
    pub issuers: Vec<Issuer>,
    #[serde(default, rename = "node")]
    _node: Option<toml::Value>,
    /// Data planes' own, but for whom their certificates name.
    #[serde(default, rename = "listener")]
    listeners: Vec<Listener>,
    #[serde(default)]
    pub policy: Option<PolicySource>,
    /// None: what people do through the service is not recorded.
    #[serde(default)]
    pub recorder: Option<Recorder>,
    #[serde(default, rename = "limits")]
    _limits: Option<toml::Value>,
    /// `weir-admin ship`'s own.
    #[serde(default, rename = "ship")]
    _ship: Option<toml::Value>,
}

/// Where data planes have their rules from; `doctor` looks at what they protect.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct PolicySource {
    pub bundle: PathBuf,
    pub trusted_keys: Vec<String>,
}

#[derive(Clone, Debug, Deserialize)]
struct Listener {
    #[serde(default)]
    spiffe: Vec<TrustDomain>,
    /// SSH's private keys, which `init` makes where they are missing.
    #[serde(default)]
    host_keys: Vec<PathBuf>,
}

#[derive(Clone, Debug, Deserialize)]
struct TrustDomain {
    trust_domain: String,
}

#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Control {
    pub socket: PathBuf,
    /// User names or numbers whose processes may connect, besides admin's own.
    #[serde(default)]
    pub users: Vec<String>,
}

/// What admin needs of the recorder's table; the rest is the recorder's to check.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Recorder {
    pub socket: PathBuf,
    #[serde(default)]
    pub node: String,
    /// Where the recorder writes: checkpoints are taken from there.
    #[serde(default)]
    pub segments: Option<PathBuf>,
    #[serde(default)]
    recipients: Option<toml::Value>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Admin {
    pub listen: SocketAddr,
    pub database: PathBuf,
    /// Recorded sessions, one row each: made anew from segments if it is lost.
    #[serde(default)]
    catalogue: Option<PathBuf>,
    pub keys: PathBuf,
    pub access: PathBuf,
    /// The node's public segment keys, a line each; none: the key of the first segment that was seen.
    #[serde(default)]
    pub segment_key: Option<PathBuf>,
    /// Groups that may change things and see everything.
    #[serde(default)]
    pub administrators: Vec<String>,
    /// Groups that may see everything.
    #[serde(default)]
    pub auditors: Vec<String>,
    /// Groups that may see what goes on, but for commands.
    #[serde(default)]
    pub viewers: Vec<String>,
    /// Groups whose members may answer the commands that rules leave to them; none: rules alone say who may.
    #[serde(default)]
    pub approvers: Option<Vec<String>>,
    /// Pages for people; none: the API alone.
    #[serde(default)]
    pub web: Option<Web>,
    #[serde(default)]
    pub sign_in: Option<SignIn>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Issuer {
    pub issuer: String,
    pub audiences: Vec<String>,
    #[serde(default = "default_algorithms")]
    pub algorithms: Vec<String>,
    #[serde(default = "default_groups_claim")]
    pub groups_claim: String,
    #[serde(default)]
    pub run_claim: Option<String>,
    #[serde(default)]
    pub purpose_claim: Option<String>,
    #[serde(default)]
    pub kept_claims: Vec<String>,
    #[serde(default)]
    pub conditions: Vec<ClaimCondition>,
    #[serde(default)]
    pub roots: Option<PathBuf>,
}

fn default_algorithms() -> Vec<String> {
    vec!["RS256".into(), "ES256".into()]
}

fn default_groups_claim() -> String {
    "groups".into()
}

impl Admin {
    /// Where recorded sessions are listed.
    pub(crate) fn catalogue_file(&self) -> PathBuf {
        self.catalogue.clone().unwrap_or_else(|| self.database.with_file_name("catalogue.db"))
    }
}

impl Config {
    /// # Errors
    /// The operator's: unreadable, an unknown key, or values that cannot hold together.
    pub(crate) fn load(path: &Path) -> Result<Self> {
        let config: Self = Source::read(path)?.parse()?;
        config.check().map_err(|error| error.context(path.display().to_string()))?;
        Ok(config)
    }

    /// What identities that a grant can be for have as their issuer: tokens' `iss`, and certificates' trust domains.
    pub(crate) fn issuer_names(&self) -> Vec<String> {
        let domains = self.listeners.iter().flat_map(|listener| &listener.spiffe);
        let domains = domains.map(|domain| format!("spiffe://{}", domain.trust_domain));
        self.issuers.iter().map(|issuer| issuer.issuer.clone()).chain(domains).collect()
    }

    pub(crate) fn ssh_host_keys(&self) -> impl Iterator<Item = &Path> {
        self.listeners.iter().flat_map(|listener| &listener.host_keys).map(PathBuf::as_path)
    }

    /// Files that the recorder reads its recipients from. What else its table says is the recorder's to judge.
    pub(crate) fn recipient_files(&self) -> impl Iterator<Item = &Path> {
        let recipients = self.recorder.as_ref().and_then(|recorder| recorder.recipients.as_ref()?.as_array());
        let texts = recipients.into_iter().flatten().filter_map(toml::Value::as_str);
        texts.map(Path::new).filter(|path| path.is_absolute())
    }

    fn check(&self) -> Result<()> {
        if !self.admin.listen.ip().is_loopback() {
            bail!(
                "admin.listen is {}: the API speaks plain HTTP, so only a loopback address is accepted",
                self.admin.listen
            );
        }
        people::check(&self.admin)?;
        // The verifier knows what makes an issuer unusable; ask it now rather than at the first token.
        let issuers: Vec<_> = self.issuers.iter().map(|issuer| issuer.with_keys(None)).collect();
        weir_token::Verifier::new(&issuers)?;
        for issuer in &self.issuers {
            crate::jwks::discovery_url(&issuer.issuer)?;
        }
        Ok(())
    }
}

impl Issuer {
    /// As pushed to data planes.
    pub(crate) fn with_keys(&self, jwks: Option<String>) -> weir_control::Issuer {
        weir_control::Issuer {
            issuer: self.issuer.clone(),
            audiences: self.audiences.clone(),
            algorithms: self.algorithms.clone(),
            jwks,
            conditions: self.conditions.clone(),
            groups_claim: self.groups_claim.clone(),
            run_claim: self.run_claim.clone(),
            purpose_claim: self.purpose_claim.clone(),
            kept_claims: self.kept_claims.clone(),
        }
    }
}
