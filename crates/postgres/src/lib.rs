//! The Postgres protocol machine: client and upstream bytes in, actions out.
//!
//! Pure: no socket, clock, thread or SQL parser. [`Prelude`] reads what comes before TLS, [`PostgresMachine`] holds the
//! conversation inside it, [`upstream`] has the few bytes the driver itself exchanges with an upstream, and [`Probe`]
//! with [`scram::derive`] are what the admin service needs to prepare a credential.
//!
//! It parses no SQL (a [`FactsSource`] does), decides nothing (the driver does), and verifies no token.
#![forbid(unsafe_code)]

mod codec;
mod error;
mod limits;
mod login;
mod md5;
mod prelude;
mod probe;
mod refusal;
pub mod scram;
mod startup;
pub mod upstream;

pub use error::Error;
pub use limits::Limits;
pub use prelude::{ALPN, CancelKey, First, Layer, Prelude};
pub use probe::{Probe, ProbeStep, Wants, md5_secret};
pub use refusal::{CANCELLED, UNKNOWN_CONNECTION};
