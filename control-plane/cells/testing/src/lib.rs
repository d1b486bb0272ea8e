//! What the ledger is tested and measured with: a sequential oracle, random histories, and the mix of the benchmarks.

#![expect(missing_docs, reason = "fixtures: what a name says already needs no comment")]

pub mod history;
pub mod mix;
pub mod oracle;

mod chance;

pub use chance::Chance;
