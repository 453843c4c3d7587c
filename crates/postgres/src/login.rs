//! Logging in upstream with the gateway's own credential, until the upstream says AuthenticationOk.
//!
//! It answers only the method its credential is for: a server that asks for another is not given anything it could
//! use, and one that asks for nothing has not proved that it knows the credential.

use bytes::{BufMut, BytesMut};
use weir_wire::{UpstreamLogin, UpstreamSecret};

use crate::codec::{Fields, message, put_cstr, sized};
use crate::scram::{self, Binding, Failure};
use crate::{Error, md5};

/// Where the exchange stands.
enum Stage {
    /// Nothing was asked yet.
    Asked,
    /// SCRAM: waiting for the challenge.
    Challenge(scram::Client),
    /// SCRAM: waiting for the server's own proof.
    Proof(scram::Client),
    /// Everything was answered; only AuthenticationOk may follow.
    Answered,
}

/// One login.
pub(crate) struct Login {
    upstream: UpstreamLogin,
    stage: Stage,
    /// The exchange under way is bound to the TLS connection.
    bound: bool,
}

impl Login {
    /// Writes the startup packet.
    pub(crate) fn start(upstream: UpstreamLogin, settings: &[(&str, &str)], out: &mut BytesMut) -> Self {
        sized(out, |out| {
            out.put_u32(0x0003_0000);
            for (name, value) in [("user", upstream.user.as_str()), ("database", upstream.database.as_str())]
            {
                put_cstr(out, name.as_bytes());
                put_cstr(out, value.as_bytes());
            }
            for (name, value) in settings {
                put_cstr(out, name.as_bytes());
                put_cstr(out, value.as_bytes());
            }
            out.put_u8(0);
        });
        Self { upstream, stage: Stage::Asked, bound: false }
    }

    pub(crate) const fn upstream(&self) -> &UpstreamLogin {
        &self.upstream
    }

    /// Answers one authentication message; true when the login is complete.
    pub(crate) fn authentication(&mut self, body: &[u8], out: &mut BytesMut) -> Result<bool, Error> {
        const MALFORMED: Error = Error::UpstreamMalformed("authentication");
        let mut fields = Fields(body);
        let code = fields.u32().ok_or(MALFORMED)?;
        let stage = std::mem::replace(&mut self.stage, Stage::Answered);
        if self.upstream.binding_required && !self.bound && code != 10 {
            // Whatever it asks for, an answer could serve whoever sits between.
            return Err(Error::UpstreamUnbound);
        }
        let secret = &*self.upstream.secret;
        self.stage = match (code, stage, secret) {
            (0, Stage::Asked, UpstreamSecret::None) | (0, Stage::Answered, _) => return Ok(true),
            (3, Stage::Asked, UpstreamSecret::Plain(password)) => {
                if !self.upstream.encrypted {
                    // In clear over TCP it would be anyone's; a Unix socket has peer or trust instead.
                    return Err(Error::StaleCredential);
                }
                message(out, b'p', |out| put_cstr(out, password));
                Stage::Answered
            }
            (5, Stage::Asked, UpstreamSecret::Md5(inner)) => {
                let salt = fields.bytes(4).ok_or(MALFORMED)?;
                let answer = md5::hex(&[inner, salt]);
                message(out, b'p', |out| {
                    out.extend_from_slice(b"md5");
                    put_cstr(out, &answer);
                });
                Stage::Answered
            }
            (10, Stage::Asked, UpstreamSecret::Scram(_)) => {
                let binding = match (&self.upstream.channel_binding, offers_plus(fields)?) {
                    (None, _) => Binding::None,
                    (Some(_), false) => Binding::Unoffered,
                    (Some(hash), true) => Binding::EndPoint(hash),
                };
                self.bound = matches!(binding, Binding::EndPoint(_));
                if self.upstream.binding_required && !self.bound {
                    return Err(Error::UpstreamUnbound);
                }
                let client = scram::Client::new(&self.upstream.random, binding);
                put_initial(out, self.bound, &client.first());
                Stage::Challenge(client)
            }
            (11, Stage::Challenge(mut client), UpstreamSecret::Scram(keys)) => {
                let answer = client.respond(keys, fields.0).map_err(blame)?;
                message(out, b'p', |out| out.extend_from_slice(&answer));
                Stage::Proof(client)
            }
            (12, Stage::Proof(mut client), _) => {
                client.finish(fields.0).map_err(blame)?;
                Stage::Answered
            }
            (0 | 3 | 5 | 10, Stage::Asked, _) => return Err(Error::StaleCredential),
            (2 | 6..=9, ..) => return Err(Error::UpstreamMethod),
            _ => return Err(Error::UpstreamState("authentication")),
        };
        Ok(false)
    }
}

const fn blame(failure: Failure) -> Error {
    match failure {
        Failure::Stale => Error::StaleCredential,
        Failure::Malformed => Error::UpstreamMalformed("SASL"),
        Failure::Unproven => Error::UpstreamUnproven,
    }
}

/// Reads the mechanisms of AuthenticationSASL; whether channel binding is among them.
pub(crate) fn offers_plus(mut mechanisms: Fields<'_>) -> Result<bool, Error> {
    let (mut plain, mut plus) = (false, false);
    loop {
        match mechanisms.cstr().ok_or(Error::UpstreamMalformed("SASL"))? {
            b"" => break,
            b"SCRAM-SHA-256" => plain = true,
            b"SCRAM-SHA-256-PLUS" => plus = true,
            _ => {}
        }
    }
    if plain || plus { Ok(plus) } else { Err(Error::UpstreamMethod) }
}

/// SASLInitialResponse.
pub(crate) fn put_initial(out: &mut BytesMut, plus: bool, first: &[u8]) {
    message(out, b'p', |out| {
        put_cstr(out, if plus { b"SCRAM-SHA-256-PLUS" } else { b"SCRAM-SHA-256" });
        out.put_i32(i32::try_from(first.len()).unwrap_or(i32::MAX));
        out.extend_from_slice(first);
    });
}
