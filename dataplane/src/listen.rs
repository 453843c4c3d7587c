//! Listeners: one socket a core and address, our own accept, and everything before a session: limits, the first bytes,
//! TLS. A connection that does not get through in time is closed.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;

use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, sockopt};
use rustls::ServerConfig;
use weir_control::Protocol;
use weir_postgres::{BearerTerms, CancelKey, First, Layer, Prelude, Proof};

use crate::clock::Now;
use crate::config::{Auth, Listener};
use crate::limits::Limits;
use crate::net::{self, Either, Io, race};
use crate::roll::{Live, place_of};
use crate::session::login::Arrival;
use crate::session::{Session, linger, machine};
use crate::shared::{Mail, Place};
use crate::socket::{Socket, read_some, send_all};
use crate::ssh_door::{self, SshDoor};
use crate::tls::{self, Certificate, Tls, TrustDomains};
use crate::tokens::of_certificate;
use crate::worker::{Worker, spawn_guarded};

const BACKLOG: i32 = 4096;
/// A line before the protocol begins, which clients show where they are asked to be verbose.
const TOO_MANY_SSH: &[u8] = b"weir: too many connections: try again later\r\n";
/// The operator's: an address that cannot be listened on.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("{0} is in use by another process")]
    InUse(SocketAddr),
    #[error("cannot listen on {address}: {source}")]
    Listen { address: SocketAddr, source: io::Error },
    #[error(transparent)]
    Tls(#[from] tls::Error),
    #[error("listener {address}: {source}")]
    Ssh { address: SocketAddr, source: ssh_door::Error },
}

/// A listener's settings, shared by all cores.
pub(crate) struct Door {
    pub listener: Listener,
    face: Face,
    /// Held as long as the process lives: with `SO_REUSEPORT` a second process of this user would silently get a share
    /// of our clients.
    _claim: OwnedFd,
}

/// What a listener proves itself by.
enum Face {
    Tls { config: Arc<ServerConfig>, certificate: Arc<Certificate>, clients: Option<Arc<TrustDomains>> },
    Ssh(Box<SshDoor>),
}

impl Face {
    fn load(listener: &Listener, limits: &Limits) -> Result<Self, Error> {
        let alpn: &[&[u8]] = match listener.protocol {
            Protocol::Postgres => &[tls::POSTGRES_ALPN],
            Protocol::Http => &[b"http/1.1", b"http/1.0"],
            Protocol::Ssh => {
                let address = listener.address;
                let door = SshDoor::load(listener, limits);
                return door
                    .map(|door| Self::Ssh(Box::new(door)))
                    .map_err(|source| Error::Ssh { address, source });
            }
        };
        // The configuration was checked for both.
        let path = |path: &Option<PathBuf>| path.clone().unwrap_or_default();
        let certificate = Certificate::load(&path(&listener.cert), &path(&listener.key))?;
        let clients = match listener.spiffe.as_slice() {
            [] => None,
            sources => Some(TrustDomains::load(sources)?),
        };
        let config = tls::server_config(Arc::clone(&certificate), alpn, clients.clone())?;
        Ok(Self::Tls { config, certificate, clients })
    }
}

impl Door {
    /// Claims an address and reads its certificate.
    ///
    /// # Errors
    /// See [`Error`].
    pub(crate) fn open(listener: &Listener, limits: &Limits) -> Result<Self, Error> {
        let face = Face::load(listener, limits)?;
        let claim = claim(listener.address)?;
        Ok(Self { listener: listener.clone(), face, _claim: claim })
    }

    /// TLS's side towards a client.
    fn tls(&self) -> io::Result<Tls> {
        match &self.face {
            Face::Tls { config, .. } => Tls::server(Arc::clone(config)).map_err(io::Error::other),
            Face::Ssh(_) => Err(io::Error::other("SSH has no TLS")),
        }
    }

    /// Reads certificate and bundles, or keys, again; on an error what is in use stays.
    ///
    /// # Errors
    /// See [`Error`].
    pub(crate) fn reload(&self) -> Result<(), Error> {
        match &self.face {
            Face::Tls { certificate, clients, .. } => {
                certificate.reload()?;
                Ok(clients.as_ref().map_or(Ok(()), |clients| clients.reload())?)
            }
            Face::Ssh(door) => {
                door.reload().map_err(|source| Error::Ssh { address: self.listener.address, source })
            }
        }
    }

    fn ssh_settings(&self) -> Option<Arc<weir_ssh::Settings>> {
        match &self.face {
            Face::Ssh(door) => Some(door.settings()),
            Face::Tls { .. } => None,
        }
    }

