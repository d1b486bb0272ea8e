//! The one enumeration that JavaScript passes in.

use wasm_bindgen::prelude::*;

/// Whether the snapshot's freshness is proven at the time of a question.
#[wasm_bindgen]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Freshness {
    /// Within the staleness bound.
    Fresh = 0,
    /// Beyond it: flags may answer with their `on_stale`.
    Stale = 1,
}
