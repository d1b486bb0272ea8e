//! What the edge can make sure of about a request: that it answered its unit before, from which network it comes, whether a
//! bot sent it. Decides nothing about evaluations.

pub mod bots;
pub mod network;
pub mod ticket;
