//! Commands of the program that are more than wiring. They print; everything else is the library's.

pub(crate) mod explain;
pub(crate) mod import;
pub(crate) mod keys;
