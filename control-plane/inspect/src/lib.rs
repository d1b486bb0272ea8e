//! What flags do, told to people: who gets another answer after a change, and why a flag answers as it does. Pure, and
//! evaluates only what was signed and verified, as an edge does.

pub mod diff;
pub mod explain;
mod rehearsal;
