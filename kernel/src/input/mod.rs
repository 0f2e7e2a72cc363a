//! Reads the bytes of input files, plain or gzip, into buffers. Never by mmap: a file may shrink while it is read.
//!
//! Opens regular files only: links are not followed, and a FIFO cannot block. Positions count uncompressed bytes.
//!
//! - `file` opens a file and knows whether it is still the same; `gzip` decompresses it.
//! - `source` reads ranges of either kind, and names the problems that end them.
//! - `digest` reads a file once, from one end to the other.

pub mod digest;
mod file;
pub mod gzip;
pub mod source;
