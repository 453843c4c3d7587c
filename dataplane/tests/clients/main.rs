//! Stock clients and hostile ones against the real programs and a real server, started by `weir-admin dev up`.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

mod appliance;
mod bad_input;
mod drivers;
mod holds;
mod postgres;
mod survival;
