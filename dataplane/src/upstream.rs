//! Dialling an upstream: TCP or Unix, then TLS where the connection asks for it. Opens nothing without a permit.

use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::Arc;

use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, sockopt};
use weir_control::{ChannelBinding, Protocol, UpstreamAddress};
use weir_policy::Permit;
use weir_postgres::upstream::{SSL_REQUEST, TlsAnswer, tls_answer};

use crate::net::Io;
use crate::socket::{Socket, read_some, send_all};
use crate::standing::Upstream;
use crate::tls::Tls;

/// The upstream's doing, or the operator's configuration of it. Fit for the log, not for the client.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("cannot connect: {0}")]
    Connect(io::Error),
    #[error("has no TLS, and the connection asks for it")]
    NoTls,
    #[error("answered the TLS request with something else")]
    Hostile,
    #[error("TLS: {0}")]
    Tls(io::Error),
    #[error(
        "the connection requires channel binding, which its TLS (or the lack of it, or its certificate) cannot give"
    )]
    Unbindable,
    #[error("the connection's TLS settings are not usable: {0}")]
    Settings(String),
}

/// An open upstream; the permit comes back for the machine.
pub(crate) struct Dialled {
    pub permit: Permit,
    pub socket: Socket,
    pub channel_binding: Option<Vec<u8>>,
}

/// Opens the upstream that `permit` was given for.
///
/// # Errors
/// See [`Error`]; nothing of the client's has been sent.
pub(crate) async fn connect(permit: Permit, upstream: &Upstream) -> Result<Dialled, Error> {
    let mut socket = open(upstream).await?;
    let channel_binding = match &upstream.tls {
        None => None,
        Some(Err(why)) => return Err(Error::Settings(why.clone())),
        Some(Ok((config, name))) => {
            if upstream.connection.protocol == Protocol::Postgres {
                ask_for_tls(socket.io()).await?;
            }
            let tls = Tls::client(Arc::clone(config), name.clone())
                .map_err(|error| Error::Tls(io::Error::other(error)))?;
            socket.upgrade(tls);
            let early = socket.handshake(&[]).await.map_err(Error::Tls)?;
            if !early.is_empty() {
                return Err(Error::Hostile);
            }
            match upstream.connection.channel_binding {
                ChannelBinding::Disable => None,
                ChannelBinding::Prefer | ChannelBinding::Require => {
                    socket.tls().and_then(Tls::server_end_point)
                }
            }
        }
    };
    if upstream.connection.channel_binding == ChannelBinding::Require && channel_binding.is_none() {
        return Err(Error::Unbindable);
    }
    Ok(Dialled { permit, socket, channel_binding })
}

/// Sends a protocol's cancel request on a connection of its own, as far as that goes: nobody waits for the answer.
pub(crate) async fn cancel(upstream: &Upstream, request: &[u8]) -> Result<(), Error> {
    let mut socket = open(upstream).await?;
    if let Some(Ok((config, name))) = &upstream.tls {
        ask_for_tls(socket.io()).await?;
        let tls = Tls::client(Arc::clone(config), name.clone())
            .map_err(|error| Error::Tls(io::Error::other(error)))?;
        socket.upgrade(tls);
        socket.handshake(&[]).await.map_err(Error::Tls)?;
    }
    socket.send_now(request).await.map_err(Error::Connect)?;
    // The server closes once it has acted.
    let mut rest = Vec::new();
    let _ = read_some(socket.io(), &mut rest).await;
    Ok(())
}

async fn open(upstream: &Upstream) -> Result<Socket, Error> {
    let io = match &upstream.connection.upstream {
        UpstreamAddress::Unix { path } => connect_unix(path).await,
        UpstreamAddress::Tcp { host, port } => connect_tcp(host, *port).await,
    };
    io.map(Socket::plain).map_err(Error::Connect)
}

async fn ask_for_tls(io: &Io) -> Result<(), Error> {
    send_all(io, &SSL_REQUEST).await.map_err(Error::Connect)?;
    let mut answer = Vec::new();
    read_some(io, &mut answer).await.map_err(Error::Connect)?;
    match tls_answer(&answer) {
        TlsAnswer::Start => Ok(()),
        TlsAnswer::None => Err(Error::NoTls),
        TlsAnswer::Hostile => Err(Error::Hostile),
    }
}

const FLAGS: SocketFlags = SocketFlags::CLOEXEC.union(SocketFlags::NONBLOCK);

async fn connect_unix(path: &str) -> io::Result<Io> {
    let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, FLAGS, None)?;
    let address = SocketAddrUnix::new(path)?;
    loop {
        match rustix::net::connect(&socket, &address) {
            Ok(()) => return Io::new(socket),
            // Its queue of new connections is full; the dial's time limit ends this.
            Err(Errno::AGAIN) => crate::net::sleep(std::time::Duration::from_millis(5)).await,
            Err(error) => return Err(error.into()),
        }
    }
}

async fn connect_tcp(host: &str, port: u16) -> io::Result<Io> {
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for address in resolve(host, port).await? {
        match connect_address(address).await {
            Ok(io) => return Ok(io),
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// An address needs no resolver. A name is asked for on a thread of its own, since the system's resolver blocks.
async fn resolve(host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
    if let Ok(address) = host.parse() {
        return Ok(vec![SocketAddr::new(address, port)]);
    }
    let (post, answers) = crate::shared::Post::new()?;
    let bell = Io::new(post.bell().try_clone_to_owned()?)?;
    let host = host.to_owned();
    std::thread::Builder::new().name("resolve".into()).spawn(move || {
        post.send((host.as_str(), port).to_socket_addrs().map(Iterator::collect::<Vec<_>>));
    })?;
    bell.readable().await?;
    answers.try_recv().unwrap_or_else(|_| Err(io::Error::other("the resolver went away")))
}

async fn connect_address(address: SocketAddr) -> io::Result<Io> {
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let socket = rustix::net::socket_with(family, SocketType::STREAM, FLAGS, None)?;
    sockopt::set_tcp_nodelay(&socket, true)?;
    sockopt::set_socket_keepalive(&socket, true)?;
    let pending = match rustix::net::connect(&socket, &address) {
        Ok(()) => false,
        Err(Errno::INPROGRESS) => true,
        Err(error) => return Err(error.into()),
    };
    let io = Io::new(socket)?;
    if pending {
        io.writable().await?;
        sockopt::socket_error(io.fd())??;
    }
    Ok(io)
}
