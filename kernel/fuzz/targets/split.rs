//! libFuzzer's door to `upswell_fuzz::split`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| upswell_fuzz::split::attempt(input));
