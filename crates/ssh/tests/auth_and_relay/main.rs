//! Users and channels, message by message, over memory.
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test's failure"
)]

mod channels;
#[path = "../driver/mod.rs"]
mod driver;
mod holds;
mod logins;
mod text;
mod users;
mod windows;
