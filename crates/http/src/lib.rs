//! The HTTP/1.1 protocol machine: one client connection, one upstream, one exchange at a time.
//!
//! Strict in, re-serialised out: nothing a peer wrote goes to the other one byte for byte except bodies, so two
//! readers can never disagree about where a message ends. The machine verifies no token and decides nothing; it does
//! not speak HTTP/2, WebSocket or any other upgrade.
//!
//! One session serves one token, role and purpose: an upstream connection is never shared between identities.
#![forbid(unsafe_code)]

mod answer;
mod body;
mod client;
mod content;
mod decode;
mod error;
mod events;
mod fields;
mod head;
mod limits;
mod machine;
mod relay;
mod reply;
mod request;
mod target;
mod upload;

pub use content::scrubbed_body;
pub use error::Error;
pub use limits::{Limits, Settings};
pub use machine::HttpMachine;
pub use target::read_target;
