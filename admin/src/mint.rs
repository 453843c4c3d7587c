//! A credential for one login upstream, made of a sealed secret and of what the upstream itself asks for.
//!
//! For Postgres the server is asked how this user logs in; a data plane then gets keys for that method, never the
//! password, except where the server wants it in clear and TLS is verified. Answers are kept until one is stale.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, bail};
use ring::rand::{SecureRandom as _, SystemRandom};
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::Mutex;
use weir_control::{ChannelBinding, Connection, Credential, Secret, UpstreamAddress, UpstreamTls};
use weir_postgres::{Probe, ProbeStep, Wants, md5_secret, scram};
use zeroize::Zeroizing;

use crate::access::{Access, LoginKind, Role};
use crate::state::Store;
use crate::vault::Vault;

/// For everything that a probe does. Shorter than a data plane's own patience, so that it hears what was wrong.
const PROBE_TIMEOUT: Duration = Duration::from_secs(4);
const SSL_REQUEST: [u8; 8] = [0, 0, 0, 8, 4, 210, 22, 47];
const MAX_PROBE_BYTES: usize = 16 << 10;

/// Why no credential was made, where the caller may know: no address, and nothing that the upstream said.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Told {
    #[error("the upstream of {0:?} did not answer in time")]
    Late(String),
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

/// What upstreams said that their users need: by connection and user.
#[derive(Default)]
pub(crate) struct Minter {
    wants: Mutex<HashMap<(String, String), Wants>>,
}

impl Minter {
    /// # Errors
    /// The text is for operators: why the upstream cannot be logged in to. Where [`Told`] is in it, that is for callers.
    pub(crate) async fn mint(
        &self,
        access: &Access,
        store: &Store,
        vault: &Vault,
        ask: &Ask<'_>,
    ) -> Result<Credential> {
        let connection = access
            .connection(ask.connection)
            .ok_or_else(|| anyhow!("connection {:?} is not in force", ask.connection))?;
        let role = access
            .role(ask.connection, ask.role)
            .ok_or_else(|| anyhow!("connection {:?} has no role {:?}", ask.connection, ask.role))?;
        let secret = match role.login {
            LoginKind::Trust => Secret::None,
            LoginKind::Authorization => Secret::Plain { value: text(&opened(role, store, vault).await?)? },
            LoginKind::Password => {
                let password = text(&opened(role, store, vault).await?).map(Zeroizing::new)?;
                let wants = self.wanted(connection, role, ask.stale).await?;
                prepared(&wants, &password, connection, role)?
            }
        };
        Ok(Credential { user: role.user.clone(), secret, expires_unix_ms: None })
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

/// What a data plane asks for.
pub(crate) struct Ask<'a> {
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
    let unreachable = || Told::OutOfReach(connection.name.clone());
    let start = Probe::start(user, &connection.database);
    match &connection.upstream {
        UpstreamAddress::Unix { path } => {
            let stream = UnixStream::connect(path).await.with_context(unreachable)?;
            converse(stream, &start).await
        }
        UpstreamAddress::Tcp { host, port } => {
            let stream = TcpStream::connect((host.as_str(), *port)).await.with_context(unreachable)?;
            match &connection.tls {
                UpstreamTls::Off => converse(stream, &start).await,
                UpstreamTls::VerifyFull { roots_pem, server_name } => {
                    let name = server_name.as_deref().unwrap_or(host);
                    converse(secured(stream, roots_pem, name).await?, &start).await
                }
            }
        }
    }
}

async fn secured(
    mut stream: TcpStream,
    roots_pem: &str,
    name: &str,
) -> Result<tokio_rustls::client::TlsStream<TcpStream>> {
    stream.write_all(&SSL_REQUEST).await?;
    if stream.read_u8().await? != b'S' {
        bail!("the upstream offers no TLS");
    }
    let config = crate::tls::client_config(roots_pem.as_bytes())?;
    let name = ServerName::try_from(name.to_owned()).with_context(|| format!("{name:?} is no host name"))?;
    let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
    connector.connect(name, stream).await.context("the upstream's certificate was not accepted")
}

async fn converse<S: AsyncRead + AsyncWrite + Unpin>(mut stream: S, start: &[u8]) -> Result<Wants> {
    let mut random = [0; 18];
    SystemRandom::new().fill(&mut random).map_err(|_| anyhow!("the system gave no randomness"))?;
    let mut probe = Probe::new(random);
    let mut input = Vec::new();
    stream.write_all(start).await?;
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
