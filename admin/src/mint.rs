//! A credential for one login upstream, made of a sealed secret and of what the upstream itself asks for.
//!
//! For Postgres the server is asked how this user logs in; a data plane then gets keys for that method, never the
//! password, except where the server wants it in clear and TLS is verified. Answers are kept until one is stale.

use std::collections::HashMap;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, bail};
use ring::rand::{SecureRandom as _, SystemRandom};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::Mutex;
use weir_control::{ChannelBinding, Connection, Credential, Protocol, Secret, UpstreamAddress, UpstreamTls};
use weir_postgres::{Probe, ProbeStep, Wants, md5_secret, scram};
use zeroize::Zeroizing;

use crate::access::{Access, LoginKind, Role};
use crate::clock;
use crate::rds::{self, AccessKey};
use crate::reach::{self, Conversation};
use crate::session_roles::SessionRoles;
use crate::ssh_authorities::SshAuthorities;
use crate::state::Store;
use crate::vault::Vault;

/// For everything that a probe does. Shorter than a data plane's own patience, so that it hears what was wrong.
const PROBE_TIMEOUT: Duration = Duration::from_secs(4);
/// For one server's roles that nobody uses.
const SWEEP_TIMEOUT: Duration = Duration::from_secs(30);
const MAX_PROBE_BYTES: usize = 16 << 10;

/// Why no credential was made, where the caller may know: no address, and nothing that the upstream said.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Told {
    #[error("the upstream of {0:?} did not answer in time")]
    Late(String),
    #[error("the upstream of {0:?} did not make a role for this session")]
    NoRole(String),
    #[error("the upstream of {0:?} is out of reach")]
    OutOfReach(String),
    #[error("the upstream of {0:?} does not log in by SCRAM, and the connection requires channel binding")]
    Unbound(String),
    #[error(
        "the upstream of {0:?} wants the password in clear, and the way there is not encrypted: \
         set it to scram-sha-256, or reach it by TLS"
    )]
    Unprotected(String),
}

/// What upstreams said that their users need: by connection and user; and the roles that sessions have there.
pub(crate) struct Minter {
    wants: Mutex<HashMap<(String, String), Wants>>,
    roles: SessionRoles,
}

/// Where access and secrets are.
#[derive(Clone, Copy)]
pub(crate) struct Sources<'a> {
    pub access: &'a Access,
    pub store: &'a Store,
    pub vault: &'a Vault,
    pub ssh: &'a SshAuthorities,
}

impl Minter {
    /// `node` tells this admin service from others that make roles on the same server.
    pub(crate) fn new(node: &str) -> Self {
        Self { wants: Mutex::default(), roles: SessionRoles::new(node) }
    }

    /// # Errors
    /// The text is for operators: why the upstream cannot be logged in to. Where [`Told`] is in it, that is for callers.
    pub(crate) async fn mint(&self, sources: Sources<'_>, ask: &Ask<'_>) -> Result<Credential> {
        let (connection, role) = named(sources.access, ask.connection, ask.role)?;
        if role.login == LoginKind::SshCertificate {
            let secret = sources.ssh.login(&role.user, ask.session, &role.name, clock::unix_ms())?;
            return Ok(Credential { user: role.user.clone(), secret, expires_unix_ms: None, once: true });
        }
        let own = self.own(sources, connection, role, ask.stale).await?;
        let Some(parent) = &role.session_role else { return Ok(own) };
        let made = async {
            let mut server = self.server(sources, connection, role).await?;
            self.roles.make(&mut server, (ask.connection, ask.role), parent, ask.session).await
        };
        let made = tokio::time::timeout(PROBE_TIMEOUT, made).await;
        made.map_err(|_| Told::Late(connection.name.clone()))?
            .with_context(|| Told::NoRole(connection.name.clone()))
    }

    /// Drops the role that a session had, if it had one.
    ///
    /// # Errors
    /// For operators: the next sweep tries again.
    pub(crate) async fn session_ended(&self, sources: Sources<'_>, session: &str) -> Result<()> {
        let Some((connection, role)) = self.roles.ended(session) else { return Ok(()) };
        let (connection, role) = named(sources.access, &connection, &role)?;
        let Some(parent) = &role.session_role else { return Ok(()) };
        let mut server = self.server(sources, connection, role).await?;
        self.roles.drop(&mut server, parent, session).await
    }

    /// Drops what nobody was left to drop, on one role's server.
    ///
    /// # Errors
    /// For operators.
    pub(crate) async fn sweep(&self, sources: Sources<'_>, connection: &str, role: &str) -> Result<usize> {
        let (connection, role) = named(sources.access, connection, role)?;
        let Some(parent) = &role.session_role else { return Ok(0) };
        let swept = async {
            let mut server = self.server(sources, connection, role).await?;
            self.roles.sweep(&mut server, parent).await
        };
        tokio::time::timeout(SWEEP_TIMEOUT, swept).await.map_err(|_| Told::Late(connection.name.clone()))?
    }

    /// Admin itself, logged in as a role's own user. What the server wants may have changed since it was asked.
    ///
    /// # Errors
    /// For operators: why not.
    pub(crate) async fn server(
        &self,
        sources: Sources<'_>,
        connection: &Connection,
        role: &Role,
    ) -> Result<Conversation> {
        let known = self.own(sources, connection, role, false).await?;
        match Conversation::begin(connection, &known).await {
            Ok(server) => Ok(server),
            Err(_) => {
                let fresh = self.own(sources, connection, role, true).await?;
                Conversation::begin(connection, &fresh).await
            }
        }
    }

