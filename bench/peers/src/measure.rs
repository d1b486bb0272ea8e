//! Times the workloads of all engines, interleaved: one short slice of each in every round. Knows no engine.
//!
//! Time is the processor's for this thread, not the wall's: engines neither wait nor start threads, and whoever else runs
//! on the machine takes turns with all of them.

use std::hint::black_box;
use std::time::Duration;

use cpu_time::ThreadTime;
use serde_json::{Value, json};

use crate::subject::Subject;

/// One slice, which is how long an engine keeps the processor before it is the next one's turn.
const SLICE: Duration = Duration::from_millis(50);
/// How long each engine runs before anything counts: caches, branch predictors, the allocator, the processor's clock.
const WARM_UP: Duration = Duration::from_millis(200);

/// A workload: its name and how to run it once. The answer is only looked at so that nothing is optimised away.
pub struct Workload {
    /// Name of the figure, with its unit.
    pub name: &'static str,
    /// Nanoseconds of that unit.
    pub ns_per_unit: f64,
    /// Runs it once.
    pub run: fn(&mut dyn Subject, usize) -> u64,
}

/// The four workloads.
pub const WORKLOADS: [Workload; 4] = [
    Workload { name: "a_ns", ns_per_unit: 1.0, run: |subject, turn| subject.a(turn) },
    Workload { name: "b_ns", ns_per_unit: 1.0, run: |subject, turn| subject.b(turn) },
    Workload { name: "c_us", ns_per_unit: 1e3, run: |subject, turn| subject.c(turn) },
    Workload { name: "load_ms", ns_per_unit: 1e6, run: |subject, _| subject.load() },
];

/// Every workload of every engine, `round_count` times: for each engine and workload the figure of each round.
pub fn measure(subjects: &mut [Box<dyn Subject>], round_count: usize) -> Vec<Vec<Vec<f64>>> {
    let counts: Vec<Vec<usize>> = subjects
        .iter_mut()
        .map(|subject| WORKLOADS.iter().map(|workload| warm_up(subject.as_mut(), workload)).collect())
        .collect();
    let mut figures = vec![vec![Vec::with_capacity(round_count); WORKLOADS.len()]; subjects.len()];
    for round in 0..round_count {
        for (which, workload) in WORKLOADS.iter().enumerate() {
            for offset in 0..subjects.len() {
                // A different engine begins each round, so that none always follows the same neighbour.
                let at = (round + offset) % subjects.len();
                let count = counts[at][which];
                let elapsed = time(subjects[at].as_mut(), workload, count);
                figures[at][which].push(per_unit(elapsed, count, workload));
            }
        }
    }
    figures
}

/// Runs until warm; how many runs fill a slice.
fn warm_up(subject: &mut dyn Subject, workload: &Workload) -> usize {
    let began = ThreadTime::now();
    let mut count: u32 = 0;
    while began.elapsed() < WARM_UP || count < 3 {
        // Asking for the time costs as much as the fastest workload, so it is asked rarely.
        let batch = if began.elapsed() < WARM_UP / 10 { 1 } else { count.div_ceil(10) };
        time(subject, workload, batch as usize);
        count += batch;
    }
    let per_run = began.elapsed().as_secs_f64() / f64::from(count);
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a small positive count")]
    let count = (SLICE.as_secs_f64() / per_run) as usize;
    count.max(3)
}

fn time(subject: &mut dyn Subject, workload: &Workload, count: usize) -> Duration {
    let began = ThreadTime::now();
    for turn in 0..count {
        black_box((workload.run)(subject, black_box(turn)));
    }
    began.elapsed()
}

#[expect(clippy::cast_precision_loss, reason = "counts far below 2^52")]
fn per_unit(elapsed: Duration, count: usize, workload: &Workload) -> f64 {
    elapsed.as_secs_f64() * 1e9 / count as f64 / workload.ns_per_unit
}

/// Median, minimum and maximum of the rounds, and the rounds themselves: two engines are best compared round by round.
pub fn summary(rounds: &[f64]) -> Value {
    let mut sorted = rounds.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    let median = if sorted.len() % 2 == 1 {
        sorted[middle]
    } else {
        f64::midpoint(sorted[middle - 1], sorted[middle])
    };
    json!({ "median": median, "min": sorted[0], "max": sorted[sorted.len() - 1], "rounds": rounds })
}
