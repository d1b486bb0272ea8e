//! What JavaScript sees of the generator. The evaluator that is shipped is linked in, with exports of its own.

use wasm_bindgen::prelude::*;

pub use flagfuse_evaluator::Evaluator;

/// One digest a line for `count` seeds from `from` on.
#[wasm_bindgen]
pub fn digests(from: u64, count: u64) -> String {
    crate::digests(from, count)
}

/// Everything that one seed leads to.
#[wasm_bindgen]
pub fn transcript(seed: u64) -> String {
    crate::transcript(seed)
}