    /// What a Postgres client is asked for.
    fn proof(&self, arrival: &Arrival) -> Proof {
        if arrival.certificate.is_some() {
            return Proof::Certificate;
        }
        match (self.listener.auth, &self.listener.oauth_discovery) {
            (Auth::OauthBearer, Some(discovery)) => {
                let terms = BearerTerms::new(discovery, self.listener.oauth_scope.as_deref());
                Proof::Bearer(Rc::new(terms))
            }
            (Auth::OauthBearer, None) | (Auth::Password, _) => Proof::Password,
        }
    }

    /// One core's socket.
    ///
    /// # Errors
    /// See [`Error`].
    pub(crate) fn bind(&self) -> Result<OwnedFd, Error> {
        let address = self.listener.address;
        bind(address).map_err(|error| match error {
            Errno::ADDRINUSE => Error::InUse(address),
            error => Error::Listen { address, source: error.into() },
        })
    }
}

/// An abstract Unix socket named after the address: as exclusive as a port, in the same namespace, and gone with the
/// process. A bind without `SO_REUSEPORT` before it finds everybody else.
fn claim(address: SocketAddr) -> Result<OwnedFd, Error> {
    let wrong = |error: Errno| match error {
        Errno::ADDRINUSE => Error::InUse(address),
        error => Error::Listen { address, source: error.into() },
    };
    let probe = std::net::TcpListener::bind(address);
    if let Err(error) = probe {
        let taken = error.kind() == io::ErrorKind::AddrInUse;
        return Err(if taken { Error::InUse(address) } else { Error::Listen { address, source: error } });
    }
    let claim = rustix::net::socket_with(AddressFamily::UNIX, SocketType::DGRAM, SocketFlags::CLOEXEC, None)
        .map_err(wrong)?;
    let name =
        SocketAddrUnix::new_abstract_name(format!("weir/listen/{address}").as_bytes()).map_err(wrong)?;
    rustix::net::bind(&claim, &name).map_err(wrong)?;
    Ok(claim)
}

fn bind(address: SocketAddr) -> Result<OwnedFd, Errno> {
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(family, SocketType::STREAM, flags, None)?;
    sockopt::set_socket_reuseaddr(&socket, true)?;
    sockopt::set_socket_reuseport(&socket, true)?;
    rustix::net::bind(&socket, &address)?;
    rustix::net::listen(&socket, BACKLOG)?;
    Ok(socket)
}

/// Accepts until the core drains.
pub(crate) async fn accept(worker: Rc<Worker>, door: Arc<Door>, socket: OwnedFd) {
    let listener = match Io::new(socket) {
        Ok(listener) => listener,
        Err(error) => return tracing::error!("cannot wait for connections: {error}"),
    };
    while !worker.draining.get() {
        // Woken now and then to see a drain; readiness may be dropped at any time.
        let ready = std::pin::pin!(listener.readable());
        let look = std::pin::pin!(net::sleep(std::time::Duration::from_millis(500)));
        if let Either::Second(()) = race(ready, look).await {
            continue;
        }
        loop {
            let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
            match rustix::net::acceptfrom_with(listener.fd(), flags) {
                Ok((client, address)) => {
                    let peer = address.and_then(|address| SocketAddr::try_from(address).ok());
                    welcome(&worker, &door, client, peer);
                }
                Err(Errno::AGAIN) => break,
                Err(Errno::CONNABORTED | Errno::INTR) => {}
                Err(error) => {
                    // Out of descriptors, most likely: let some sessions end first.
                    tracing::error!("cannot accept: {error}");
                    net::sleep(std::time::Duration::from_millis(100)).await;
                    break;
                }
            }
        }
    }
}

fn welcome(worker: &Rc<Worker>, door: &Arc<Door>, client: OwnedFd, peer: Option<SocketAddr>) {
    worker.metrics.accepted.add(1);
    let limits = &worker.shared.config.limits;
    let tally = &worker.shared.tally;
    let place = tally.connection(limits.connections);
    let full = place.is_none();
    if full {
        worker.metrics.refused.add(1);
        tracing::warn!("limits.connections is reached: a connection was refused");
    }
    let Some(place) = place.or_else(|| tally.refusal(limits.refusals)) else { return };
    let name = peer.map_or_else(|| "unknown".to_owned(), |peer| peer.to_string());
    let login_ms = crate::session::ms(limits.login_timeout);
    let source = peer.map(|peer| peer.ip().to_canonical().to_string()).unwrap_or_default();
    let startup = (door.listener.protocol == Protocol::Ssh)
        .then(|| tally.startup(&source, limits.ssh_startups, limits.ssh_startups_per_source));
    let full = full || matches!(startup, Some(None));
    let Some(live) = worker.roll.enter(name, Now::read(), login_ms, &worker.random) else {
        worker.metrics.refused.add(1);
        return;
    };
    *live.startup.borrow_mut() = startup.flatten();
    // Without these a session still works, only worse.
    let _ = sockopt::set_tcp_nodelay(&client, true);
    let _ = sockopt::set_socket_keepalive(&client, true);
    let Ok(io) = Io::new(client) else {
        worker.roll.leave(&live);
        return;
    };
    let door = Arc::clone(door);
    let entry = Entry { worker: Rc::clone(worker), live, full, _place: place };
    attend(entry, async move |entry| {
        // Each on the heap, so that the memory of one is gone before the other's is there.
        let begun = Box::pin(begin_in_time(entry, &door, io)).await;
        let Some((client, early)) = begun else { return };
        match session(entry, &door, client, early) {
            Ok(session) => session.await,
            Err(away) => {
                let (client, words) = *away;
                drop(dismiss(entry, client, words).await);
            }
        }
    });
}

