//! How a session begins: what the client presents, and what the machine gets to log in upstream.
//!
//! Nothing here verifies: the driver does, and answers with an [`Admission`].

use std::fmt;
use std::sync::Arc;

use weir_policy::{Denial, Identity, Permit, Timestamp};
use zeroize::{Zeroize, ZeroizeOnDrop};

/// What a client presented and asked for. Only token and certificate are evidence; the rest are requests.
#[derive(Clone, Copy)]
pub struct Login<'a> {
    /// Bearer token, surrounding white space trimmed.
    pub token: &'a [u8],
    /// Who the client is by a certificate that the machine itself has verified, its holder's signature too.
    pub certified: Option<Certified<'a>>,
    /// Connection name; `None` where the listener implies it.
    pub connection: Option<&'a str>,
    /// Requested role.
    pub role: Option<&'a str>,
    /// Stated purpose of use, by startup option or header.
    pub purpose: Option<&'a str>,
    /// What the client calls itself.
    pub application: Option<&'a str>,
}

/// What a verified certificate says. Whether it was revoked since is the driver's to know.
#[derive(Clone, Copy, Debug)]
pub struct Certified<'a> {
    pub identity: &'a Identity,
    /// When it was issued.
    pub issued: Timestamp,
}

impl fmt::Debug for Login<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Login")
            .field("connection", &self.connection)
            .field("role", &self.role)
            .finish_non_exhaustive()
    }
}

/// The driver's answer to a login.
#[derive(Debug)]
pub enum Admission {
    Allow {
        /// The permit of `Request::Connect`, already spent on the dial; its obligations go on.
        permit: Permit,
        upstream: UpstreamLogin,
    },
    Deny(Denial),
}

/// What the machine needs to log in upstream with the gateway's own credential.
#[derive(Clone, Debug)]
pub struct UpstreamLogin {
    pub user: String,
    pub database: String,
    pub secret: Arc<UpstreamSecret>,
    /// The way to the upstream is TLS, its certificate verified: a secret may go as it is.
    pub encrypted: bool,
    /// SHA-256 (or the certificate's own hash) of the upstream's end-entity certificate, RFC 5929
    /// `tls-server-end-point`; `None` without TLS, and for certificates that it is not defined for.
    pub channel_binding: Option<Vec<u8>>,
    /// No login counts that is not bound so.
    pub binding_required: bool,
    /// 18 random bytes, for nonces.
    pub random: [u8; 18],
    /// What the machine hands its client as the key to cancel with (Postgres BackendKeyData: process id and key).
    pub cancel: (u32, u32),
    /// Names this session in the upstream's own logs.
    pub session_tag: String,
}

/// A backend credential. Never printed; wiped when dropped.
#[derive(Zeroize, ZeroizeOnDrop)]
pub enum UpstreamSecret {
    /// `md5(password ‖ user)` as 32 hex digits.
    Md5([u8; 32]),
    /// The upstream trusts the connection itself (a Unix socket).
    None,
    /// A secret that the protocol sends as it is (HTTP header value, cleartext password over verified TLS).
    Plain(Vec<u8>),
    Scram(ScramKeys),
    Ssh(SshSecret),
}

/// How to log in to an SSH server, and which server is the right one.
#[derive(Zeroize, ZeroizeOnDrop)]
pub struct SshSecret {
    pub proof: SshProof,
    /// Lines of `.pub` files: the server's own keys, or behind `@cert-authority ` a key whose host certificates count.
    pub host_keys: Vec<String>,
    /// The principal that such a certificate must name.
    pub host: String,
}

#[derive(Zeroize, ZeroizeOnDrop)]
pub enum SshProof {
    /// A private key file's text, and the line of a `-cert.pub` file where it has one.
    Key {
        key: String,
        certificate: Option<String>,
    },
    Password(Vec<u8>),
}

/// RFC 5802 keys, valid for one salt and iteration count: enough to log in, not enough to know the password.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct ScramKeys {
    pub salt: Vec<u8>,
    pub iterations: u32,
    pub client_key: [u8; 32],
    pub server_key: [u8; 32],
}

impl fmt::Debug for UpstreamSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Md5(_) => "Md5(..)",
            Self::None => "None",
            Self::Plain(_) => "Plain(..)",
            Self::Scram(_) => "Scram(..)",
            Self::Ssh(_) => "Ssh(..)",
        })
    }
}

impl fmt::Debug for ScramKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ScramKeys").field("iterations", &self.iterations).finish_non_exhaustive()
    }
}
