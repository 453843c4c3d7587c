//! Stock clients and hostile ones against the real programs and a real server, started by `weir-admin dev up`.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

mod admin_record;
mod appliance;
mod auditors_page;
mod bad_input;
mod bearer;
mod broken_protocol;
mod budgets;
mod bypasses;
mod cancels;
mod channel_binding;
mod chaos;
mod contents;
#[path = "../../../crates/http/tests/desync/mod.rs"]
mod desync;
mod doctor;
mod drivers;
mod evasions;
mod evidence;
mod exports;
mod flood;
mod full_disk;
mod holds;
mod large_objects;
mod leaks;
mod login_failures;
mod memory;
mod metrics;
mod operator_mistakes;
mod originals;
mod origins;
mod outcomes;
mod postgres;
mod raw;
mod rds;
mod recording;
mod renamed;
mod replays;
mod servers;
mod session_roles;
mod spiffe;
mod ssh;
mod stalling;
mod survival;
mod upstream_logins;
mod web;
mod web_bodies;
mod web_clients;
mod web_desync;
mod web_faults;
mod what_if;
