//! libFuzzer's door to `upswell_fuzz::gzip`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| upswell_fuzz::gzip::attempt(input));
