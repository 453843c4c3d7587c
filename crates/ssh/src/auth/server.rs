//! Who is calling: publickey with a user certificate, or a token as password or by keyboard-interactive.
//!
//! Every request stands alone: whatever an earlier one began, for this user or another, is forgotten when the next comes, and nothing
//! counts towards a success but the request that had it. Failures are answered a fixed time after their request, alike whatever was wrong.
//! A plain public key is refused: keys without a date do not identify machines here.

use std::net::IpAddr;
use std::sync::Arc;

use bytes::{BufMut, BytesMut};

use super::request::{Method, PublicKeyRequest, Request, public_key, signed_text};
use super::{SERVICE, UserName};
use crate::algorithms::SignatureAlgorithm;
use crate::certificate::{Certificate, CertificateKind, Revocations, Terms};
use crate::encoding::{Reader, put_string};
use crate::{Error, Limits, PublicKey, Transport, message};

/// OpenSSH's client cuts passwords and answers here: a token of this length is most likely half a token.
const OPENSSH_CUT_BYTES: usize = 1023;
const CUT: &str = "The token arrived with exactly 1023 bytes: OpenSSH's ssh cuts longer ones. Use an SSH certificate \
                   (ssh -i KEY -o CertificateFile=CERT), or a client that sends the token whole.\r\n";
const PROMPT: &[u8] = b"Token: ";

/// How callers may prove themselves; shared by a listener's connections.
#[derive(Clone)]
pub struct AuthSettings {
    /// Whose user certificates count. Empty: none do.
    pub authorities: Vec<PublicKey>,
    pub revocations: Option<Arc<dyn Revocations>>,
    /// Tokens as passwords and by keyboard-interactive.
    pub tokens: bool,
    pub limits: Limits,
}

/// What the driver is asked: may this caller in?
#[derive(Debug)]
pub struct Ask<'a> {
    pub user: &'a UserName,
    pub evidence: Evidence<'a>,
}

pub enum Evidence<'a> {
    /// A bearer token, white space around it removed. Nothing of it is checked; it is the driver's to wipe.
    Token(&'a [u8]),
    /// Everything about it is checked, its holder's signature too.
    Certificate(&'a Certificate),
}

impl std::fmt::Debug for Evidence<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Token(_) => f.write_str("Token(..)"),
            Self::Certificate(certificate) => f.debug_tuple("Certificate").field(certificate).finish(),
        }
    }
}

/// The driver's answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer<'a> {
    Accept,
    /// With a text for the caller, if there is one that it may see.
    Refuse(Option<&'a str>),
}

enum Stage {
    /// The service is not asked for yet.
    Service,
    Open,
    /// A token was prompted for.
    Prompted {
        user: UserName,
    },
    /// The driver is asked. Since when (ms).
    Asked {
        since_ms: u64,
    },
    /// A failure that is told at this time (ms).
    Failing {
        at_ms: u64,
    },
    Done,
}

/// One connection's authentication, from SERVICE_REQUEST to USERAUTH_SUCCESS.
pub struct ServerAuth {
    settings: Arc<AuthSettings>,
    source: Option<IpAddr>,
    stage: Stage,
    /// Who the last request was for.
    user: Option<UserName>,
    certificate: Option<Certificate>,
    failures: u32,
    none_asked: bool,
    refusal: Option<Error>,
}

impl ServerAuth {
    /// `source` is where the caller connects from.
    #[must_use]
    pub const fn new(settings: Arc<AuthSettings>, source: Option<IpAddr>) -> Self {
        Self {
            settings,
            source,
            stage: Stage::Service,
            user: None,
            certificate: None,
            failures: 0,
            none_asked: false,
            refusal: None,
        }
    }

    /// Feed no message now: the driver's answer or a failure's time is awaited.
    #[must_use]
    pub const fn is_waiting(&self) -> bool {
        matches!(self.stage, Stage::Asked { .. } | Stage::Failing { .. })
    }

    #[must_use]
    pub const fn is_done(&self) -> bool {
        matches!(self.stage, Stage::Done)
    }

    /// Whom the last request was for; who came in, once it is done.
    #[must_use]
    pub const fn user(&self) -> Option<&UserName> {
        self.user.as_ref()
    }

    /// What the caller came in by, if by a certificate.
    #[must_use]
    pub const fn certificate(&self) -> Option<&Certificate> {
        self.certificate.as_ref()
    }

    /// Why the last request was refused here: for the log, once.
    pub const fn take_refusal(&mut self) -> Option<Error> {
        self.refusal.take()
    }

    /// When [`ServerAuth::tick`] has something to do.
    #[must_use]
    pub const fn deadline_ms(&self) -> Option<u64> {
        match self.stage {
            Stage::Failing { at_ms } => Some(at_ms),
            Stage::Service | Stage::Open | Stage::Prompted { .. } | Stage::Asked { .. } | Stage::Done => None,
        }
    }

