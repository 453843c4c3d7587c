//! `access/*.toml` as operators write them.
//!
//! ```toml
//! [[connection]]
//! name = "clinic"                       # what clients name as their database
//! protocol = "postgres"                 # or "http", or "ssh"
//! upstream = "db.internal:5432"         # or "unix:/run/postgresql/.s.PGSQL.5432"
//! tls = "verify-full"                   # or "off", for Unix sockets and where you mean it
//! roots = "db-ca.pem"                   # default: the system's roots
//! server_name = "db.internal"           # default: the upstream's host
//! channel_binding = "prefer"            # postgres over TLS: or "require", or "disable" where a proxy ends TLS
//! database = "clinic"
//! record = "durable"                    # or "fast"; "off" needs unrecorded = "for measurement only" beside it
//! originals = ["weir-auditor-x25519:..."] # postgres: keep what was said before masking, for these keys alone
//! hold_wait = "30s"                     # http: how long a held request waits before its 503
//! host_keys = ["ssh-ed25519 AAAA..."]   # ssh: the server's own keys, as `ssh-keyscan` shows them behind the name; behind
//!                                       # "@cert-authority " a key whose host certificates count; there is no trust on first use
//!
//! [[role]]
//! connection = "clinic"
//! name = "job"                          # what clients name as their user
//! user = "weir_clinic"
//! password_file = "secrets/clinic"      # or authorization_file = "...", or trust = true, or
//! # rds_iam = { region = "eu-west-1", key_file = "secrets/aws.json" }   # Amazon RDS: what credential_process prints
//! key_file = "secrets/web1"             # ssh: a private key; with certificate_file = "web1-cert.pub" where it has one
//! ssh_certificate = true                # ssh: or a certificate of the gateway's own authority, for each session
//! session_role = "clinic_reader"        # postgres: each session has a role of its own, a member of this one
//!
//! [[grant]]
//! connection = "clinic"
//! role = "job"
//! groups = ["jobs"]                     # any of these, or any of `subjects`
//! issuer = "https://ci.example"         # default: any trusted issuer
//! max_sessions = 200
//! ```
//!
//! Paths are relative to the file that names them.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use serde::Deserialize;
use toml::Spanned;
use weir_control::{ChannelBinding, Connection, Grant, Protocol, Record, UpstreamAddress, UpstreamTls};
use weir_segment::{MAX_RECIPIENTS, parse_auditor_key};
use weir_sources::Source;

use super::{Access, LoginKind, Role, SecretFile, Written, check};

