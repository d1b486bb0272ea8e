//! Statistics, one method per file. Pure: counts in, numbers out; never a database, never a clock.

pub mod classic;
pub mod ratio;
