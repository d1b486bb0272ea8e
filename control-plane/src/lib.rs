//! The control plane: flags and fuses, signed snapshots, ingestion, statistics, and the API in front of them.
//!
//! A library so that tests can run a whole one in their own process; `main.rs` is wiring around it.

#![expect(missing_docs, reason = "nobody depends on this crate: what its name says already needs no comment")]

pub mod api;
pub mod change;
pub mod clock;
pub mod credential;
mod dashboard;
pub mod engine;
pub mod error;
pub mod feed;
pub mod figures;
pub mod ingest;
pub mod jobs;
pub mod listen;
pub mod meters;
pub mod model;
pub mod plane;
pub mod private;
pub mod publish;
pub mod random;
pub mod store;
pub mod telemetry;
pub mod validator;