const DEFAULT_HOLD_WAIT_MS: u64 = 30_000;
/// What an operator writes who really wants no record.
const UNRECORDED: &str = "for measurement only";

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct File {
    connection: Vec<ConnectionSource>,
    role: Vec<RoleSource>,
    grant: Vec<GrantSource>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ConnectionSource {
    name: Spanned<String>,
    protocol: Protocol,
    upstream: Spanned<String>,
    tls: Option<TlsWord>,
    roots: Option<PathBuf>,
    server_name: Option<String>,
    #[serde(default)]
    channel_binding: ChannelBinding,
    #[serde(default)]
    database: String,
    record: Option<Record>,
    unrecorded: Option<String>,
    #[serde(default)]
    originals: Vec<Spanned<String>>,
    #[serde(default)]
    host_keys: Vec<Spanned<String>>,
    hold_wait: Option<Spanned<String>>,
}

#[derive(Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum TlsWord {
    Off,
    VerifyFull,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RoleSource {
    connection: Spanned<String>,
    name: Spanned<String>,
    #[serde(default)]
    user: String,
    password_file: Option<PathBuf>,
    authorization_file: Option<PathBuf>,
    #[serde(default)]
    trust: bool,
    rds_iam: Option<RdsIam>,
    key_file: Option<PathBuf>,
    certificate_file: Option<PathBuf>,
    #[serde(default)]
    ssh_certificate: bool,
    session_role: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RdsIam {
    region: String,
    key_file: PathBuf,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct GrantSource {
    connection: Spanned<String>,
    role: Spanned<String>,
    issuer: Option<String>,
    #[serde(default)]
    groups: Vec<String>,
    #[serde(default)]
    subjects: Vec<String>,
    max_sessions: Option<u32>,
}

/// Where something was written, for errors about its meaning.
#[derive(Clone, Debug)]
pub(super) struct Place(String);

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

pub(super) struct Placed<T> {
    pub at: Place,
    pub item: T,
}

#[derive(Default)]
pub(super) struct Items {
    pub connections: Vec<Placed<Connection>>,
    pub roles: Vec<Placed<(Role, Option<PathBuf>)>>,
    pub grants: Vec<Placed<Grant>>,
}

/// Reads every `*.toml` of a directory, in the order of their names.
///
/// # Errors
/// The operator's: with file and line, and what to write instead.
pub(crate) fn read(dir: &Path, issuers: &[String]) -> Result<Written> {
    let entries =
        std::fs::read_dir(dir).with_context(|| format!("cannot read directory {}", dir.display()))?;
    let mut files = Vec::new();
    for entry in entries {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "toml") {
            files.push(path);
        }
    }
    files.sort();
    let mut items = Items::default();
    for path in &files {
        read_file(&Source::read(path)?, &mut items)?;
    }
    check::all(&items, issuers)?;
    Ok(items.into_written())
}

fn read_file(source: &Source, items: &mut Items) -> Result<()> {
    let file: File = source.parse()?;
    let source = AccessFile(source);
    for one in file.connection {
        let at = source.place(&one.name);
        items.connections.push(Placed { item: source.connection(one, &at)?, at });
    }
    for one in file.role {
        let at = source.place(&one.name);
        items.roles.push(Placed { item: source.role(one, &at)?, at });
    }
    for one in file.grant {
        let at = source.place(&one.role);
        let item = Grant {
            connection: one.connection.into_inner(),
            role: one.role.into_inner(),
            issuer: one.issuer,
            groups: one.groups,
            subjects: one.subjects,
            max_sessions: one.max_sessions,
        };
        items.grants.push(Placed { item, at });
    }
    Ok(())
}

struct AccessFile<'a>(&'a Source);

impl AccessFile<'_> {
    fn place<T>(&self, spanned: &Spanned<T>) -> Place {
        let line = self.0.line(spanned.span().start);
        Place(format!("{}:{line}", self.0.file.display()))
    }

    fn beside(&self, path: &Path) -> PathBuf {
        self.0.file.parent().unwrap_or(Path::new(".")).join(path)
    }

    fn connection(&self, one: ConnectionSource, at: &Place) -> Result<Connection> {
        let originals = self.originals(&one)?;
        let host_keys = self.host_keys(&one)?;
        let upstream_at = self.place(&one.upstream);
        let upstream = address(one.upstream.get_ref()).with_context(|| upstream_at.to_string())?;
        let unix = matches!(upstream, UpstreamAddress::Unix { .. });
        let tls = match (one.tls, unix) {
            (Some(_), _) if one.protocol == Protocol::Ssh => bail!(
                "{at}: connection {:?} is SSH, which has no TLS: remove `tls`; host_keys say which server is the right one",
                one.name.get_ref()
            ),
            (None, false) if one.protocol == Protocol::Ssh => UpstreamTls::Off,
            (Some(TlsWord::Off), _) | (None, true) => UpstreamTls::Off,
            (Some(TlsWord::VerifyFull), false) => UpstreamTls::VerifyFull {
                roots_pem: self.roots(one.roots.as_deref(), at)?,
                server_name: one.server_name,
            },
            (None, false) => bail!(
                "{at}: connection {:?} does not say how its upstream is reached; write tls = \"verify-full\" \
                 (or \"off\", and everything on the way can read it)",
                one.name.get_ref()
            ),
            (Some(TlsWord::VerifyFull), true) => {
                bail!("{at}: a Unix socket has no TLS; write tls = \"off\"")
            }
        };
        if one.record == Some(Record::Off) && one.unrecorded.as_deref() != Some(UNRECORDED) {
            let name = one.name.get_ref();
            bail!(
                "{at}: connection {name:?} would not be recorded; write \"durable\" or \"fast\" \
                 (where you mean it: unrecorded = {UNRECORDED:?} beside it)"
            );
        }
        let hold_wait_ms = match &one.hold_wait {
            None => DEFAULT_HOLD_WAIT_MS,
            Some(text) => {
                let wait = weir_sources::duration(text.get_ref())
                    .map_err(|error| anyhow::anyhow!("{}: {error}", self.place(text)))?;
                u64::try_from(wait.as_millis())?
            }
        };
        Ok(Connection {
            name: one.name.into_inner(),
            protocol: one.protocol,
            upstream,
            tls,
            channel_binding: one.channel_binding,
            database: one.database,
            record: one.record.unwrap_or(Record::Durable),
            originals,
            host_keys,
            hold_wait_ms,
        })
    }

    /// Lines of `.pub` files: read here, so that a mistake is found before the first login.
    fn host_keys(&self, one: &ConnectionSource) -> Result<Vec<String>> {
        let name = one.name.get_ref();
        match (one.protocol, one.host_keys.first()) {
            (Protocol::Ssh, None) => bail!(
                "{}: connection {name:?} pins no host key; write host_keys = [\"ssh-ed25519 AAAA...\"] \
                 (`ssh-keyscan` shows them; compare with the server's own file)",
                self.place(&one.name)
            ),
            (Protocol::Http | Protocol::Postgres, Some(first)) => {
                bail!("{}: host_keys are for protocol \"ssh\"", self.place(first))
            }
            (Protocol::Ssh, Some(_)) | (Protocol::Http | Protocol::Postgres, None) => {}
        }
        let key = |text: &Spanned<String>| {
            let line = text.get_ref().trim();
            weir_ssh::PublicKey::from_line(line.strip_prefix("@cert-authority ").unwrap_or(line))
                .with_context(|| format!("{}: host_keys", self.place(text)))?;
            Ok(line.to_owned())
        };
        one.host_keys.iter().map(key).collect()
    }

    /// Public keys, each as `weir-admin keys auditor` prints it.
    fn originals(&self, one: &ConnectionSource) -> Result<Vec<[u8; 32]>> {
        let Some(first) = one.originals.first() else { return Ok(Vec::new()) };
        let (at, name) = (self.place(first), one.name.get_ref());
        if one.protocol != Protocol::Postgres || one.record == Some(Record::Off) {
            bail!(
                "{at}: connection {name:?} cannot keep originals: that needs protocol \"postgres\" and a record"
            );
        }
        if one.originals.len() > MAX_RECIPIENTS {
            bail!("{at}: connection {name:?} names more than {MAX_RECIPIENTS} keys for its originals");
        }
        let key = |text: &Spanned<String>| {
            parse_auditor_key(text.get_ref()).with_context(|| format!("{}: originals", self.place(text)))
        };
        one.originals.iter().map(key).collect()
    }

    fn roots(&self, roots: Option<&Path>, at: &Place) -> Result<String> {
        let Some(roots) = roots else { return Ok(String::new()) };
        let path = self.beside(roots);
        let pem = std::fs::read_to_string(&path)
            .with_context(|| format!("{at}: cannot read roots {}", path.display()))?;
        crate::tls::client_config(pem.as_bytes()).with_context(|| format!("{at}: {}", path.display()))?;
        Ok(pem)
    }

    fn role(&self, one: RoleSource, at: &Place) -> Result<(Role, Option<PathBuf>)> {
        let mut region = None;
        let certificate =
            one.certificate_file.as_deref().map(|path| self.certificate(path, at)).transpose()?;
        if certificate.is_some() && one.key_file.is_none() {
            bail!(
                "{at}: role {:?}: certificate_file needs the key_file that it certifies",
                one.name.get_ref()
            );
        }
        let files = (one.password_file, one.authorization_file, one.key_file);
        let (login, secret) = match (files, one.rds_iam, one.trust) {
            ((None, None, None), None, false) if one.ssh_certificate => (LoginKind::SshCertificate, None),
            _ if one.ssh_certificate => bail!(
                "{at}: role {:?} says ssh_certificate = true and another way to log in: one of them",
                one.name.get_ref()
            ),
            ((None, None, Some(path)), None, false) => (LoginKind::SshKey, Some(self.beside(&path))),
            ((Some(path), None, None), None, false) => (LoginKind::Password, Some(self.beside(&path))),
            ((None, Some(path), None), None, false) => (LoginKind::Authorization, Some(self.beside(&path))),
            ((None, None, None), Some(rds), false) => {
                region = Some(rds.region);
                (LoginKind::Rds, Some(self.beside(&rds.key_file)))
            }
            ((None, None, None), None, true) => (LoginKind::Trust, None),
            _ => bail!(
                "{at}: role {:?} needs exactly one of password_file, authorization_file, key_file, rds_iam and trust = true",
                one.name.get_ref()
            ),
        };
        let role = Role {
            connection: one.connection.into_inner(),
            name: one.name.into_inner(),
            user: one.user,
            login,
            region,
            certificate,
            session_role: one.session_role,
        };
        Ok((role, secret))
    }
}

