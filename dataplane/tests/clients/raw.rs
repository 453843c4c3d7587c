//! A client that speaks Postgres by hand, for what no stock client would say. It judges nothing beyond the framing of
//! answers: what they must be is each test's own claim.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use crate::appliance::{Appliance, PATIENCE, Who};

const PROTOCOL_3_0: u32 = 196_608;
const SSL_REQUEST: u32 = 80_877_103;

/// A message of the gateway's: type and body.
pub(crate) type Message = (u8, Vec<u8>);

/// What an ErrorResponse says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Said {
    pub(crate) severity: String,
    pub(crate) sqlstate: String,
    pub(crate) text: String,
}

impl Said {
    pub(crate) fn of((kind, body): &Message) -> Self {
        assert_eq!(*kind, b'E', "an ErrorResponse: {}", String::from_utf8_lossy(body));
        let fields: Vec<_> = body.split(|byte| *byte == 0).collect();
        let field = |code: u8| {
            let found = fields.iter().find_map(|field| field.strip_prefix(&[code]));
            String::from_utf8(found.unwrap_or_default().to_vec()).unwrap()
        };
        Self { severity: field(b'S'), sqlstate: field(b'C'), text: field(b'M') }
    }

    /// Ends the connection, with this SQLSTATE and all of these words.
    pub(crate) fn assert_fatal(&self, sqlstate: &str, words: &[&str]) {
        assert_eq!((self.severity.as_str(), self.sqlstate.as_str()), ("FATAL", sqlstate), "{self:?}");
        for word in words {
            assert!(self.text.contains(word), "{word:?} is not in {self:?}");
        }
    }
}

/// A packet without a type, as they come before a session.
pub(crate) fn packet(code: u32, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len()).unwrap() + 8;
    [&length.to_be_bytes()[..], &code.to_be_bytes(), body].concat()
}

pub(crate) fn message(kind: u8, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len()).unwrap() + 4;
    [&[kind][..], &length.to_be_bytes(), body].concat()
}

pub(crate) fn query(sql: &str) -> Vec<u8> {
    message(b'Q', &[sql.as_bytes(), b"\0"].concat())
}

pub(crate) fn startup(user: &str, database: &str) -> Vec<u8> {
    packet(PROTOCOL_3_0, format!("user\0{user}\0database\0{database}\0\0").as_bytes())
}

/// A fresh connection to the Postgres listener.
pub(crate) fn connect(appliance: &Appliance) -> TcpStream {
    let address = (appliance.var("WEIR_PG_HOST"), appliance.var("WEIR_PG_PORT").parse().unwrap());
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_nodelay(true).unwrap();
    stream
}

/// Waits until somebody listens on a port again.
pub(crate) fn until_it_listens(port: &str) {
    let address = ("127.0.0.1", port.parse().unwrap());
    Appliance::until("the gateway to listen", || TcpStream::connect(address).ok());
}

/// A fresh connection that was told to begin TLS.
pub(crate) fn before_tls(appliance: &Appliance) -> TcpStream {
    told_to_begin(connect(appliance))
}

pub(crate) fn told_to_begin(mut stream: TcpStream) -> TcpStream {
    stream.write_all(&packet(SSL_REQUEST, b"")).unwrap();
    let mut answer = [0];
    stream.read_exact(&mut answer).unwrap();
    assert_eq!(answer, *b"S");
    stream
}

/// TLS as a client that trusts the appliance, before its first byte.
pub(crate) fn tls(appliance: &Appliance) -> ClientConnection {
    tls_as(appliance, None)
}

/// The same, with a certificate of the client's own: chain and key.
pub(crate) fn tls_as(
    appliance: &Appliance,
    certificate: Option<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>)>,
) -> ClientConnection {
    let mut roots = RootCertStore::empty();
    for root in CertificateDer::pem_file_iter(appliance.var("WEIR_CA")).unwrap() {
        roots.add(root.unwrap()).unwrap();
    }
    let config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots);
    let config = match certificate {
        None => config.with_no_client_auth(),
        Some((chain, key)) => config.with_client_auth_cert(chain, key).unwrap(),
    };
    ClientConnection::new(Arc::new(config), ServerName::try_from("localhost").unwrap()).unwrap()
}

/// A connection inside TLS.
pub(crate) struct Raw(StreamOwned<ClientConnection, TcpStream>);

impl Raw {
    /// Before its startup packet.
    pub(crate) fn connect(appliance: &Appliance) -> Self {
        Self::over(tls(appliance), before_tls(appliance))
    }

    /// Completes a handshake.
    pub(crate) fn over(tls: ClientConnection, stream: TcpStream) -> Self {
        Self::try_over(tls, stream).unwrap()
    }

    fn try_over(mut tls: ClientConnection, mut stream: TcpStream) -> std::io::Result<Self> {
        while tls.is_handshaking() {
            tls.complete_io(&mut stream)?;
        }
        Ok(Self(StreamOwned::new(tls, stream)))
    }

    /// As `connect`, where the gateway may just be killed. `None`: it is.
    pub(crate) fn connect_if_served(appliance: &Appliance) -> Option<Self> {
        let port = appliance.var("WEIR_PG_PORT").parse().unwrap();
        let mut stream = TcpStream::connect((appliance.var("WEIR_PG_HOST"), port)).ok()?;
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        stream.write_all(&packet(SSL_REQUEST, b"")).ok()?;
        let mut answer = [0];
        stream.read_exact(&mut answer).ok()?;
        Self::try_over(tls(appliance), stream).ok()
    }

