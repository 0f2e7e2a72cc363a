//! Values that every other folder shares.

pub mod clock;
pub mod msisdn;