impl AccessFile<'_> {
    /// The line of a `-cert.pub` file.
    fn certificate(&self, path: &Path, at: &Place) -> Result<String> {
        let path = self.beside(path);
        let text = std::fs::read_to_string(&path)
            .with_context(|| format!("{at}: cannot read certificate_file {}", path.display()))?;
        Ok(text.trim().to_owned())
    }
}

fn address(text: &str) -> Result<UpstreamAddress> {
    if let Some(path) = text.strip_prefix("unix:") {
        return Ok(UpstreamAddress::Unix { path: path.to_owned() });
    }
    let parts = text.rsplit_once(':').and_then(|(host, port)| Some((host, port.parse::<u16>().ok()?)));
    match parts {
        Some((host, port)) if !host.is_empty() && port != 0 => {
            let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
            Ok(UpstreamAddress::Tcp { host, port })
        }
        _ => bail!("upstream {text:?} is neither \"host:port\" nor \"unix:/path\""),
    }
}

impl Items {
    fn into_written(self) -> Written {
        let mut secrets = Vec::new();
        let mut access = Access::default();
        for placed in self.roles {
            let (role, path) = placed.item;
            if let Some(path) = path {
                let (connection, name) = (role.connection.clone(), role.name.clone());
                secrets.push(SecretFile { connection, role: name, path });
            }
            access.roles.push(role);
        }
        access.connections = self.connections.into_iter().map(|placed| placed.item).collect();
        access.grants = self.grants.into_iter().map(|placed| placed.item).collect();
        Written { access, secrets }
    }
}
