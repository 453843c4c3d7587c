//! Any bytes as both sides from the first byte on. The body stands in `targets`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| weir_postgres_fuzz::targets::startup(input));
