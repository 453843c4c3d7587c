//! What the tests drive the crate with: keys made by ssh-keygen, and a gateway of two legs over plain sockets. Not how the data plane does
//! it: no core, no pool, no recorder; one thread a connection.
#![allow(dead_code, reason = "each test file uses its part")]
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test's failure"
)]

pub(crate) mod gateway;
pub(crate) mod keys;
pub(crate) mod legs;
pub(crate) mod session;
