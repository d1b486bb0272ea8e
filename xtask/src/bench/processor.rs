//! Time that a process has spent on processors: unlike the wall's, it does not grow when somebody else compiles.

use std::fs;
use std::time::Duration;

/// Seconds that all threads of a process have run, except threads that have ended; `None` where the kernel does not tell.
pub(super) fn used_s(process_id: u32) -> Option<f64> {
    let threads = fs::read_dir(format!("/proc/{process_id}/task")).ok()?;
    // Nanoseconds on a processor, nanoseconds of waiting for one, turns: Documentation/scheduler/sched-stats.rst.
    let thread_ns = |stat: String| stat.split(' ').next()?.parse::<u64>().ok();
    let all_ns: Option<u64> = threads
        .map(|thread| fs::read_to_string(thread.ok()?.path().join("schedstat")).ok().and_then(thread_ns))
        .sum();
    all_ns.map(|ns| Duration::from_nanos(ns).as_secs_f64())
}

/// Seconds that a process has run between two looks; the wall's, `wall_s`, where the kernel does not tell.
pub(super) fn used_between_s(before_s: Option<f64>, after_s: Option<f64>, wall_s: f64) -> f64 {
    after_s.zip(before_s).map_or(wall_s, |(after, before)| after - before)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_the_kernels_word_the_wall_counts() {
        assert!((used_between_s(Some(1.0), Some(3.5), 9.0) - 2.5).abs() < f64::EPSILON);
        assert!((used_between_s(None, Some(3.5), 9.0) - 9.0).abs() < f64::EPSILON);
    }
}
