//! libFuzzer's door to `upswell_fuzz::process`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| upswell_fuzz::process::attempt(input));
