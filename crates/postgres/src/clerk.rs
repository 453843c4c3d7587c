//! A conversation of the gateway's own with a server: it logs in, runs one text after another, and keeps the rows. For the
//! admin service, which makes and drops roles; no client's bytes come here.
//!
//! It opens no socket: bytes are handed in as they come, and what must be sent is handed back.

use std::sync::Arc;

use bytes::BytesMut;
use weir_wire::{UpstreamLogin, UpstreamSecret};

use crate::Error;
use crate::codec::{Fields, body, header, message, put_cstr};
use crate::login::Login;
use crate::probe::sqlstate;

/// The largest message that is read.
const MESSAGE_BYTES: usize = 1 << 20;

/// A row's values as text; `None` is NULL.
pub type TextRow = Vec<Option<String>>;

/// How far a text or the login has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClerkStep {
    NeedMore,
    /// The server waits for the next text.
    Ready,
}

/// What the server said instead of doing as it was told. The text is for operators.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text} (SQLSTATE {sqlstate})")]
pub struct ServerSaid {
    pub sqlstate: String,
    pub text: String,
}

/// How to log in.
pub struct ClerkLogin {
    pub user: String,
    pub database: String,
    pub secret: UpstreamSecret,
    /// The way there is TLS, its certificate verified.
    pub encrypted: bool,
    /// A fresh nonce.
    pub random: [u8; 18],
}

/// One conversation.
pub struct Clerk {
    /// `None`: it is over, successfully.
    login: Option<Login>,
    rows: Vec<TextRow>,
    refused: Option<ServerSaid>,
}

impl Clerk {
    /// A conversation and its first bytes, to be sent inside TLS where the upstream has it.
    #[must_use]
    pub fn start(login: ClerkLogin) -> (Self, Vec<u8>) {
        let mut out = BytesMut::new();
        let upstream = UpstreamLogin {
            user: login.user,
            database: login.database,
            secret: Arc::new(login.secret),
            encrypted: login.encrypted,
            channel_binding: None,
            binding_required: false,
            random: login.random,
            cancel: (0, 0),
            session_tag: String::new(),
        };
        let settings =
            [("application_name", "weir-admin"), ("client_encoding", "UTF8"), ("search_path", "pg_catalog")];
        let login = Login::start(upstream, &settings, &mut out);
        (Self { login: Some(login), rows: Vec::new(), refused: None }, out.to_vec())
    }

    /// The bytes of a text. Several statements in one run as one transaction.
    #[must_use]
    pub fn ask(sql: &str) -> Vec<u8> {
        let mut out = BytesMut::new();
        message(&mut out, b'Q', |out| put_cstr(out, sql.as_bytes()));
        out.to_vec()
    }

    /// Looks at everything read and not used so far, and appends to `send` what must be sent. The answer says how many
    /// bytes were used.
    ///
    /// # Errors
    /// The upstream's: it broke the protocol, refused the login, or did not prove itself.
    pub fn read(&mut self, input: &[u8], send: &mut Vec<u8>) -> Result<(usize, ClerkStep), Error> {
        let mut used = 0;
        loop {
            let rest = input.get(used..).unwrap_or_default();
            let Some(header) = header(rest).map_err(|_| Error::UpstreamLength)? else {
                return Ok((used, ClerkStep::NeedMore));
            };
            if header.total > MESSAGE_BYTES {
                return Err(Error::UpstreamLength);
            }
            let Some(body) = body(rest, header.total) else { return Ok((used, ClerkStep::NeedMore)) };
            used += header.total;
            match (header.tag, &mut self.login) {
                (b'R', Some(login)) => {
                    let mut out = BytesMut::new();
                    if login.authentication(body, &mut out)? {
                        self.login = None;
                    }
                    send.extend_from_slice(&out);
                }
                (b'E', Some(_)) => return Err(Error::UpstreamRefused(sqlstate(body))),
                (b'N', _) | (b'S' | b'K' | b'T' | b'C' | b'I', None) => {}
                (b'E', None) => self.refused = Some(said(body)),
                (b'D', None) => self.rows.push(row(body)?),
                (b'Z', None) => return Ok((used, ClerkStep::Ready)),
                (tag, _) => return Err(Error::UpstreamUnknown(tag)),
            }
        }
    }

    /// What the last text came to.
    ///
    /// # Errors
    /// The server refused it, and nothing of it was done.
    pub fn outcome(&mut self) -> Result<Vec<TextRow>, ServerSaid> {
        let rows = std::mem::take(&mut self.rows);
        self.refused.take().map_or(Ok(rows), Err)
    }
}

