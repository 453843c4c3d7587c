//! People and their pages: the real service behind TLS, a certified OpenID provider, and browsers of several minds.
//!
//! Needs Node.js and the packages of `package.json` (`make drivers`).
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::wildcard_enum_match_arm,
    reason = "a test stops at the first surprise"
)]

mod attacks;
mod browser;
mod pages;
mod provider;
mod service;
mod sign_in;
