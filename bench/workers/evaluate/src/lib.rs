//! Our workloads of `bench/peers`, compiled to Wasm: the same flags, the same code, to be timed from outside.

use std::cell::RefCell;

use flagfuse_bench_ours::evaluator::Ours;
use wasm_bindgen::prelude::wasm_bindgen;

thread_local! {
    static OURS: RefCell<Option<Ours>> = const { RefCell::new(None) };
}

/// Runs a workload `count` times; the sum of its answers. Time stands still inside a worker that does no I/O, so
/// nothing is timed here.
#[wasm_bindgen]
pub fn run(workload: &str, count: u32) -> u32 {
    OURS.with_borrow_mut(|ours| {
        let ours = ours.get_or_insert_with(Ours::set_up);
        let sum: u64 = (0..count as usize)
            .map(|turn| match workload {
                "a" => ours.a(turn),
                "b" => ours.b(turn),
                "c" => ours.c(turn),
                "load" => ours.load(),
                _ => 0,
            })
            .sum();
        u32::try_from(sum).unwrap_or(u32::MAX)
    })
}
