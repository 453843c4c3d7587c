//! The machine as a whole: bytes in on both sides, bytes out, and what was decided in between.
#![cfg(test)]

mod any_bytes;
mod calls;
mod columns_alone;
mod commands;
mod copies;
mod fuzzing;
mod holds;
mod login;
mod masking;
mod origins;
#[path = "../../../wire/tests/replay/mod.rs"]
mod replay;
mod simulation;
mod support;
mod targets;
mod transcripts;
