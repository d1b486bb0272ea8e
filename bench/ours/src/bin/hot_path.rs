//! Evaluates each workload a given number of times, for a profiler that counts instructions. Never looks at a clock.
//!
//! The set-up costs far more than an evaluation: run it with two counts and take the difference.

use std::hint::black_box;
use std::process::ExitCode;

use flagfuse_bench_ours::evaluator::Ours;

fn main() -> ExitCode {
    let counts: Vec<usize> = std::env::args().skip(1).map_while(|count| count.parse().ok()).collect();
    let [a_count, b_count, c_count, load_count] = counts[..] else {
        eprintln!("usage: hot_path A_COUNT B_COUNT C_COUNT LOAD_COUNT");
        return ExitCode::FAILURE;
    };
    let mut ours = Ours::set_up();
    for turn in 0..a_count {
        black_box(ours.a(black_box(turn)));
    }
    for turn in 0..b_count {
        black_box(ours.b(black_box(turn)));
    }
    for turn in 0..c_count {
        black_box(ours.c(black_box(turn)));
    }
    for _ in 0..load_count {
        black_box(ours.load());
    }
    ExitCode::SUCCESS
}
