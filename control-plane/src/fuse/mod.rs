//! Fuses: policy, phases, the pure verdict and the engine that acts on it through `change`.

pub mod arrivals;
pub mod circuit;
pub mod engine;
pub mod phase;
pub mod policy;
pub mod ramp;
pub mod traffic;
pub mod verdict;
