//! User authentication (RFC 4252, RFC 4256): of callers, as the server, and the gateway's own towards an upstream.
//!
//! Neither knows who may do what. As the server, evidence is checked as far as cryptography goes and then put to the driver, which answers
//! when it can.

mod client;
mod name;
mod request;
mod server;

pub use client::{ClientAuth, Credential};
pub use name::UserName;
pub use server::{Answer, Ask, AuthSettings, Evidence, ServerAuth};

pub(crate) const SERVICE: &[u8] = b"ssh-userauth";
pub(crate) const CONNECTION: &[u8] = b"ssh-connection";
