//! The inputs that a fuzzer tries on the kernel: one `attempt` for each way that hostile bytes come in.
//!
//! An attempt takes any bytes, never fails on bad ones, and panics when a promise of the kernel is broken. The first
//! bytes, if there are any, say how the rest is read. The fuzz targets call attempts with the fuzzer's inputs;
//! `tests/fuzzed.rs` of the kernel calls them with every file of `corpus/`, in every run of its tests.

pub mod blob;
pub mod gzip;
pub mod process;
pub mod scan;
pub mod split;

use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

/// Split off the control bytes at the front, zeros when there are too few.
fn controls<const N: usize>(input: &[u8]) -> ([u8; N], &[u8]) {
    match input.split_first_chunk::<N>() {
        Some((controls, rest)) => (*controls, rest),
        None => ([0; N], input),
    }
}

/// A file that is removed when it is dropped.
struct Temporary(PathBuf);

impl Temporary {
    fn new(content: &[u8]) -> Temporary {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!(
            "upswell-fuzz-{}-{}",
            std::process::id(),
            COUNT.fetch_add(1, Ordering::Relaxed)
        );
        let path = std::env::temp_dir().join(name);
        fs::write(&path, content).expect("a writable directory for temporary files");
        Temporary(path)
    }

    fn path(&self) -> &[u8] {
        self.0.as_os_str().as_encoded_bytes()
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}
