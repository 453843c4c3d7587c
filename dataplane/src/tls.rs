//! TLS as a pure transformation over rustls: records in, plaintext and replies out, and the reverse. Keeps keys and
//! state only, never a buffer of traffic, so that an idle connection costs nothing but them. Touches no socket.

mod domains;

use std::path::{Path, PathBuf};
use std::sync::{Arc, RwLock};

use ring::digest;
use rustls::client::UnbufferedClientConnection;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::{ClientHello, ResolvesServerCert, UnbufferedServerConnection};
use rustls::sign::CertifiedKey;
use rustls::unbuffered::{ConnectionState, UnbufferedStatus};
use rustls::{ClientConfig, RootCertStore, ServerConfig};

pub(crate) use domains::TrustDomains;

/// What direct TLS must name (RFC 7301; PostgreSQL "direct SSL negotiation").
pub(crate) const POSTGRES_ALPN: &[u8] = b"postgresql";

/// Plaintext sealed at once, at most.
pub(crate) const MAX_SEAL_BYTES: usize = 64 << 10;
/// Room that sealing `MAX_SEAL_BYTES` surely finds enough: four records and a queued key update.
pub(crate) const SEALED_BYTES: usize = MAX_SEAL_BYTES + 2048;

/// Where the operating system keeps the roots it trusts (Debian, and those who follow it).
const SYSTEM_ROOTS: &str = "/etc/ssl/certs/ca-certificates.crt";

#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// The operator's.
    #[error("{path}: {what}")]
    File { path: PathBuf, what: String },
    /// The peer's.
    #[error("TLS: {0}")]
    Protocol(#[from] rustls::Error),
    /// The gateway's: records that do not fit where they must.
    #[error("TLS record does not fit its buffer")]
    NoRoom,
}

/// The one place that chooses who does the arithmetic.
pub(crate) fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

/// A listener's certificate, replaced under the eyes of running handshakes.
#[derive(Debug)]
pub(crate) struct Certificate {
    cert: PathBuf,
    key: PathBuf,
    current: RwLock<Arc<CertifiedKey>>,
}

impl Certificate {
    /// # Errors
    /// The operator's: a file is missing, not PEM, or the key is not the certificate's.
    pub(crate) fn load(cert: &Path, key: &Path) -> Result<Arc<Self>, Error> {
        let current = RwLock::new(Arc::new(read_pair(cert, key)?));
        Ok(Arc::new(Self { cert: cert.to_owned(), key: key.to_owned(), current }))
    }

    /// Reads both files again; on an error the old pair stays in use.
    ///
    /// # Errors
    /// As `load`.
    pub(crate) fn reload(&self) -> Result<(), Error> {
        let fresh = Arc::new(read_pair(&self.cert, &self.key)?);
        let mut current = self.current.write().unwrap_or_else(std::sync::PoisonError::into_inner);
        *current = fresh;
        Ok(())
    }
}

impl ResolvesServerCert for Certificate {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.current.read().unwrap_or_else(std::sync::PoisonError::into_inner)))
    }
}

fn read_pair(cert: &Path, key: &Path) -> Result<CertifiedKey, Error> {
    let wrong = |path: &Path, what: String| Error::File { path: path.to_owned(), what };
    let chain = CertificateDer::pem_file_iter(cert)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| wrong(cert, format!("cannot read a PEM certificate chain: {error}")))?;
    if chain.is_empty() {
        return Err(wrong(cert, "holds no certificate".into()));
    }
    let private = PrivateKeyDer::from_pem_file(key)
        .map_err(|error| wrong(key, format!("cannot read a PEM private key: {error}")))?;
    CertifiedKey::from_der(chain, private, &provider())
        .map_err(|error| wrong(key, format!("does not fit the certificate: {error}")))
}

