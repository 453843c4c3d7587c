//! Any messages of both peers, watched by an account of its own. The body stands in `targets`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| weir_ssh_fuzz::run("relay", input));
