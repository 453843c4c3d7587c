//! Secrets on their way to a data plane: printed by nothing, wiped when dropped.

use std::fmt;

use serde::{Deserialize, Serialize};
use zeroize::{Zeroize, ZeroizeOnDrop};

/// A credential for an upstream, as the data plane holds it.
#[derive(Clone, Serialize, Deserialize, Zeroize, ZeroizeOnDrop)]
pub struct Credential {
    /// The user to log in as; empty for protocols without.
    pub user: String,
    #[serde(flatten)]
    pub secret: Secret,
    /// When it stops working, if it does.
    pub expires_unix_ms: Option<u64>,
    /// For the session that it was asked for alone; any other is kept, and renewed before it expires.
    #[serde(default)]
    pub once: bool,
}

#[derive(Clone, Serialize, Deserialize, Zeroize, ZeroizeOnDrop)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum Secret {
    /// `md5(password ‖ user)` as 32 hex digits.
    Md5 { inner: String },
    /// The upstream trusts the connection itself.
    None,
    /// Sent as it is: an `Authorization` value, or a cleartext password over verified TLS.
    Plain { value: String },
    /// Hex RFC 5802 keys, valid for this salt and count.
    Scram { salt: String, iterations: u32, client_key: String, server_key: String },
    /// The text of a private key file, and the line of its user certificate where it has one.
    SshKey { key: String, certificate: Option<String> },
}

/// The fleet's key for token and hash masks.
#[derive(Clone, Serialize, Deserialize, Zeroize, ZeroizeOnDrop)]
pub struct MaskKey {
    pub version: u32,
    /// 32 bytes, hex.
    pub key: String,
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credential").field("user", &self.user).finish_non_exhaustive()
    }
}

impl fmt::Debug for MaskKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MaskKey").field("version", &self.version).finish_non_exhaustive()
    }
}
