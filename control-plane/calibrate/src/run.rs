//! Launches, batch by batch, on some threads; each batch is noted before the next one is given out.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::channel;
use std::thread;

use anyhow::Result;

use crate::cell::{Cell, Kept, Sample};
use crate::chance::seed;
use crate::clock::Began;
use crate::journal::{BATCH, Batch, Journal};

/// What is to be done.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    /// Launches of each cell at most; those of a full calibration where absent.
    pub repetitions: Option<u64>,
    /// Threads.
    pub threads: usize,
}

/// How far it is.
#[derive(Debug, Clone, Copy)]
pub struct Progress {
    /// Batches that are done.
    pub done: usize,
    /// Batches of this round.
    pub all: usize,
    /// Seconds of a processor that they took.
    pub core_s: f64,
}

/// Runs the launches of a batch.
pub fn batch(cell: &Cell, number: u64, launches: u64) -> Result<Batch> {
    let began = Began::now();
    let first = number * BATCH;
    let samples = (first..first + launches)
        .map(|at| (cell.launch)(seed(&cell.name, at)))
        .collect::<Result<Vec<Sample>>>()?;
    Ok(Batch { cell: cell.name.clone(), number, samples, core_s: began.core_s() })
}

/// Does what is missing: each cell's launches, and more where they leave a bar unclear. Tells how far it is after each batch.
pub fn run(
    cells: &[Cell],
    journal: &mut Journal,
    plan: Plan,
    mut tell: impl FnMut(&Cell, Progress),
) -> Result<()> {
    let limit = |launches: u64| plan.repetitions.map_or(launches, |most| most.min(launches));
    let first = cells.iter().map(|cell| (cell, limit(cell.repetitions)));
    round(&first.collect::<Vec<_>>(), journal, plan.threads, &mut tell)?;
    if plan.repetitions.is_some() {
        return Ok(());
    }
    let is_unclear = |cell: &Cell| {
        let (samples, _) = journal.samples(&cell.name);
        cell.bars
            .iter()
            .any(|bar| bar.figure(&samples).is_some_and(|figure| bar.kept(&figure) == Kept::Unclear))
    };
    let more = cells.iter().filter(|cell| cell.repetitions_max > cell.repetitions && is_unclear(cell));
    round(
        &more.map(|cell| (cell, cell.repetitions_max)).collect::<Vec<_>>(),
        journal,
        plan.threads,
        &mut tell,
    )
}

fn round(
    cells: &[(&Cell, u64)],
    journal: &mut Journal,
    threads: usize,
    tell: &mut impl FnMut(&Cell, Progress),
) -> Result<()> {
    let mut jobs = Vec::new();
    for (cell, launches) in cells {
        for number in 0..launches.div_ceil(BATCH) {
            if !journal.has(&cell.name, number) {
                jobs.push((*cell, number, BATCH.min(launches - number * BATCH)));
            }
        }
    }
    let next = AtomicUsize::new(0);
    let (sender, receiver) = channel();
    thread::scope(|scope| {
        for _ in 0..threads.min(jobs.len()) {
            let (sender, next, jobs) = (sender.clone(), &next, &jobs);
            scope.spawn(move || {
                while let Some((cell, number, launches)) = jobs.get(next.fetch_add(1, Ordering::Relaxed)) {
                    // Nobody listens any more after an error.
                    if sender.send((*cell, batch(cell, *number, *launches))).is_err() {
                        break;
                    }
                }
            });
        }
        drop(sender);
        let mut progress = Progress { done: 0, all: jobs.len(), core_s: 0.0 };
        for (cell, batch) in receiver {
            let batch = batch?;
            progress.done += 1;
            progress.core_s += batch.core_s;
            journal.add(cell, batch)?;
            tell(cell, progress);
        }
        Ok(())
    })
}
