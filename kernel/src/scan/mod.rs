//! From the bytes of a line to a record, or to the reason why it is none.

pub mod collect;
mod dispatch;
pub mod filter;
pub mod fragment;
pub mod grammar;
pub mod outcome;
pub mod path;
#[cfg(target_arch = "x86_64")]
mod wide;
