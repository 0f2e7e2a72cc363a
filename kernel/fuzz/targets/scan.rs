//! libFuzzer's door to `upswell_fuzz::scan`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| upswell_fuzz::scan::attempt(input));
