//! Bytes of input files.

pub mod digest;
mod file;
pub mod gzip;
pub mod source;
