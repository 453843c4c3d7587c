//! The gateway's own login upstream: one credential, tried once, and what the server says to it.

use std::sync::Arc;

use bytes::{BufMut, BytesMut};
use zeroize::Zeroizing;

use super::request::{public_key, signed_text};
use super::{CONNECTION, SERVICE};
use crate::algorithms::SignatureAlgorithm;
use crate::config::certificate_blob;
use crate::encoding::{Reader, put_string};
use crate::error::cleaned;
use crate::{Error, SigningKey, Transport, message};

const MOST_BANNERS: u32 = 32;

/// What the gateway proves itself by. Never printed.
pub enum Credential {
    Key(Arc<SigningKey>),
    /// A key with the blob of its user certificate.
    Certificate(Arc<SigningKey>, Vec<u8>),
    /// Only ever sent once the server has proved itself by a trusted host key.
    Password(Zeroizing<Vec<u8>>),
}

impl Credential {
    /// With the line of a `-cert.pub` file.
    ///
    /// # Errors
    /// The line is no certificate, or certifies another key.
    pub fn certified(key: Arc<SigningKey>, line: &str) -> Result<Self, Error> {
        let blob = certificate_blob(&key, line)?;
        Ok(Self::Certificate(key, blob))
    }
}

impl std::fmt::Debug for Credential {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Key(_) => "Key(..)",
            Self::Certificate(..) => "Certificate(..)",
            Self::Password(_) => "Password(..)",
        })
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    Service,
    Tried,
    Done,
}

/// One connection's login, from SERVICE_REQUEST to USERAUTH_SUCCESS.
pub struct ClientAuth {
    user: String,
    credential: Credential,
    stage: Stage,
    banners: u32,
}

impl ClientAuth {
    /// Asks for the service. To be called after [`crate::Event::Established`].
    ///
    /// # Errors
    /// As [`Transport::send`].
    pub fn begin(
        user: String,
        credential: Credential,
        transport: &mut Transport,
        out: &mut BytesMut,
    ) -> Result<Self, Error> {
        let mut request = vec![message::SERVICE_REQUEST];
        put_string(&mut request, SERVICE);
        transport.send(&request, &[], out)?;
        Ok(Self { user, credential, stage: Stage::Service, banners: 0 })
    }

    #[must_use]
    pub fn is_done(&self) -> bool {
        self.stage == Stage::Done
    }

    /// Takes a message of the authentication.
    ///
    /// # Errors
    /// The server refused the login or broke the protocol.
    pub fn message(
        &mut self,
        payload: &[u8],
        transport: &mut Transport,
        out: &mut BytesMut,
    ) -> Result<(), Error> {
        match (self.stage, payload.first().copied().unwrap_or_default()) {
            (Stage::Service, message::SERVICE_ACCEPT) => {
                self.stage = Stage::Tried;
                self.try_it(transport, out)
            }
            (Stage::Tried, message::USERAUTH_SUCCESS) => {
                self.stage = Stage::Done;
                transport.authenticated();
                Ok(())
            }
            (Stage::Tried, message::USERAUTH_FAILURE) => {
                let mut reader = Reader::new("USERAUTH_FAILURE", payload.get(1..).unwrap_or_default());
                Err(Error::LoginRefused { methods: cleaned(reader.string()?) })
            }
            (Stage::Tried, message::USERAUTH_60) => Err(Error::LoginRefused {
                methods: "this password no longer: it wants it changed".to_owned(),
            }),
            (Stage::Service | Stage::Tried, message::USERAUTH_BANNER) => {
                self.banners += 1;
                if self.banners > MOST_BANNERS { Err(Error::Limit("banners")) } else { Ok(()) }
            }
            _ => Err(Error::Protocol("a message out of place during authentication")),
        }
    }

    fn try_it(&self, transport: &mut Transport, out: &mut BytesMut) -> Result<(), Error> {
        let (key, certificate) = match &self.credential {
            Credential::Key(key) => (key, None),
            Credential::Certificate(key, blob) => (key, Some(blob)),
            Credential::Password(password) => {
                let mut request = Zeroizing::new(Vec::with_capacity(password.len() + self.user.len() + 64));
                request.put_u8(message::USERAUTH_REQUEST);
                put_string(&mut *request, self.user.as_bytes());
                put_string(&mut *request, CONNECTION);
                put_string(&mut *request, b"password");
                request.put_u8(0);
                put_string(&mut *request, password);
                return transport.send(&request, &[], out);
            }
        };
        let by = chosen(key, transport.signature_algorithms());
        let (algorithm, blob) =
            certificate.map_or((by.name(), key.public().blob()), |blob| (by.certified_name(), blob));
        let mut request = public_key(self.user.as_bytes(), algorithm.as_bytes(), blob, true);
        let session_id = transport.session_id().ok_or(Error::Contract("no session yet"))?;
        let signature = key.sign(by, &signed_text(session_id, &request))?;
        put_string(&mut request, &signature);
        transport.send(&request, &[], out)
    }
}

/// The key's best that the server can verify; where it did not say, the key's best.
fn chosen(key: &SigningKey, known: &[SignatureAlgorithm]) -> SignatureAlgorithm {
    let ours = key.public().algorithms();
    let best = ours.iter().find(|it| known.contains(it)).or(ours.first());
    best.copied().unwrap_or(SignatureAlgorithm::Ed25519)
}
