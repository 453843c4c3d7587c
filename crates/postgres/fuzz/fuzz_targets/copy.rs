//! Any bytes as rows of a COPY, either way. The body stands in `targets`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| weir_postgres_fuzz::targets::copy(input));
