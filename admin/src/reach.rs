//! Admin's own way to a Postgres upstream: TCP or Unix, TLS where the connection has it, and a conversation there.

use std::sync::Arc;

use anyhow::{Context as _, Result, anyhow, bail};
use ring::rand::{SecureRandom as _, SystemRandom};
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpStream, UnixStream};
use weir_control::{ChannelBinding, Connection, Credential, Secret, UpstreamAddress, UpstreamTls};
use weir_postgres::{Clerk, ClerkLogin, ClerkStep, ScramKeys, ServerSaid, TextRow, UpstreamSecret};

use crate::mint::Told;

const SSL_REQUEST: [u8; 8] = [0, 0, 0, 8, 4, 210, 22, 47];
/// What is read of an answer that is not understood yet.
const MAX_UNREAD_BYTES: usize = 2 << 20;

/// A way to an upstream.
pub(crate) trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}

/// Opens one, with TLS as the connection says.
///
/// # Errors
/// The upstream's or the operator's: [`Told`] where callers may know.
pub(crate) async fn dial(connection: &Connection) -> Result<Box<dyn Stream>> {
    let unreachable = || Told::OutOfReach(connection.name.clone());
    match &connection.upstream {
        UpstreamAddress::Unix { path } => {
            Ok(Box::new(UnixStream::connect(path).await.with_context(unreachable)?))
        }
        UpstreamAddress::Tcp { host, port } => {
            let stream = TcpStream::connect((host.as_str(), *port)).await.with_context(unreachable)?;
            match &connection.tls {
                UpstreamTls::Off => Ok(Box::new(stream)),
                UpstreamTls::VerifyFull { roots_pem, server_name } => {
                    let name = server_name.as_deref().unwrap_or(host);
                    Ok(Box::new(secured(stream, roots_pem, name).await?))
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

/// Admin, logged in to an upstream.
pub(crate) struct Conversation {
    stream: Box<dyn Stream>,
    clerk: Clerk,
    unread: Vec<u8>,
}

impl Conversation {
    /// Logs in with a connection's own credential.
    ///
    /// # Errors
    /// As `dial`; and the upstream refused the credential.
    pub(crate) async fn begin(connection: &Connection, credential: &Credential) -> Result<Self> {
        if connection.channel_binding == ChannelBinding::Require {
            bail!("roles of sessions are made without channel binding, and this connection requires it");
        }
        let mut stream = dial(connection).await?;
        let (clerk, first) = Clerk::start(login(connection, credential)?);
        stream.write_all(&first).await?;
        let mut conversation = Self { stream, clerk, unread: Vec::new() };
        conversation.until_ready().await.context("the upstream did not let admin in")?;
        conversation.clerk.outcome()?;
        Ok(conversation)
    }

    /// Runs a text: its rows, or what the server said instead.
    ///
    /// # Errors
    /// The upstream's: it is gone, or broke the protocol.
    pub(crate) async fn run(&mut self, sql: &str) -> Result<Result<Vec<TextRow>, ServerSaid>> {
        self.stream.write_all(&Clerk::ask(sql)).await?;
        self.until_ready().await?;
        Ok(self.clerk.outcome())
    }

    async fn until_ready(&mut self) -> Result<()> {
        loop {
            let mut send = Vec::new();
            let (used, step) = self.clerk.read(&self.unread, &mut send)?;
            self.unread.drain(..used);
            if !send.is_empty() {
                self.stream.write_all(&send).await?;
            }
            if step == ClerkStep::Ready {
                return Ok(());
            }
            if self.unread.len() > MAX_UNREAD_BYTES {
                bail!("the upstream answered too much");
            }
            if self.stream.read_buf(&mut self.unread).await? == 0 {
                bail!("the upstream closed the connection");
            }
        }
    }
}

fn login(connection: &Connection, credential: &Credential) -> Result<ClerkLogin> {
    let mut random = [0; 18];
    SystemRandom::new().fill(&mut random).map_err(|_| anyhow!("the system gave no randomness"))?;
    Ok(ClerkLogin {
        user: credential.user.clone(),
        database: connection.database.clone(),
        secret: secret(&credential.secret)?,
        encrypted: connection.tls != UpstreamTls::Off,
        random,
    })
}

fn secret(secret: &Secret) -> Result<UpstreamSecret> {
    let key = |text: &str| -> Result<[u8; 32]> {
        hex::decode(text)?.try_into().map_err(|_| anyhow!("a SCRAM key has 32 bytes"))
    };
    Ok(match secret {
        Secret::SshKey { .. } => bail!("an SSH key is no login for Postgres"),
        Secret::None => UpstreamSecret::None,
        Secret::Plain { value } => UpstreamSecret::Plain(value.clone().into_bytes()),
        Secret::Md5 { inner } => {
            UpstreamSecret::Md5(*inner.as_bytes().first_chunk().context("an md5 secret has 32 digits")?)
        }
        Secret::Scram { salt, iterations, client_key, server_key } => UpstreamSecret::Scram(ScramKeys {
            salt: hex::decode(salt)?,
            iterations: *iterations,
            client_key: key(client_key)?,
            server_key: key(server_key)?,
        }),
    })
}
