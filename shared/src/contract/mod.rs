//! What crosses between edge and control plane: paths, headers, bodies, status meanings. Shapes only.

pub mod beacon;
pub mod fault;
pub mod probe;
pub mod replica;
pub mod usage;
