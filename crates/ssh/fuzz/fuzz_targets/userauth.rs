//! Any messages during authentication. The body stands in `targets`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| weir_ssh_fuzz::run("userauth", input));
