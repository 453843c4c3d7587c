//! The shared-memory hand-off from one producer to one consumer: a ring of records in a sealed memfd, both ends.
//!
//! The producer (a core of the data plane) fills records in place; the consumer (the recorder) copies them out. Either
//! process may be killed at any instant: the ring holds what was published, and a new consumer goes on where `written`
//! stands. Each end treats what the other writes as hostile: positions and lengths are checked before use, and an
//! inconsistent ring is an error that names the word.
//!
//! What a record means is not this crate's matter; neither is when to wait: it exposes the wake-up descriptors.
#![deny(unsafe_op_in_unsafe_fn)]

mod consumer;
mod error;
mod hand_over;
mod layout;
mod mapping;
mod producer;
mod wake;

pub use consumer::{Consumer, Flow, Nap, Record};
pub use error::{Error, PushError};
pub use hand_over::{Answer, Description, Handle, Link, Listener, Offer};
pub use layout::{DEFAULT_CAPACITY_BYTES, MIN_CAPACITY_BYTES, Pressure, RECORD_HEADER_LEN, Sequence};
pub use producer::Producer;
