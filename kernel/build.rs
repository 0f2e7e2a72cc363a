//! Exports `SOURCE_DIGEST`, so that a stale compiled module is noticed by a test.
//!
//! The digest is SHA-256 over every source in name order: the name, a zero byte, the content, a zero byte.

use sha2::{Digest, Sha256};
use std::fmt::Write;
use std::{fs, path::PathBuf};

fn main() -> std::io::Result<()> {
    let mut names: Vec<PathBuf> = ["Cargo.lock", "Cargo.toml", "build.rs"]
        .map(PathBuf::from)
        .into();
    for folder in ["src", "src/python"] {
        for entry in fs::read_dir(folder)? {
            let path = entry?.path();
            if path.is_file() {
                names.push(path);
            }
        }
    }
    names.sort();
    let mut hash = Sha256::new();
    for name in &names {
        println!("cargo:rerun-if-changed={}", name.display());
        hash.update(name.to_string_lossy().as_bytes());
        hash.update([0]);
        hash.update(fs::read(name)?);
        hash.update([0]);
    }
    println!("cargo:rerun-if-changed=src");
    println!("cargo:rerun-if-changed=src/python");
    let mut hex = String::new();
    for byte in hash.finalize() {
        write!(hex, "{byte:02x}").map_err(std::io::Error::other)?;
    }
    println!("cargo:rustc-env=UPSWELL_SOURCE_DIGEST={hex}");
    Ok(())
}