    /// Takes a message of the authentication. `Some`: answer by [`ServerAuth::answer`].
    ///
    /// # Errors
    /// The caller broke the protocol, or it was the last attempt.
    pub fn message<'a>(
        &'a mut self,
        payload: &'a [u8],
        transport: &mut Transport,
        now_ms: u64,
        out: &mut BytesMut,
    ) -> Result<Option<Ask<'a>>, Error> {
        let number = payload.first().copied().unwrap_or_default();
        match (&self.stage, number) {
            (Stage::Service, message::SERVICE_REQUEST) => {
                let mut reader = Reader::new("SERVICE_REQUEST", payload.get(1..).unwrap_or_default());
                if reader.string()? != SERVICE {
                    return Err(Error::Protocol("a service that is not there"));
                }
                let mut accept = vec![message::SERVICE_ACCEPT];
                put_string(&mut accept, SERVICE);
                self.stage = Stage::Open;
                transport.send(&accept, &[], out)?;
                Ok(None)
            }
            (Stage::Open | Stage::Prompted { .. }, message::USERAUTH_REQUEST) => {
                self.stage = Stage::Open;
                self.certificate = None;
                self.request(payload, transport, now_ms, out)
            }
            (Stage::Prompted { .. }, message::USERAUTH_INFO_RESPONSE) => {
                let Stage::Prompted { user } = std::mem::replace(&mut self.stage, Stage::Open) else {
                    return Ok(None);
                };
                let mut reader = Reader::new("USERAUTH_INFO_RESPONSE", payload.get(1..).unwrap_or_default());
                if reader.u32()? != 1 {
                    return Err(reader.malformed());
                }
                let token = reader.string()?;
                reader.end()?;
                self.user = Some(user);
                self.token(token, transport, now_ms, out)
            }
            // RFC 4252, 5.3: requests behind the one that succeeded are ignored.
            (Stage::Done, message::USERAUTH_REQUEST) => Ok(None),
            (Stage::Asked { .. } | Stage::Failing { .. }, _) => {
                Err(Error::Contract("a message was fed while an answer was awaited"))
            }
            _ => Err(Error::Protocol("a message out of place during authentication")),
        }
    }

    /// The driver's answer to what [`ServerAuth::message`] asked.
    ///
    /// # Errors
    /// Nothing was asked, or it was the last attempt.
    pub fn answer(
        &mut self,
        answer: Answer<'_>,
        transport: &mut Transport,
        now_ms: u64,
        out: &mut BytesMut,
    ) -> Result<(), Error> {
        let Stage::Asked { since_ms } = self.stage else {
            return Err(Error::Contract("an answer to nothing"));
        };
        match answer {
            Answer::Accept => {
                self.stage = Stage::Done;
                transport.send(&[message::USERAUTH_SUCCESS], &[], out)?;
                transport.authenticated();
                Ok(())
            }
            Answer::Refuse(text) => {
                self.certificate = None;
                if let Some(text) = text {
                    banner(text, transport, out)?;
                }
                self.fail(since_ms);
                self.tick(transport, now_ms, out)
            }
        }
    }

    /// Time passes: a failure is told when its time has come.
    ///
    /// # Errors
    /// It was the last attempt.
    pub fn tick(&mut self, transport: &mut Transport, now_ms: u64, out: &mut BytesMut) -> Result<(), Error> {
        if self.deadline_ms().is_some_and(|at_ms| now_ms >= at_ms) {
            self.stage = Stage::Open;
            self.tell_failure(transport, out)?;
        }
        Ok(())
    }

    fn request<'a>(
        &'a mut self,
        payload: &'a [u8],
        transport: &mut Transport,
        now_ms: u64,
        out: &mut BytesMut,
    ) -> Result<Option<Ask<'a>>, Error> {
        let request = Request::read(payload)?;
        self.user = UserName::read(request.user);
        let tokens = self.settings.tokens;
        match request.method {
            // How clients ask what there is.
            Method::None if !self.none_asked => {
                self.none_asked = true;
                self.write_failure(transport, out)?;
                Ok(None)
            }
            Method::Password(password) if tokens => self.token(password, transport, now_ms, out),
            Method::KeyboardInteractive if tokens => {
                let Some(user) = self.user.clone() else {
                    self.refuse(Error::Protocol("a user that is no role+connection"), now_ms);
                    return Ok(None);
                };
                self.stage = Stage::Prompted { user };
                let mut prompt = vec![message::USERAUTH_60];
                for _ in 0..3 {
                    put_string(&mut prompt, b"");
                }
                prompt.put_u32(1);
                put_string(&mut prompt, PROMPT);
                prompt.put_u8(0);
                transport.send(&prompt, &[], out)?;
                Ok(None)
            }
            Method::PublicKey(key) => self.public_key(request.user, &key, transport, now_ms, out),
            Method::None | Method::Password(_) | Method::KeyboardInteractive | Method::Other => {
                self.refuse(Error::Protocol("a method that is not offered"), now_ms);
                Ok(None)
            }
        }
    }

    fn token<'a>(
        &'a mut self,
        token: &'a [u8],
        transport: &mut Transport,
        now_ms: u64,
        out: &mut BytesMut,
    ) -> Result<Option<Ask<'a>>, Error> {
        let trimmed = token.trim_ascii();
        let refused = if self.user.is_none() {
            Some(Error::Protocol("a user that is no role+connection"))
        } else if token.len() == OPENSSH_CUT_BYTES {
            banner(CUT, transport, out)?;
            Some(Error::Limit("a token of exactly 1023 bytes: OpenSSH cut it"))
        } else if trimmed.is_empty() {
            Some(Error::Protocol("an empty token"))
        } else if trimmed.len() > self.settings.limits.token_bytes {
            Some(Error::Limit("a token"))
        } else {
            None
        };
        if let Some(refused) = refused {
            self.refuse(refused, now_ms);
            return Ok(None);
        }
        self.stage = Stage::Asked { since_ms: now_ms };
        Ok(self.user.as_ref().map(|user| Ask { user, evidence: Evidence::Token(trimmed) }))
    }

    fn public_key(
        &mut self,
        user: &[u8],
        key: &PublicKeyRequest<'_>,
        transport: &mut Transport,
        now_ms: u64,
        out: &mut BytesMut,
    ) -> Result<Option<Ask<'_>>, Error> {
        let accepted = self.certificate_of(user, key, transport, now_ms);
        match (accepted, key.signature) {
            (Ok(_), None) => {
                let mut fine = vec![message::USERAUTH_60];
                put_string(&mut fine, key.algorithm);
                put_string(&mut fine, key.blob);
                transport.send(&fine, &[], out)?;
                Ok(None)
            }
            (Ok(certificate), Some(_)) => {
                self.stage = Stage::Asked { since_ms: now_ms };
                let certificate = self.certificate.insert(certificate);
                let ask = |user| Ask { user, evidence: Evidence::Certificate(certificate) };
                Ok(self.user.as_ref().map(ask))
            }
            // No secret was tried, and clients offer all the keys they have: told at once.
            (Err(why), None) => {
                self.refusal = Some(why);
                self.tell_failure(transport, out)?;
                Ok(None)
            }
            (Err(why), Some(_)) => {
                self.refuse(why, now_ms);
                Ok(None)
            }
        }
    }

    /// Everything about it but the driver's opinion; with a signature, that too.
    fn certificate_of(
        &self,
        user: &[u8],
        key: &PublicKeyRequest<'_>,
        transport: &Transport,
        now_ms: u64,
    ) -> Result<Certificate, Error> {
        let by =
            SignatureAlgorithm::ALL.into_iter().find(|it| it.certified_name().as_bytes() == key.algorithm);
        let by = by.ok_or(Error::Protocol(
            "a public key that is no certificate, or an algorithm that is not taken",
        ))?;
        let name = self.user.as_ref().ok_or(Error::Protocol("a user that is no role+connection"))?;
        let names = [name.whole(), name.connection()];
        let terms = Terms {
            kind: CertificateKind::User,
            authorities: &self.settings.authorities,
            now_s: now_ms / 1000,
            names: &names,
            source: self.source,
            revocations: self.settings.revocations.as_deref(),
        };
        let certificate = Certificate::accept(key.blob, &terms)?;
        if !certificate.key.algorithms().contains(&by) {
            return Err(Error::Protocol("a certificate for another kind of key than was named"));
        }
        if let Some(signature) = key.signature {
            let session_id = transport.session_id().ok_or(Error::Contract("no session yet"))?;
            let request = public_key(user, key.algorithm, key.blob, true);
            certificate.key.verify(by, &signed_text(session_id, &request), signature)?;
        }
        Ok(certificate)
    }

    fn refuse(&mut self, why: Error, now_ms: u64) {
        self.refusal = Some(why);
        self.fail(now_ms);
    }

    fn fail(&mut self, since_ms: u64) {
        self.stage = Stage::Failing { at_ms: since_ms.saturating_add(self.settings.limits.failure_delay_ms) };
    }

    fn tell_failure(&mut self, transport: &mut Transport, out: &mut BytesMut) -> Result<(), Error> {
        self.failures += 1;
        if self.failures >= self.settings.limits.auth_attempts {
            return Err(Error::TooManyAttempts);
        }
        self.write_failure(transport, out)
    }

    fn write_failure(&self, transport: &mut Transport, out: &mut BytesMut) -> Result<(), Error> {
        let keys = !self.settings.authorities.is_empty();
        let methods: &[u8] = match (keys, self.settings.tokens) {
            (true, true) => b"publickey,password,keyboard-interactive",
            (true, false) => b"publickey",
            (false, true) => b"password,keyboard-interactive",
            (false, false) => b"",
        };
        let mut failure = vec![message::USERAUTH_FAILURE];
        put_string(&mut failure, methods);
        failure.put_u8(0);
        transport.send(&failure, &[], out)
    }
}

fn banner(text: &str, transport: &mut Transport, out: &mut BytesMut) -> Result<(), Error> {
    let mut banner = vec![message::USERAUTH_BANNER];
    put_string(&mut banner, text.as_bytes());
    put_string(&mut banner, b"");
    transport.send(&banner, &[], out)
}
