//! What clients and the control plane can ask over HTTP, one file per route. Handlers never touch storage.

pub mod asker;
pub mod body;
pub mod client_key;
pub mod evaluation;
pub mod events;
pub mod gate;
pub mod health;
pub mod labels;
pub mod ofrep;
pub mod problem;
pub mod push;
pub mod reply;
pub mod request;
pub mod route;
pub mod session;
pub mod stream;
pub mod unleash;
pub mod usage;
