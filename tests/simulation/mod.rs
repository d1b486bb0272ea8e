//! A world of control planes, replicas, isolates, buffers and clients in virtual time. The state machines, the signatures and
//! the wire formats are the production ones; processes, disks, networks, clocks and the database are models.
//!
//! The shape is that of `TigerBeetle`'s VOPR and `FoundationDB`'s simulation: one thread, one stream of chance, an oracle that
//! sees everything, and faults that are planted to see whether it does.

mod adversary;
mod beacon;
mod bell;
mod chance;
mod chaos;
mod database;
mod disk;
pub(crate) mod fault;
mod isolate;
mod network;
pub(crate) mod oracle;
mod plane;
mod replica;
mod signer;
mod sim;
mod trace;
pub(crate) mod world;