fn row(body: &[u8]) -> Result<TextRow, Error> {
    const MALFORMED: Error = Error::UpstreamMalformed("DataRow");
    let mut fields = Fields(body);
    let count = fields.count().ok_or(MALFORMED)?;
    let text = |value: &[u8]| String::from_utf8_lossy(value).into_owned();
    (0..count).map(|_| fields.value().map(|value| value.map(text)).ok_or(MALFORMED)).collect()
}

fn said(body: &[u8]) -> ServerSaid {
    let mut fields = Fields(body);
    let mut text = String::new();
    while let Some(field) = fields.u8().filter(|field| *field != 0) {
        let Some(value) = fields.cstr() else { break };
        if field == b'M' {
            text = String::from_utf8_lossy(value).into_owned();
        }
    }
    ServerSaid { sqlstate: String::from_utf8_lossy(&sqlstate(body)).into_owned(), text }
}

/// A name as SQL writes one that nothing in it ends early.
#[must_use]
pub fn quoted_name(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// A text as SQL writes it, read alike whatever `standard_conforming_strings` is: one with a backslash is an escape string.
#[must_use]
pub fn quoted_text(text: &str) -> String {
    let doubled = text.replace('\'', "''");
    if doubled.contains('\\') {
        format!("E'{}'", doubled.replace('\\', "\\\\"))
    } else {
        format!("'{doubled}'")
    }
}

#[cfg(test)]
mod tests {
    use bytes::BufMut as _;

    use super::*;

    fn login(secret: UpstreamSecret) -> ClerkLogin {
        ClerkLogin {
            user: "minter".into(),
            database: "clinic".into(),
            secret,
            encrypted: true,
            random: [0; 18],
        }
    }

    fn packet(tag: u8, body: &[u8]) -> Vec<u8> {
        let mut out = BytesMut::new();
        message(&mut out, tag, |out| out.put_slice(body));
        out.to_vec()
    }

    #[test]
    fn rows_and_refusals_come_out_of_any_cut() {
        let row = b"\0\x02\0\0\0\x01a\xff\xff\xff\xff";
        let answer = [
            packet(b'R', &0u32.to_be_bytes()),
            packet(b'S', b"server_version\x0015\0"),
            packet(b'K', &[0; 8]),
            packet(b'Z', b"I"),
            packet(b'T', b"\0\0"),
            packet(b'D', row),
            packet(b'C', b"SELECT 1\0"),
            packet(b'Z', b"I"),
            packet(b'E', b"SERROR\0C42501\0Mpermission denied\0\0"),
            packet(b'Z', b"I"),
        ]
        .concat();
        for piece in [1, 3, 1_000] {
            let (mut clerk, first) = Clerk::start(login(UpstreamSecret::None));
            assert!(first.windows(6).any(|window| window == b"minter"));
            let (mut held, mut send, mut outcomes) = (Vec::new(), Vec::new(), Vec::new());
            for piece in answer.chunks(piece) {
                held.extend_from_slice(piece);
                loop {
                    let (used, step) = clerk.read(&held, &mut send).unwrap();
                    held.drain(..used);
                    if step == ClerkStep::NeedMore {
                        break;
                    }
                    outcomes.push(clerk.outcome());
                }
            }
            let refused = ServerSaid { sqlstate: "42501".into(), text: "permission denied".into() };
            let rows = vec![vec![Some("a".to_owned()), None]];
            assert_eq!(outcomes, [Ok(Vec::new()), Ok(rows), Err(refused)], "pieces of {piece}");
            assert!(send.is_empty());
        }
    }

    #[test]
    fn a_server_that_refuses_or_speaks_out_of_turn_ends_it() {
        let read = |input: &[u8]| {
            Clerk::start(login(UpstreamSecret::None)).0.read(input, &mut Vec::new()).map(|(_, step)| step)
        };
        let refusal = packet(b'E', b"SFATAL\0C28P01\0Mno\0\0");
        assert_eq!(read(&refusal), Err(Error::UpstreamRefused(*b"28P01")));
        assert_eq!(read(&packet(b'Z', b"I")), Err(Error::UpstreamUnknown(b'Z')));
        assert_eq!(read(b"D\x7f\xff\xff\xff"), Err(Error::UpstreamLength));
        assert_eq!(read(&packet(b'R', &3u32.to_be_bytes())), Err(Error::StaleCredential));
    }

    #[test]
    fn names_and_texts_hold_whatever_is_in_them() {
        assert_eq!(quoted_name("a\"; DROP ROLE b; --"), "\"a\"\"; DROP ROLE b; --\"");
        assert_eq!(quoted_text("it's"), "'it''s'");
        assert_eq!(quoted_text("a\\'b"), "E'a\\\\''b'");
    }
}
