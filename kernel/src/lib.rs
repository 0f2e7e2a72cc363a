//! The kernel of Upswell: bytes of input files to outcomes of lines, fast and exactly.
//!
//! # The idea
//!
//! ```text
//! reader    ranges of files, plain or gzip, into buffers
//! scan      bytes -> records: the plain code, which defines the grammar;  fast: the same by wide registers;  path: which
//! chunk     some bytes of a range, scanned by one thread;  finder: decides what needs no ledger, into findings
//! progress  lines put together from chunks, in order: where a range stands;  line: one that crosses chunks
//! process   passes of chunks: call scans in parallel and merges in order, apply decides per shard in parallel
//! segment   who is targeted;  dials: the lines that say so;  filter, table: its two layers;  parts: many keys for many
//!           threads;  dump: how it is kept
//! rules     which rule fits;  clock: days and zones;  msisdn: digits as numbers
//! policy    what keeps a record back;  keyed: a hash under a key
//! ledger    totals, fired occurrences and caps;  shard: one table;  counters: what entries are about;  blob: how it is kept;  loading: and read again
//! split     a part of a range, scanned without a ledger;  lines: where its lines lie;  candidates: what leaves for a ledger
//! step      what the ledger decides of them;  report: what else a split was;  gather: the result made of both
//! search    lines that hold some digits, for questions about one msisdn
//! reject    outcomes, reasons and how a refused line is written down
//! crc, threads, wire: how values are written into blobs
//! python    the only folder that knows Python
//! ```
//!
//! # Invariants
//!
//! - A result, the delta's bytes included, depends on the bytes, the reference and the ledger alone: never on threads, on where chunks are cut, on
//!   where a call stops, or on the CPU. Nor does what is gathered depend on where splits are cut, or on when their tasks run.
//! - Memory is bounded by the pass, the segment and the live totals, whatever the input holds.
//! - Bad data is a value. An `Err` means that the caller broke the contract of `_kernel.pyi`.
//!
//! # If you change …
//!
//! - … the grammar: `grammar::parse_line`, then `fast::wide::plain_bytes`, `segment.py`, `semantics.py` and docs/semantics.md;
//! - … an outcome or a reason: `reject`, then the reference;
//! - … what a counter or an entry is: `counters`, `shard` and `blob`, and the magic there.

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
