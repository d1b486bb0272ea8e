//! The control plane as a whole, over a temporary database and a clock that stands still. One binary: one link.

mod admin_api;
mod feedback;
mod ingestion;
mod push;
mod world;
