//! libFuzzer's door to `upswell_fuzz::blob`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| upswell_fuzz::blob::attempt(input));
