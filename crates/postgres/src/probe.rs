//! Asks a server how a user must log in, so that the admin service can prepare the right credential once.
//!
//! It sends no secret: at most a SCRAM nonce. The connection is closed afterwards; TLS is below it.

use bytes::{BufMut, BytesMut};

use crate::Error;
use crate::codec::{Fields, body, header, put_cstr, sized};
use crate::login::{offers_plus, put_initial};
use crate::scram::{Binding, Challenge, Client};

/// How the server wants this user to log in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wants {
    /// The password itself: prepare `UpstreamSecret::Plain`, and only for an upstream with verified TLS.
    Cleartext,
    /// Prepare `UpstreamSecret::Md5` with [`md5_secret`].
    Md5,
    /// Nothing: `UpstreamSecret::None`.
    Nothing,
    /// Prepare `UpstreamSecret::Scram` with [`crate::scram::derive`].
    Scram { salt: Vec<u8>, iterations: u32 },
}

/// What to do next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProbeStep {
    Done(Wants),
    NeedMore,
    /// Drop what was read, send this, read on.
    Send(Vec<u8>),
}

/// One probe.
#[derive(Clone, Debug)]
pub struct Probe {
    random: [u8; 18],
    asked: bool,
}

/// The largest answer that is read.
const ANSWER_BYTES: usize = 8 * 1024;

impl Probe {
    /// `random` is a fresh nonce.
    pub const fn new(random: [u8; 18]) -> Self {
        Self { random, asked: false }
    }

    /// The first bytes to send, inside TLS where the upstream has it.
    pub fn start(user: &str, database: &str) -> Vec<u8> {
        let mut out = BytesMut::new();
        sized(&mut out, |out| {
            out.put_u32(0x0003_0000);
            for text in ["user", user, "database", database] {
                put_cstr(out, text.as_bytes());
            }
            out.put_u8(0);
        });
        out.to_vec()
    }

    /// Looks at everything read since the last send.
    ///
    /// # Errors
    /// The upstream's fault: it refused, or speaks a method that the gateway does not.
    pub fn read(&mut self, input: &[u8]) -> Result<ProbeStep, Error> {
        let Some(header) = header(input).map_err(|_| Error::UpstreamLength)? else {
            return Ok(ProbeStep::NeedMore);
        };
        if header.total > ANSWER_BYTES {
            return Err(Error::UpstreamLength);
        }
        let Some(body) = body(input, header.total) else { return Ok(ProbeStep::NeedMore) };
        match header.tag {
            b'E' => return Err(Error::UpstreamRefused(sqlstate(body))),
            b'R' => {}
            tag => return Err(Error::UpstreamUnknown(tag)),
        }
        let mut fields = Fields(body);
        let wants = match fields.u32().ok_or(Error::UpstreamMalformed("authentication"))? {
            0 => Wants::Nothing,
            3 => Wants::Cleartext,
            5 => Wants::Md5,
            10 if !self.asked => {
                offers_plus(fields)?;
                self.asked = true;
                let mut out = BytesMut::new();
                put_initial(&mut out, false, &Client::new(&self.random, Binding::None).first());
                return Ok(ProbeStep::Send(out.to_vec()));
            }
            11 if self.asked => {
                let challenge = Challenge::parse(fields.0).ok_or(Error::UpstreamMalformed("SASL"))?;
                Wants::Scram { salt: challenge.salt, iterations: challenge.iterations }
            }
            _ => return Err(Error::UpstreamMethod),
        };
        Ok(ProbeStep::Done(wants))
    }
}

/// The secret of `UpstreamSecret::Md5`: what the server's own verifier is made of.
pub fn md5_secret(password: &str, user: &str) -> [u8; 32] {
    crate::md5::hex(&[password.as_bytes(), user.as_bytes()])
}

/// The code of an ErrorResponse's body; a server that sends none gets the code for "no code".
pub(crate) fn sqlstate(body: &[u8]) -> [u8; 5] {
    let mut fields = Fields(body);
    while let Some(field) = fields.u8().filter(|field| *field != 0) {
        let Some(text) = fields.cstr() else { break };
        if field == b'C'
            && let Ok(code) = <[u8; 5]>::try_from(text)
            && code.iter().all(u8::is_ascii_alphanumeric)
        {
            return code;
        }
    }
    *b"XX000"
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::message;

    fn authentication(code: u32, rest: &[u8]) -> Vec<u8> {
        let mut out = BytesMut::new();
        message(&mut out, b'R', |out| {
            out.put_u32(code);
            out.extend_from_slice(rest);
        });
        out.to_vec()
    }

    #[test]
    fn each_method_is_told_apart() {
        for (answer, expected) in [
            (authentication(0, b""), Ok(ProbeStep::Done(Wants::Nothing))),
            (authentication(3, b""), Ok(ProbeStep::Done(Wants::Cleartext))),
            (authentication(5, b"salt"), Ok(ProbeStep::Done(Wants::Md5))),
            (authentication(7, b""), Err(Error::UpstreamMethod)),
            (authentication(10, b"OAUTHBEARER\0\0"), Err(Error::UpstreamMethod)),
            (b"E\0\0\0\x13SFATAL\0C3D000\0\0".to_vec(), Err(Error::UpstreamRefused(*b"3D000"))),
            (b"E\0\0\0\x05\0".to_vec(), Err(Error::UpstreamRefused(*b"XX000"))),
            (b"HTTP/1.1 400".to_vec(), Err(Error::UpstreamLength)),
        ] {
            assert_eq!(Probe::new([0; 18]).read(&answer), expected, "{answer:?}");
        }
    }

    #[test]
    fn salt_and_iterations_come_from_the_servers_first_sasl_message() {
        let mut probe = Probe::new([1; 18]);
        let offer = authentication(10, b"SCRAM-SHA-256-PLUS\0SCRAM-SHA-256\0\0");
        let Ok(ProbeStep::Send(initial)) = probe.read(&offer) else { panic!("no initial response") };
        assert!(initial.starts_with(b"p\0\0\0"));
        let challenge = authentication(11, b"r=abc,s=c2FsdA==,i=4096");
        let expected = Wants::Scram { salt: b"salt".to_vec(), iterations: 4096 };
        assert_eq!(probe.read(&challenge), Ok(ProbeStep::Done(expected)));
        assert_eq!(probe.read(&challenge[..7]), Ok(ProbeStep::NeedMore));
    }
}
