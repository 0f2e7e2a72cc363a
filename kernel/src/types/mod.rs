//! Values that all other folders share: msisdns, dates and times.

pub mod clock;
pub mod msisdn;
