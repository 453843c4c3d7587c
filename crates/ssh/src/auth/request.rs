//! USERAUTH_REQUEST: its fields, and the text that a public key's signature is over.

use bytes::BufMut;

use super::CONNECTION;
use crate::encoding::{Reader, put_string};
use crate::{Error, message};

pub(super) struct Request<'a> {
    pub user: &'a [u8],
    pub method: Method<'a>,
}

pub(super) enum Method<'a> {
    None,
    Password(&'a [u8]),
    KeyboardInteractive,
    PublicKey(PublicKeyRequest<'a>),
    /// A method that is not spoken, or a password's change.
    Other,
}

pub(super) struct PublicKeyRequest<'a> {
    pub algorithm: &'a [u8],
    pub blob: &'a [u8],
    /// `None`: would it do?
    pub signature: Option<&'a [u8]>,
}

impl<'a> Request<'a> {
    /// # Errors
    /// Malformed, or for another service than the one there is.
    pub(super) fn read(payload: &'a [u8]) -> Result<Self, Error> {
        let mut reader = Reader::new("USERAUTH_REQUEST", payload.get(1..).unwrap_or_default());
        let (user, service, method) = (reader.string()?, reader.string()?, reader.string()?);
        if service != CONNECTION {
            return Err(Error::Protocol("authentication for a service that is not there"));
        }
        let method = match method {
            b"none" => Method::None,
            b"password" => {
                let (change, password) = (reader.bool()?, reader.string()?);
                if change {
                    return Ok(Self { user, method: Method::Other });
                }
                reader.end()?;
                Method::Password(password)
            }
            b"keyboard-interactive" => {
                // Language and submethods: hints that nobody needs.
                reader.string()?;
                reader.string()?;
                reader.end()?;
                Method::KeyboardInteractive
            }
            b"publickey" => {
                let signed = reader.bool()?;
                let (algorithm, blob) = (reader.string()?, reader.string()?);
                let signature = if signed { Some(reader.string()?) } else { None };
                reader.end()?;
                Method::PublicKey(PublicKeyRequest { algorithm, blob, signature })
            }
            _ => Method::Other,
        };
        Ok(Self { user, method })
    }
}

/// The request for `user` by public key, up to where a signature follows.
pub(super) fn public_key(user: &[u8], algorithm: &[u8], blob: &[u8], signed: bool) -> Vec<u8> {
    let mut out = Vec::with_capacity(user.len() + blob.len() + 128);
    out.put_u8(message::USERAUTH_REQUEST);
    put_string(&mut out, user);
    put_string(&mut out, CONNECTION);
    put_string(&mut out, b"publickey");
    out.put_u8(u8::from(signed));
    put_string(&mut out, algorithm);
    put_string(&mut out, blob);
    out
}

/// What is signed: the session and the request, so that a signature is good nowhere else.
pub(super) fn signed_text(session_id: &[u8], request: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(session_id.len() + request.len() + 4);
    put_string(&mut out, session_id);
    out.put_slice(request);
    out
}
