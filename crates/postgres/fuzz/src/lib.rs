//! The bodies of the fuzz targets, which the machine's own tests replay: nothing of them is written here.
#![allow(dead_code, missing_docs, reason = "the tests that these modules belong to use the rest")]

#[path = "../../tests/machine/support/mod.rs"]
pub mod support;
#[path = "../../tests/machine/targets.rs"]
pub mod targets;
