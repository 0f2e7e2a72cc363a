//! Bytes of input files.

pub mod source;
