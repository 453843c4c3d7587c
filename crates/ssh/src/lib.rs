//! SSH as a plain state machine: bytes in, messages and questions out; no socket, no clock, no thread.
//!
//! Two legs and a relay. Towards the caller the gateway is the server, towards the upstream it is a client; each leg has a
//! [`Transport`] of its own, and once both are authenticated the connection layer's messages are passed from one to the other.
//!
//! ```text
//!  caller --bytes--> Transport --5, 6, 50-79--> auth::ServerAuth --Ask--> the driver: token or certificate, may it in?
//!                        |                                                   |  yes: dial
//!                        |  80-127                                           v
//!                        +--------> relay::Relay --Decide--> the driver   Transport <--bytes-- upstream
//!                                       |  messages, letters                 |
//!                                       +------------------------------------+  auth::ClientAuth before
//! ```
//!
//! From the bytes up:
//! - `algorithms` is the one table of what is spoken and which library computes it; `limits` has every maximum.
//! - `encoding`, `ident`, `packet` and `cipher`: RFC 4251's types, the first lines, and sealed packets.
//! - `kexinit`, `agreement` and `transport/exchange`: what is agreed, the shared secret, and a key exchange as a whole.
//! - `key_file`, `public_key`, `signing_key`, `certificate`: whose signatures count.
//! - [`auth`]: users, as server and as client. [`relay`]: channels. [`exec_line`]: which programs a command line runs.
//!
//! What a driver does: it hands [`Transport::next`] what it has read, gives messages to `auth` or `relay` by their number, sends what they
//! leave, and keeps time (`deadline_ms`, `tick`). It reads a leg no further while the other's queue is over its bound or
//! [`Transport::wants_pause`], nor while the leg's own queue is: a peer can make the gateway answer, and need not read. On an error it lets
//! [`Transport::farewell`] have the last word and closes both legs.
//!
//! Deliberately not here: SSH 1, CBC, SHA-1, DSA, compression, keys on security devices, trust on first use, and an SFTP parser.
#![forbid(unsafe_code)]
#![deny(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

mod agreement;
pub mod algorithms;
pub mod auth;
mod certificate;
mod cipher;
mod config;
mod encoding;
mod error;
pub mod exec_line;
mod ident;
mod kexinit;
mod key_file;
mod limits;
mod machine;
pub mod message;
mod packet;
mod public_key;
pub mod relay;
mod signing_key;
mod source_address;
mod transport;

pub use certificate::{Certificate, CertificateKind, NewCertificate, Permits, Revocations, Terms};
pub use config::{Config, HostKey, HostTrust};
pub use error::{Blame, Error};
pub use limits::{Limits, RekeyLimits};
pub use machine::{Question, Settings, SshMachine, Trouble, Voucher, Workbench};
pub use public_key::PublicKey;
pub use signing_key::{NewKey, SigningKey};
pub use transport::{Event, Progress, Transport};
