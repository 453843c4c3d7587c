//! Any bytes as a text. The body stands in `target`.
#![no_main]

#[path = "../../tests/corpus/target.rs"]
mod target;

libfuzzer_sys::fuzz_target!(|input: &[u8]| target::facts(input));
