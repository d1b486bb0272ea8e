//! What flags, fuses, regions and keys are here, and how they are judged: pure, and below everything that reads or writes.

pub mod account;
pub mod ceremony;
pub mod circuit;
pub mod contract;
pub mod evidence;
pub mod fleet;
pub mod identity;
pub mod lint;
pub mod mention;
pub mod metric;
pub mod password;
pub mod policy;
pub mod ramp;
pub mod rehearsal;
pub mod rights;
pub mod rules;
pub mod safety;
pub mod session;
pub mod settings;
pub mod slo;
pub mod smoothing;
pub mod token;
pub mod traffic;
pub mod verdict;
pub mod window;
