//! How a signed snapshot gets from the control plane into an isolate's memory, and how old it may be when it answers.

pub mod ask;
pub mod bootstrap;
pub mod budget;
pub mod cache;
pub mod copies;
pub mod credential;
pub mod frames;
pub mod hedge;
pub mod isolate;
pub mod load;
pub mod opening;
pub mod pull;
pub mod pulling;
pub mod refused;
pub mod replica;
pub mod replica_do;
pub mod slot;
pub mod table;
