//! The kernel of Upswell: bytes of input files to outcomes of lines, fast and exactly.
//!
//! # The idea
//!
//! A batch is ranges of files. Threads take chunks of the ranges, find lines, parse them, and decide everything that
//! needs no ledger: rejects, and records that are not in the segment, match no rule or window, or come too late. The
//! rest are candidates. The ledger is cut into shards by msisdn, and each shard decides its candidates in input order.
//! So all cores work, and the result is that of one thread that reads line after line.
//!
//! # Map
//!
//! From the bottom up; a folder uses only what stands above it here.
//!
//! ```text
//! crc        CRC-64/NVME, and the combination of two
//! threads    parallel loops over scoped threads
//! prefetch   asks memory for what will be looked at soon
//! partition  groups many keys for many threads
//! types/     msisdns as numbers; dates, times and the zone shift
//! wire       numbers and bytes in blobs
//! scan/      a line's bytes to a record or a reject reason: the plain grammar, and the same by wide registers
//! input/     bytes of plain and compressed files
//! search     lines that hold given digits, for questions about one msisdn
//! segment/   the targeted msisdns: parsed, stored, looked up
//! rules/     the rule that fits a record; what keeps a notification back
//! ledger/    totals, fired window instances and caps: decided, also by other terms in branches, stored, loaded
//! batch/     ranges to outcomes, in passes over chunks
//! split/     the same in tasks: splits without a ledger, shards without files, and the result of both
//! python/    the module for Python; outside it only `RangeSpec` knows Python, whose `Range` it reads
//! ```
//!
//! # Invariants
//!
//! - A result, the delta's bytes included, depends on the bytes, the reference and the ledger alone: never on threads,
//!   on where chunks are cut, on where a call stops, or on the CPU. A gathered result does not depend on where splits
//!   are cut or when their tasks run.
//! - Memory is bounded by the pass, the segment and the live totals, whatever the input holds.
//! - Bad data is a value. An `Err` means that the caller broke the contract of `_kernel.pyi`.
//! - No file and no folder uses one that uses it (`tests/repository/test_kernel_layout.py`).
//!
//! # If you change …
//!
//! - … the grammar: `scan/grammar.rs`, then `plain_bytes` in `scan/wide.rs`, `semantics.py` and docs/semantics.md; for
//!   SEGMENT `segment/parse.rs` and `reference/segment.py`;
//! - … an outcome or a reason: `scan/outcome.rs`, then `semantics.py`;
//! - … what an entry of the ledger is about: `ledger/counters.rs`, `ledger/shard.rs`, `ledger/codec.rs`, and the magic
//!   there, since states hold these bytes;
//! - … what crosses the border to Python: `python/`, `_kernel.pyi` and `upswell/kernel/__init__.py`.

pub mod batch;
pub mod crc;
pub mod input;
pub mod ledger;
mod partition;
mod prefetch;
#[cfg(feature = "python")]
mod python;
pub mod rules;
pub mod scan;
pub mod search;
pub mod segment;
pub mod split;
pub mod threads;
pub mod types;
mod wire;
