//! Two ends of the crate over memory: every algorithm, every cut of the bytes, and somebody in the middle.
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test's failure"
)]

mod certified_hosts;
#[path = "../driver/mod.rs"]
mod driver;
mod middle;
mod rekeying;
mod suites;
