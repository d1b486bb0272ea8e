//! What both ends of the loop must agree on: flags, buckets, evaluation, signed snapshots, wire contracts.
//!
//! Pure by rule: bytes and values in, values and bytes out. No async, no I/O, no clock, no randomness, no
//! environment, no logging. `now` is always an argument, so a decision can be replayed byte for byte.

pub mod bucket;
pub mod condition;
pub mod context;
pub mod contract;
pub mod definition;
pub mod digest;
pub mod environment;
pub mod evaluate;
mod fingerprint;
pub mod flag;
mod graph;
pub mod ids;
pub mod limits;
pub mod ofrep;
pub mod ordered;
pub mod segment;
pub mod slices;
pub mod snapshot;
pub mod strict;
pub mod text;
pub mod unleash;

#[cfg(test)]
extern crate self as flagfuse_shared;
// The crate `flagfuse-testing`, compiled once more as a part of this one: a crate that depends on this one would bring types
// of another build into unit tests.
#[cfg(test)]
#[expect(clippy::missing_panics_doc, reason = "a fixture that cannot be made has to fail where it stands")]
#[path = "../testing/src/lib.rs"]
pub mod testing;