/// Runs a connection. Its places come back however it ends, and nobody else ends with it.
pub(crate) fn attend(entry: Entry, connection: impl AsyncFnOnce(&Entry) + 'static) {
    let worker = Rc::clone(&entry.worker);
    spawn_guarded(&worker, async move { connection(&entry).await });
}

/// The first bytes and TLS, within the login timeout.
async fn begin_in_time(entry: &Entry, door: &Door, io: Io) -> Option<(Socket, Vec<u8>)> {
    let client = &entry.live.client;
    let first = std::pin::pin!(begin(entry, door, io));
    let limit = std::pin::pin!(net::sleep(entry.worker.shared.config.limits.login_timeout));
    match race(first, limit).await {
        Either::First(Ok(begun)) => return begun,
        Either::First(Err(error)) => tracing::debug!(client, "before a session: {error}"),
        Either::Second(()) => tracing::debug!(client, "no session in time"),
    }
    None
}

/// A connection's place on the roll and in the count, given back however its task ends.
pub(crate) struct Entry {
    pub worker: Rc<Worker>,
    pub live: Rc<Live>,
    /// It is over the limit of connections: to be told so, and no more.
    pub full: bool,
    pub _place: Place,
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.worker.roll.leave(&self.live);
        self.worker.end_if_done();
    }
}

/// The session of a client that is inside TLS, or what it is told that is turned away.
fn session(
    entry: &Entry,
    door: &Door,
    client: Socket,
    early: Vec<u8>,
) -> Result<Running, Box<(Socket, Vec<u8>)>> {
    let (worker, live) = (Rc::clone(&entry.worker), Rc::clone(&entry.live));
    let certificate = match client.tls().and_then(Tls::client_certificate).map(|der| of_certificate(der)) {
        None => None,
        Some(Ok(proven)) => Some(proven),
        // TLS has let no such certificate through.
        Some(Err(refusal)) => {
            tracing::error!(client = live.client, "a certificate that names nobody: {refusal}");
            return Err(Box::new((client, Vec::new())));
        }
    };
    let arrival = Arrival { connection: door.listener.connection.clone(), certificate };
    match door.listener.protocol {
        Protocol::Postgres => {
            let Some(machine) = machine::postgres(&worker, &live, door.proof(&arrival)) else {
                tracing::warn!(
                    client = entry.live.client,
                    "no state from admin yet: a client was turned away"
                );
                return Err(Box::new((client, weir_postgres::starting())));
            };
            let session = Session::new(worker, live, machine, client, early, Protocol::Postgres, arrival);
            Ok(Box::pin(Box::new(session).run()))
        }
        Protocol::Http => {
            let certified = arrival.certificate.is_some();
            let Some(machine) = machine::http(&worker, arrival.connection.as_deref(), certified) else {
                tracing::warn!(
                    client = entry.live.client,
                    "no such connection yet: a client was turned away"
                );
                return Err(Box::new((client, unavailable("the gateway is starting: try again"))));
            };
            let session = Session::new(worker, live, machine, client, early, Protocol::Http, arrival);
            Ok(Box::pin(Box::new(session).run()))
        }
        Protocol::Ssh => {
            let Some(machine) = machine::ssh(&worker, &live, door.ssh_settings()) else {
                tracing::warn!(
                    client = entry.live.client,
                    "no state from admin yet: a client was turned away"
                );
                return Err(Box::new((client, b"weir: the gateway is starting: try again\r\n".to_vec())));
            };
            let session = Session::new(worker, live, machine, client, early, Protocol::Ssh, arrival);
            Ok(Box::pin(Box::new(session).run()))
        }
    }
}

type Running = Pin<Box<dyn Future<Output = ()>>>;

