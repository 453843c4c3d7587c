//! Stock SSH clients and OpenSSH's own sshd, with the crate as a gateway between them.
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test's failure"
)]

mod admission;
mod bench;
#[path = "../driver/mod.rs"]
mod driver;
mod matrix;
mod openssh;
mod others;
