//! Any bytes as both sides of an HTTP connection. The body stands in `target`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| weir_http_fuzz::target::exchange(input));
