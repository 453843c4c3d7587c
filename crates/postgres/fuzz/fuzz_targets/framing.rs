//! Any bytes as both sides of an open session. The body stands in `targets`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| weir_postgres_fuzz::targets::framing(input));
