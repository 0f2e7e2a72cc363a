//! Export `SOURCE_DIGEST`, by which a test notices a stale compiled module.
//!
//! The digest is SHA-256 over every source in the order of their paths: the path, a zero byte, the content, a zero
//! byte.

use sha2::{Digest, Sha256};
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::{fs, io};

/// Add every file under a folder, at any depth.
fn collect(folder: &Path, names: &mut Vec<PathBuf>) -> io::Result<()> {
    println!("cargo:rerun-if-changed={}", folder.display());
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            collect(&path, names)?;
        } else {
            names.push(path);
        }
    }
    Ok(())
}

fn main() -> io::Result<()> {
    let mut names: Vec<PathBuf> = ["Cargo.lock", "Cargo.toml", "build.rs"]
        .map(PathBuf::from)
        .into();
    collect(Path::new("src"), &mut names)?;
    names.sort();
    let mut hash = Sha256::new();
    for name in &names {
        println!("cargo:rerun-if-changed={}", name.display());
        hash.update(name.to_string_lossy().as_bytes());
        hash.update([0]);
        hash.update(fs::read(name)?);
        hash.update([0]);
    }
    let mut hex = String::new();
    for byte in hash.finalize() {
        write!(hex, "{byte:02x}").map_err(io::Error::other)?;
    }
    println!("cargo:rustc-env=UPSWELL_SOURCE_DIGEST={hex}");
    Ok(())
}
