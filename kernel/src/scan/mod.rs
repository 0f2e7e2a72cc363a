//! From the bytes of a line to a record, or to the reason why it is none.

pub mod filter;
pub mod fragment;
pub mod grammar;
pub mod outcome;
pub mod path;
#[allow(clippy::module_inception)] // until its loop is the file
pub mod wide;