/// A listener's side. Connections are resumed only where nobody is identified by certificate: a resumed one shows none,
/// and would go on after its root is gone.
///
/// # Errors
/// The gateway's: the provider lacks what the versions need.
pub(crate) fn server_config(
    certificate: Arc<Certificate>,
    alpn: &[&[u8]],
    clients: Option<Arc<TrustDomains>>,
) -> Result<Arc<ServerConfig>, Error> {
    let builder = ServerConfig::builder_with_provider(provider()).with_safe_default_protocol_versions()?;
    let mut config = match clients {
        None => {
            let mut config = builder.with_no_client_auth().with_cert_resolver(certificate);
            config.send_tls13_tickets = 1;
            config
        }
        Some(clients) => {
            let mut config = builder.with_client_cert_verifier(clients).with_cert_resolver(certificate);
            config.send_tls13_tickets = 0;
            config.session_storage = Arc::new(rustls::server::NoServerSessionStorage {});
            config
        }
    };
    config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
    Ok(Arc::new(config))
}

/// An upstream's side: certificate and host name are checked against `roots_pem`, or the system's roots where empty.
///
/// # Errors
/// The operator's: no usable root.
pub(crate) fn client_config(roots_pem: &str) -> Result<Arc<ClientConfig>, Error> {
    let wrong = |what: String| Error::File { path: PathBuf::from(SYSTEM_ROOTS), what };
    let system;
    let pem = if roots_pem.trim().is_empty() {
        system = std::fs::read(SYSTEM_ROOTS).map_err(|error| wrong(error.to_string()))?;
        system.as_slice()
    } else {
        roots_pem.as_bytes()
    };
    let mut roots = RootCertStore::empty();
    // One unreadable root among a system's hundred must not take the others with it.
    roots.add_parsable_certificates(CertificateDer::pem_slice_iter(pem).flatten());
    if roots.is_empty() {
        return Err(wrong("no usable root certificate".into()));
    }
    let config = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(Arc::new(config))
}

enum Side {
    Client(UnbufferedClientConnection),
    Server(UnbufferedServerConnection),
}

/// One connection's keys and state.
pub(crate) struct Tls(Side);

/// How far `open` came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Progress {
    Handshaking,
    Established,
    /// The peer said that it sends no more.
    Closed,
}

impl Tls {
    pub(crate) fn server(config: Arc<ServerConfig>) -> Result<Self, Error> {
        Ok(Self(Side::Server(UnbufferedServerConnection::new(config)?)))
    }

    pub(crate) fn client(config: Arc<ClientConfig>, name: ServerName<'static>) -> Result<Self, Error> {
        Ok(Self(Side::Client(UnbufferedClientConnection::new(config, name)?)))
    }

    pub(crate) fn alpn(&self) -> Option<&[u8]> {
        match &self.0 {
            Side::Client(client) => client.alpn_protocol(),
            Side::Server(server) => server.alpn_protocol(),
        }
    }

