//! Any bytes as a peer's, from the first one on. The body stands in `targets`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| weir_ssh_fuzz::run("opening", input));
