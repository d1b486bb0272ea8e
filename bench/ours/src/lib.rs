//! Our side of the benchmarks: the flags and people that every engine is given, and our evaluator asked about them.
//! Never measures, and is part of no product.

pub mod evaluator;
pub mod flags;
pub mod unleash;