    /// The certificate that a client showed and that was verified; `None`: it showed none.
    pub(crate) fn client_certificate(&self) -> Option<&CertificateDer<'static>> {
        match &self.0 {
            Side::Client(_) => None,
            Side::Server(server) => server.peer_certificates()?.first(),
        }
    }

    /// RFC 5929 `tls-server-end-point` of the peer's certificate, where its signature algorithm has a hash of its own.
    pub(crate) fn server_end_point(&self) -> Option<Vec<u8>> {
        let certificates = match &self.0 {
            Side::Client(client) => client.peer_certificates(),
            Side::Server(_) => None,
        };
        end_point_hash(certificates?.first()?)
    }

    /// Takes whole records from the front of `wire`: plaintext is appended to `plain`, what the peer must be sent to
    /// `reply`. The answer is how many bytes of `wire` are done with.
    ///
    /// # Errors
    /// The peer's; `reply` then holds the alert to send before closing.
    pub(crate) fn open(
        &mut self,
        wire: &mut [u8],
        plain: &mut Vec<u8>,
        reply: &mut Vec<u8>,
    ) -> Result<(usize, Progress), Error> {
        let mut used = 0;
        loop {
            let rest = wire.get_mut(used..).unwrap_or_default();
            let (discard, taken) = match &mut self.0 {
                Side::Client(client) => turn(client.process_tls_records(rest), plain, reply),
                Side::Server(server) => turn(server.process_tls_records(rest), plain, reply),
            };
            used += discard;
            match taken {
                Ok(Turn::Again) => {}
                Ok(Turn::Done(progress)) => return Ok((used, progress)),
                Err(error) => {
                    // One alert is left to encode.
                    let rest = wire.get_mut(used..).unwrap_or_default();
                    let mut none = Vec::new();
                    let _ = match &mut self.0 {
                        Side::Client(client) => turn(client.process_tls_records(rest), &mut none, reply),
                        Side::Server(server) => turn(server.process_tls_records(rest), &mut none, reply),
                    };
                    return Err(error);
                }
            }
        }
    }

    /// Seals at most `MAX_SEAL_BYTES` of `plain` into `out`, which has `SEALED_BYTES`. The answer is the sealed length.
    /// `cut` is what `open` left of the peer's bytes: rustls keeps places in it.
    ///
    /// # Errors
    /// The gateway's: not established, or no room.
    pub(crate) fn seal(&mut self, cut: &mut Vec<u8>, plain: &[u8], out: &mut [u8]) -> Result<usize, Error> {
        let (discard, length) = match &mut self.0 {
            Side::Client(client) => seal(client.process_tls_records(cut), plain, out),
            Side::Server(server) => seal(server.process_tls_records(cut), plain, out),
        };
        cut.drain(..discard.min(cut.len()));
        length
    }

    /// The last words on this connection, as sealed bytes; none where the handshake never ended.
    pub(crate) fn close(&mut self, cut: &mut [u8], out: &mut [u8]) -> usize {
        match &mut self.0 {
            Side::Client(client) => close(client.process_tls_records(cut), out),
            Side::Server(server) => close(server.process_tls_records(cut), out),
        }
    }
}

enum Turn {
    Again,
    Done(Progress),
}

fn turn<D>(
    status: UnbufferedStatus<'_, '_, D>,
    plain: &mut Vec<u8>,
    reply: &mut Vec<u8>,
) -> (usize, Result<Turn, Error>) {
    let UnbufferedStatus { discard, state } = status;
    let turn = match state {
        Err(error) => Err(error.into()),
        Ok(ConnectionState::ReadTraffic(mut traffic)) => loop {
            match traffic.next_record() {
                None => break Ok(Turn::Again),
                Some(Err(error)) => break Err(error.into()),
                Some(Ok(record)) => plain.extend_from_slice(record.payload),
            }
        },
        Ok(ConnectionState::EncodeTlsData(mut data)) => encode(&mut data, reply).map(|()| Turn::Again),
        Ok(ConnectionState::TransmitTlsData(data)) => {
            data.done();
            Ok(Turn::Again)
        }
        Ok(ConnectionState::BlockedHandshake) => Ok(Turn::Done(Progress::Handshaking)),
        Ok(ConnectionState::WriteTraffic(_)) => Ok(Turn::Done(Progress::Established)),
        Ok(ConnectionState::PeerClosed | ConnectionState::Closed) => Ok(Turn::Done(Progress::Closed)),
        // 0-RTT is never offered, and a state of a later release is not understood.
        Ok(_) => Err(Error::Protocol(rustls::Error::General("unexpected TLS state".into()))),
    };
    (discard, turn)
}

fn encode<D>(data: &mut rustls::unbuffered::EncodeTlsData<'_, D>, reply: &mut Vec<u8>) -> Result<(), Error> {
    use rustls::unbuffered::EncodeError;
    let start = reply.len();
    let mut room = 4096;
    loop {
        reply.resize(start + room, 0);
        match data.encode(reply.get_mut(start..).unwrap_or_default()) {
            Ok(length) => {
                reply.truncate(start + length);
                return Ok(());
            }
            Err(EncodeError::InsufficientSize(needed)) if needed.required_size > room => {
                room = needed.required_size;
            }
            Err(_) => {
                reply.truncate(start);
                return Err(Error::NoRoom);
            }
        }
    }
}

