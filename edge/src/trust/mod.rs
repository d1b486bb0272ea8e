//! What the edge can make sure of about a request: that it answered its unit before, that the customer's server vouches for the
//! unit, from which network it comes, whether a bot sent it. Decides nothing about evaluations.

pub mod bots;
pub mod network;
pub mod secrets;
pub mod ticket;
pub mod unit;
