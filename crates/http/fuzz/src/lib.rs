//! The body of the fuzz target, which the machine's own tests replay: nothing of it is written here.
#![allow(dead_code, missing_docs, reason = "the tests that these modules belong to use the rest")]

#[path = "../../tests/driver/mod.rs"]
mod driver;
#[path = "../../../mask/tests/plain_regex/mod.rs"]
mod plain_regex;
#[path = "../../tests/fuzzing/target.rs"]
pub mod target;
