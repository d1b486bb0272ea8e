//! What the commands and the cross-crate tests share: building the edge and running it. Never product logic.

pub mod edge_build;
pub mod process;
pub mod tools;
pub mod workerd;