    /// The credential of a role's own user.
    async fn own(
        &self,
        Sources { store, vault, .. }: Sources<'_>,
        connection: &Connection,
        role: &Role,
        stale: bool,
    ) -> Result<Credential> {
        let mut expires_unix_ms = None;
        let secret = match role.login {
            LoginKind::Trust => Secret::None,
            LoginKind::Authorization => Secret::Plain { value: text(&opened(role, store, vault).await?)? },
            LoginKind::Rds => {
                let key =
                    AccessKey::read(&opened(role, store, vault).await?).context("the stored AWS key")?;
                let now = clock::unix_ms();
                expires_unix_ms = Some(now + rds::TOKEN_MS);
                Secret::Plain { value: rds_token(&key, connection, role, now)?.to_string() }
            }
            LoginKind::SshCertificate => bail!("a certificate is for one session"),
            LoginKind::SshKey => Secret::SshKey {
                key: text(&opened(role, store, vault).await?)?,
                certificate: role.certificate.clone(),
            },
            LoginKind::Password if connection.protocol == Protocol::Ssh => {
                Secret::Plain { value: text(&opened(role, store, vault).await?)? }
            }
            LoginKind::Password => {
                let password = text(&opened(role, store, vault).await?).map(Zeroizing::new)?;
                let wants = self.wanted(connection, role, stale).await?;
                prepared(&wants, &password, connection, role)?
            }
        };
        Ok(Credential { user: role.user.clone(), secret, expires_unix_ms, once: false })
    }

    /// Forgets what upstreams said: after access changed.
    pub(crate) async fn forget(&self) {
        self.wants.lock().await.clear();
    }

    async fn wanted(&self, connection: &Connection, role: &Role, stale: bool) -> Result<Wants> {
        let key = (connection.name.clone(), role.user.clone());
        if !stale && let Some(wants) = self.wants.lock().await.get(&key) {
            return Ok(wants.clone());
        }
        let wants = tokio::time::timeout(PROBE_TIMEOUT, probe(connection, &role.user))
            .await
            .map_err(|_| Told::Late(connection.name.clone()))??;
        self.wants.lock().await.insert(key, wants.clone());
        Ok(wants)
    }
}

fn named<'a>(access: &'a Access, connection: &str, role: &str) -> Result<(&'a Connection, &'a Role)> {
    let known =
        access.connection(connection).ok_or_else(|| anyhow!("connection {connection:?} is not in force"))?;
    let role = access
        .role(connection, role)
        .ok_or_else(|| anyhow!("connection {connection:?} has no role {role:?}"))?;
    Ok((known, role))
}

fn rds_token(key: &AccessKey, connection: &Connection, role: &Role, now: u64) -> Result<Zeroizing<String>> {
    let UpstreamAddress::Tcp { host, port } = &connection.upstream else {
        bail!("an RDS token is for a host and port")
    };
    let region = role.region.as_deref().context("no region for RDS tokens")?;
    Ok(rds::token(key, &rds::Login { host, port: *port, user: &role.user, region }, now))
}

/// What a data plane asks for.
pub(crate) struct Ask<'a> {
    pub session: &'a str,
    pub connection: &'a str,
    pub role: &'a str,
    pub stale: bool,
}

async fn opened(role: &Role, store: &Store, vault: &Vault) -> Result<Zeroizing<Vec<u8>>> {
    let sealed = store
        .sealed(&role.connection, &role.name)
        .await?
        .ok_or_else(|| anyhow!("no secret is stored for {}/{}", role.connection, role.name))?;
    vault.open(&role.connection, &role.name, &sealed)
}

fn text(bytes: &[u8]) -> Result<String> {
    Ok(str::from_utf8(bytes).context("the stored secret is no text")?.to_owned())
}

fn prepared(wants: &Wants, password: &str, connection: &Connection, role: &Role) -> Result<Secret> {
    if connection.channel_binding == ChannelBinding::Require && !matches!(wants, Wants::Scram { .. }) {
        bail!(Told::Unbound(connection.name.clone()));
    }
    Ok(match wants {
        Wants::Nothing => Secret::None,
        Wants::Md5 => {
            let inner = md5_secret(password, &role.user);
            Secret::Md5 { inner: str::from_utf8(&inner)?.to_owned() }
        }
        Wants::Scram { salt, iterations } => {
            let keys = scram::derive(password, salt, *iterations)?;
            Secret::Scram {
                salt: hex::encode(&keys.salt),
                iterations: keys.iterations,
                client_key: hex::encode(keys.client_key),
                server_key: hex::encode(keys.server_key),
            }
        }
        Wants::Cleartext if connection.tls != UpstreamTls::Off => {
            Secret::Plain { value: password.to_owned() }
        }
        Wants::Cleartext => bail!(Told::Unprotected(connection.name.clone())),
    })
}

async fn probe(connection: &Connection, user: &str) -> Result<Wants> {
    let start = Probe::start(user, &connection.database);
    let mut stream = reach::dial(connection).await?;
    let mut random = [0; 18];
    SystemRandom::new().fill(&mut random).map_err(|_| anyhow!("the system gave no randomness"))?;
    let mut probe = Probe::new(random);
    let mut input = Vec::new();
    stream.write_all(&start).await?;
    loop {
        match probe.read(&input)? {
            ProbeStep::Done(wants) => return Ok(wants),
            ProbeStep::Send(bytes) => {
                input.clear();
                stream.write_all(&bytes).await?;
            }
            ProbeStep::NeedMore => {}
        }
        if stream.read_buf(&mut input).await? == 0 {
            bail!("the upstream closed the connection");
        }
        if input.len() > MAX_PROBE_BYTES {
            bail!("the upstream answered too much");
        }
    }
}