    /// An established session of one of the sample's identities.
    pub(crate) fn session(appliance: &Appliance, who: Who) -> Self {
        let token = appliance.token(who);
        Self::log_in(appliance, appliance.var("WEIR_PG_DATABASE"), who.role(), &token).unwrap()
    }

    /// Logs in, up to ReadyForQuery.
    pub(crate) fn log_in(
        appliance: &Appliance,
        database: &str,
        role: &str,
        token: &str,
    ) -> Result<Self, Said> {
        let mut raw = Self::connect(appliance);
        raw.send(&startup(role, database));
        match raw.next().unwrap() {
            (b'R', body) => assert_eq!(body, 3u32.to_be_bytes(), "asks for the token"),
            refusal => return Err(Said::of(&refusal)),
        }
        raw.send(&message(b'p', &[token.as_bytes(), b"\0"].concat()));
        loop {
            match raw.next().expect("an answer to the token") {
                (b'Z', _) => return Ok(raw),
                refusal @ (b'E', _) => {
                    assert_eq!(raw.next(), None, "a refused login is the end");
                    return Err(Said::of(&refusal));
                }
                _ => {}
            }
        }
    }

    /// The peer may have closed already, which the next answer then tells.
    pub(crate) fn send(&mut self, bytes: &[u8]) {
        let _closed = self.0.write_all(bytes).and_then(|()| self.0.flush());
    }

    /// Sends every byte of `bytes` in a TLS record of its own, and every byte of those by itself.
    pub(crate) fn drip(&mut self, bytes: &[u8], pause: std::time::Duration) {
        for byte in bytes {
            let mut record = Vec::new();
            self.0.conn.writer().write_all(&[*byte]).unwrap();
            while self.0.conn.wants_write() {
                self.0.conn.write_tls(&mut record).unwrap();
            }
            for byte in record {
                self.0.sock.write_all(&[byte]).unwrap();
                std::thread::sleep(pause);
            }
        }
    }

    /// `None`: the gateway closed the connection.
    pub(crate) fn next(&mut self) -> Option<Message> {
        let mut head = [0; 5];
        self.fill(&mut head)?;
        let [kind, length @ ..] = head;
        let mut body = vec![0; u32::from_be_bytes(length) as usize - 4];
        self.fill(&mut body)?;
        Some((kind, body))
    }

    /// `None`: nothing came in that time. What follows the first byte is waited for.
    pub(crate) fn next_within(&mut self, patience: std::time::Duration) -> Option<Message> {
        self.0.sock.set_read_timeout(Some(patience)).unwrap();
        let mut kind = [0];
        let came = self.0.read_exact(&mut kind);
        self.0.sock.set_read_timeout(Some(PATIENCE)).unwrap();
        came.ok()?;
        let mut length = [0; 4];
        self.fill(&mut length)?;
        let mut body = vec![0; u32::from_be_bytes(length) as usize - 4];
        self.fill(&mut body)?;
        Some((kind[0], body))
    }

    fn fill(&mut self, buffer: &mut [u8]) -> Option<()> {
        match self.0.read_exact(buffer) {
            Ok(()) => Some(()),
            Err(error) if matches!(error.kind(), ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset) => {
                None
            }
            Err(error) => panic!("neither an answer nor an end: {error}"),
        }
    }

    /// One line of a protocol that has lines.
    pub(crate) fn line(&mut self) -> String {
        let mut line = Vec::new();
        let mut byte = [0];
        while !line.ends_with(b"\n") && self.fill(&mut byte).is_some() {
            line.push(byte[0]);
        }
        String::from_utf8(line).unwrap()
    }

    /// The last words: one error, then the end.
    pub(crate) fn end(mut self) -> Said {
        let said = Said::of(&self.next().expect("last words"));
        assert_eq!(self.next(), None, "closed behind {said:?}");
        said
    }

    /// First values of a query's rows.
    pub(crate) fn query(&mut self, sql: &str) -> Result<Vec<String>, Said> {
        self.send(&query(sql));
        self.answer()
    }

    /// The same, for a query that was sent.
    pub(crate) fn answer(&mut self) -> Result<Vec<String>, Said> {
        let mut rows = Ok(Vec::new());
        loop {
            match self.next().expect("an answer") {
                (b'Z', _) => return rows,
                error @ (b'E', _) => rows = Err(Said::of(&error)),
                (b'D', row) => {
                    let length = u32::from_be_bytes(*row[2..].first_chunk().unwrap()) as usize;
                    let value = String::from_utf8(row[6..6 + length].to_vec()).unwrap();
                    rows.as_mut().unwrap().push(value);
                }
                _ => {}
            }
        }
    }
}

/// A well-behaved session on the same core, there before anything bad happens.
pub(crate) struct Bystander(Raw);

impl Bystander {
    pub(crate) fn on(appliance: &Appliance) -> Self {
        Self(Raw::session(appliance, Who::Analyst))
    }

    pub(crate) fn assert_undisturbed(&mut self) {
        assert_eq!(self.0.query("SELECT 'here'"), Ok(vec!["here".to_owned()]));
    }
}
