//! How events get from clients to the control plane without loss. Never interprets an outcome.

pub mod batch;
pub mod buffer;
pub mod buffer_do;
pub mod counts;
pub mod delivery;
pub mod exposure;
pub mod handover;
pub mod intake;
pub mod recent;
pub mod reports;
pub mod rows;
pub mod send;
