//! The bodies of the fuzz targets, which the crate's own tests replay: nothing of them is written here.
#![allow(dead_code, missing_docs, reason = "the tests that these modules belong to use the rest")]

#[path = "../../tests/fuzzing/books.rs"]
pub mod books;
#[path = "../../tests/fuzzing/targets.rs"]
pub mod targets;

/// Runs one target by its name.
pub fn run(name: &str, input: &[u8]) {
    targets::TARGETS.iter().filter(|(it, _)| *it == name).for_each(|(_, target)| target(input));
}
