//! From ranges of files to outcomes, in passes over chunks.

pub(crate) mod apply;
pub mod chunk;
pub mod classify;
pub mod findings;
pub mod job;
pub(crate) mod pass;
pub mod progress;
pub mod range;
pub mod scanner;
