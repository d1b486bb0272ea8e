//! What a calculation costs: the time that has passed, and the processor time of a thread where the kernel tells it.

use std::fs;
use std::time::{Duration, Instant};

/// When something began.
#[derive(Debug, Clone, Copy)]
pub struct Began {
    wall: Instant,
    core: Option<Duration>,
}

impl Began {
    /// Now.
    #[expect(clippy::disallowed_methods, reason = "this is where the clock is read")]
    pub fn now() -> Self {
        Self { wall: Instant::now(), core: core() }
    }

    /// Seconds since then.
    pub fn wall_s(&self) -> f64 {
        self.wall.elapsed().as_secs_f64()
    }

    /// Seconds of a processor that this thread has used since then; the time that has passed where nobody knows.
    pub fn core_s(&self) -> f64 {
        let core = core().zip(self.core).map(|(after, before)| after.saturating_sub(before));
        core.unwrap_or_else(|| self.wall.elapsed()).as_secs_f64()
    }
}

/// Nanoseconds of this thread: Documentation/scheduler/sched-stats.rst.
fn core() -> Option<Duration> {
    let text = fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    text.split(' ').next()?.parse().ok().map(Duration::from_nanos)
}
