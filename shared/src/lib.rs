//! What both ends of the loop must agree on: flags, buckets, evaluation, signed snapshots, wire contracts.
//!
//! Pure by rule: bytes and values in, values and bytes out. No async, no I/O, no clock, no randomness, no
//! environment, no logging. `now` is always an argument, so a decision can be replayed byte for byte.

pub mod bucket;
pub mod condition;
pub mod context;
pub mod contract;
pub mod definition;
pub mod diff;
pub mod digest;
pub mod environment;
pub mod evaluate;
pub mod explain;
mod fingerprint;
pub mod flag;
pub mod flagd;
mod graph;
pub mod ids;
pub mod import;
pub mod launchdarkly;
pub mod limits;
pub mod ofrep;
pub mod ordered;
pub mod segment;
pub mod snapshot;
pub mod strict;
pub mod text;
pub mod unleash;
