//! How a signed snapshot gets from the control plane into an isolate's memory, and how old it may be when it answers.

pub mod budget;
pub mod cache;
pub mod compiled;
pub mod credential;
pub mod driver;
pub mod features;
pub mod frames;
pub mod hedge;
pub mod isolate;
pub mod kv;
pub mod kv_copies;
pub mod load;
pub mod memory;
pub mod opening;
pub mod probe;
pub mod pull_client;
pub mod pull_timer;
pub mod refused;
pub mod replica;
pub mod replica_do;
pub mod runtime;
pub mod served;
pub mod slot;
pub mod table;