fn seal<D>(
    status: UnbufferedStatus<'_, '_, D>,
    plain: &[u8],
    out: &mut [u8],
) -> (usize, Result<usize, Error>) {
    let UnbufferedStatus { discard, state } = status;
    let length = match state {
        Ok(ConnectionState::WriteTraffic(mut traffic)) => {
            traffic.encrypt(plain, out).map_err(|_| Error::NoRoom)
        }
        // Nothing is written before the handshake is done, nor after a close.
        Ok(_) => Err(Error::Protocol(rustls::Error::HandshakeNotComplete)),
        Err(error) => Err(error.into()),
    };
    (discard, length)
}

fn close<D>(status: UnbufferedStatus<'_, '_, D>, out: &mut [u8]) -> usize {
    match status.state {
        Ok(ConnectionState::WriteTraffic(mut traffic)) => traffic.queue_close_notify(out).unwrap_or(0),
        Ok(_) | Err(_) => 0,
    }
}

/// RFC 5929: the hash of the certificate's signature algorithm, SHA-256 standing in for MD5 and SHA-1.
fn end_point_hash(certificate: &CertificateDer<'_>) -> Option<Vec<u8>> {
    let (oid, parameters) = signature_algorithm(certificate)?;
    let algorithm = match oid {
        // sha1/md5/sha256 WithRSAEncryption, ecdsa-with-SHA1, ecdsa-with-SHA256.
        [0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x04 | 0x05 | 0x0b]
        | [0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x01]
        | [0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x02] => &digest::SHA256,
        [0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x0c]
        | [0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x03] => &digest::SHA384,
        [0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x0d]
        | [0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x04] => &digest::SHA512,
        [0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x0a] => pss_hash(parameters)?,
        // Ed25519 has no hash beside itself: undefined there, so that the login goes without binding.
        _ => return None,
    };
    Some(digest::digest(algorithm, certificate).as_ref().to_vec())
}

/// `Certificate ::= SEQUENCE { tbs, SEQUENCE { OID, parameters }, .. }`: the OID's content, and the parameters.
fn signature_algorithm(certificate: &[u8]) -> Option<(&[u8], &[u8])> {
    let (body, _) = element(certificate, 0x30)?;
    let (_, after_tbs) = element(body, 0x30)?;
    let (algorithm, _) = element(after_tbs, 0x30)?;
    element(algorithm, 0x06)
}

/// `RSASSA-PSS-params ::= SEQUENCE { [0] SEQUENCE { OID, .. } DEFAULT sha1, .. }` (RFC 4055).
fn pss_hash(parameters: &[u8]) -> Option<&'static digest::Algorithm> {
    let (fields, _) = element(parameters, 0x30)?;
    let Some((hash, _)) = element(fields, 0xa0) else { return Some(&digest::SHA256) };
    let (hash, _) = element(hash, 0x30)?;
    match element(hash, 0x06)?.0 {
        [0x2b, 0x0e, 0x03, 0x02, 0x1a] | [0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x01] => {
            Some(&digest::SHA256)
        }
        [0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x02] => Some(&digest::SHA384),
        [0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x03] => Some(&digest::SHA512),
        _ => None,
    }
}

/// One DER element of the given tag: its content, and what follows it.
fn element(der: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (&first, rest) = der.split_first()?;
    let (&length, rest) = rest.split_first()?;
    if first != tag {
        return None;
    }
    let (length, rest) = if length < 0x80 {
        (usize::from(length), rest)
    } else {
        let (digits, rest) = rest.split_at_checked(usize::from(length & 0x7f))?;
        let length = digits
            .iter()
            .try_fold(0usize, |sum, &digit| sum.checked_mul(256).map(|sum| sum + usize::from(digit)))?;
        (length, rest)
    };
    rest.split_at_checked(length)
}

#[cfg(test)]
mod tests;
