//! From the bytes of a line to a record, or to the reason why it is not one.
//!
//! - `grammar` defines what a line means, in plain code; `wide` finds the same by wide registers.
//! - `path` names the ways to scan that this CPU has; `dispatch` scans lines by one of them.
//! - `filter` says "surely not in the segment" for most records before more is done for them.
//! - `fragment` puts a line together whose bytes come in parts.
//! - `outcome` lists outcomes and reject reasons, and encodes rejects.
//! - `collect` returns every line, for `check` and for comparing paths.

pub mod collect;
mod dispatch;
pub mod filter;
pub mod fragment;
pub mod grammar;
pub mod outcome;
pub mod path;
#[cfg(target_arch = "x86_64")]
mod wide;
