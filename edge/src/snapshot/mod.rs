//! How a signed snapshot gets from the control plane into an isolate's memory, and how old it may be when it answers.

pub mod ask;
pub mod bootstrap;
pub mod cache;
pub mod cold;
pub mod copies;
pub mod frames;
pub mod hedge;
pub mod isolate;
pub mod load;
pub mod pull;
pub mod pulling;
pub mod replica;
pub mod slot;
pub mod slot_do;
pub mod table;
