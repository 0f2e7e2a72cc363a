//! The kernel of Upswell: bytes of input files to outcomes of lines, fast and exactly.
//!
//! # The idea
//!
//! ```text
//! reader   ranges of files, plain or gzip, into buffers
//! scan     bytes -> records: the plain path, which defines the grammar;  fast: the same by wide registers
//! piece    some bytes of a range, decided by one thread as far as that goes without the ledger
//! progress lines put together from pieces, in order: where a range stands
//! process  rounds of pieces: scan in parallel, merge in order, apply per shard in parallel
//! segment  who is targeted;  rules  which rule fits;  clock  days and zones
//! ledger   totals, fired occurrences and caps;  blob  how they are kept
//! reject   outcomes, reasons and how a refused line is written down
//! python   the only file that knows Python
//! ```
//!
//! # Invariants
//!
//! - A result depends on the bytes, the reference and the ledger alone: never on threads, on where pieces are cut, on
//!   where a call stops, or on the CPU.
//! - Memory is bounded by the round, the segment and the live totals, whatever the input holds.
//! - Bad data is a value. An `Err` means that the caller broke the contract of `_kernel.pyi`.
//!
//! # If you change …
//!
//! - … the grammar: `scan::parse_line`, then `fast::wide::fields`, `segment.py`, `reference.py` and docs/semantics.md;
//! - … an outcome or a reason: `reject`, then the reference;
//! - … what a column or an entry is: `ledger` and `blob`, and the magic there.

pub mod blob;
pub mod clock;
pub mod crc;
pub mod fast;
pub mod ledger;
pub mod line;
pub mod msisdn;
pub mod piece;
pub mod process;
pub mod progress;
#[cfg(feature = "python")]
mod python;
pub mod reader;
pub mod reject;
pub mod rules;
pub mod scan;
pub mod segment;
pub mod threads;