/// The first bytes and TLS. `None`: it was no session, and is dealt with.
async fn begin(entry: &Entry, door: &Door, io: Io) -> io::Result<Option<(Socket, Vec<u8>)>> {
    let mut socket = Socket::plain(io.clone());
    let mut early = Vec::new();
    if door.listener.protocol == Protocol::Ssh {
        if entry.full {
            return dismiss(entry, socket, TOO_MANY_SSH.to_vec()).await;
        }
        return Ok(Some((socket, early)));
    }
    if door.listener.protocol == Protocol::Http {
        socket.upgrade(door.tls()?);
        let early = socket.handshake(&[]).await?;
        if entry.full {
            let words = unavailable("too many connections to the gateway: try again later");
            return dismiss(entry, socket, words).await;
        }
        return Ok(Some((socket, early)));
    }
    let limits = machine::postgres_limits(&entry.worker.shared.config.limits);
    let mut prelude = Prelude::new(Layer::Plain, &limits);
    loop {
        match prelude.read(&early) {
            First::NeedMore => read_some(&io, &mut early).await?,
            First::StartTls { consumed, answer } => {
                early.drain(..consumed);
                send_all(&io, answer).await?;
                socket.upgrade(door.tls()?);
                let early = socket.handshake(&early).await?;
                return inside_tls(entry, socket, early, &limits).await;
            }
            First::DirectTls => {
                socket.upgrade(door.tls()?);
                let early = socket.handshake(&early).await?;
                if socket.tls().and_then(Tls::alpn) != Some(tls::POSTGRES_ALPN) {
                    return Err(io::Error::other("direct TLS without ALPN postgresql"));
                }
                return inside_tls(entry, socket, early, &limits).await;
            }
            First::Again { consumed, answer } => {
                early.drain(..consumed);
                send_all(&io, answer).await?;
            }
            First::Cancel(key) => {
                cancel(&entry.worker, key);
                return Ok(None);
            }
            First::Session => return Err(io::Error::other("a session outside TLS")),
            First::Refuse { answer, why } => {
                entry.worker.metrics.refused.add(1);
                tracing::info!(client = entry.live.client, "refused: {why}");
                send_all(&io, &answer).await?;
                io.finish();
                // Closing with the client's bytes unread would throw the answer away.
                while read_some(&io, &mut early).await.is_ok() {
                    early.clear();
                }
                return Ok(None);
            }
        }
    }
}

async fn inside_tls(
    entry: &Entry,
    mut socket: Socket,
    mut early: Vec<u8>,
    limits: &weir_postgres::Limits,
) -> io::Result<Option<(Socket, Vec<u8>)>> {
    let mut prelude = Prelude::new(Layer::Tls, limits);
    loop {
        match prelude.read(&early) {
            First::Session if entry.full => {
                return dismiss(entry, socket, weir_postgres::too_many_connections()).await;
            }
            First::Session => return Ok(Some((socket, early))),
            First::Cancel(key) => {
                cancel(&entry.worker, key);
                return Ok(None);
            }
            First::NeedMore => early.extend(socket.receive_some().await?),
            First::Refuse { answer, why } => {
                entry.worker.metrics.refused.add(1);
                tracing::info!(client = entry.live.client, "refused: {why}");
                return dismiss(entry, socket, answer).await;
            }
            First::StartTls { .. } | First::DirectTls | First::Again { .. } => {
                return Err(io::Error::other("TLS inside TLS"));
            }
        }
    }
}

/// What an HTTP client is told before it has asked anything.
fn unavailable(text: &str) -> Vec<u8> {
    format!(
        "HTTP/1.1 503 Service Unavailable\r\nContent-Type: text/plain\r\nContent-Length: {}\r\nRetry-After: 1\r\n\
         Connection: close\r\n\r\n{text}\n",
        text.len() + 1
    )
    .into_bytes()
}

/// Last words inside TLS. `None`: there is no session. On the heap, so that the many that only wait pay nothing for it.
fn dismiss(entry: &Entry, mut socket: Socket, words: Vec<u8>) -> Dismissal<'_> {
    Box::pin(async move {
        socket.send_now(&words).await?;
        socket.finish(&mut entry.worker.bench.borrow_mut().scratch.wire);
        linger(&socket).await;
        Ok(None)
    })
}

type Dismissal<'a> = Pin<Box<dyn Future<Output = io::Result<Option<(Socket, Vec<u8>)>>> + 'a>>;

/// Passes a cancel request to the core that has the session. Nobody is told whether the key fitted.
fn cancel(worker: &Worker, key: CancelKey) {
    if !worker.may_cancel() {
        return;
    }
    let (core, slot) = place_of(key.process);
    if let Some(post) = worker.shared.cores.get(usize::from(core)) {
        post.send(Mail::Cancel { slot, key: key.key });
    }
}
