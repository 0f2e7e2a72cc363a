//! From ranges of files to outcomes, in passes over chunks.
//!
//! A pass has three steps. *Scan*: threads take chunks (a compressed range is one task, as it can only be read in
//! order) and decide everything that needs no ledger. *Merge*, on one thread: lines that cross chunks are put together,
//! counts are added up, and the pass is cut where output would grow too large. *Apply*: threads take groups of shards,
//! each with its candidates in input order, and chunks whose rejects are to be encoded; then notifications are put back
//! into input order. So threads, chunks and stops never show in a result, and memory is bounded by the pass.
//!
//! - `range` is what is read; `job` what a call is given and returns.
//! - `chunk` is some bytes of a range, scanned by one thread; `classify` decides its lines into `findings`.
//! - `progress` puts lines together that cross chunks, and knows how far a range was consumed.
//! - `pass` scans and merges the chunks of a pass, `apply` applies them; `scanner` plans passes and runs a call.

pub(crate) mod apply;
pub mod chunk;
pub mod classify;
mod curve;
pub mod findings;
pub mod job;
pub(crate) mod pass;
pub mod progress;
pub mod range;
pub mod scanner;
