//! When a replica that hears nothing asks the control plane by itself. Pure: no clock, nothing random, sends nothing.

use flagfuse_shared::ids::UnixMillis;
use flagfuse_shared::limits::{BEAT_INTERVAL_MS, BEAT_VALID_MS};

/// How a message reached the replica.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Via {
    /// The control plane sent it.
    Push,
    /// It was in the answer to a pull.
    Pull,
}

/// While beats come by pulls only, the next pull comes before the last beat has ended.
const PULL_INTERVAL_MS: u64 = 2 * BEAT_INTERVAL_MS;
/// Shortest pause after a pull that failed.
const BACKOFF_MS_MIN: u64 = 250;
/// Longest one. With its jitter and a pull's own time, an outage is over 2 s after the control plane is back.
const BACKOFF_MS_MAX: u64 = 1_000;
/// No further pull begins while one may still be under way.
const UNDER_WAY_MS: u64 = 15_000;

/// How a pull ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PullEnd {
    /// All messages of the answer were heard.
    Answered,
    /// No answer, or none that can be read.
    Failed,
}

/// When a replica pulls.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PullTimer {
    due_at: UnixMillis,
    /// Pulls that failed in a row.
    failure_count: u32,
    progress: Progress,
}

/// What happened since the last pull began.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Progress {
    /// Nothing was stored.
    None,
    /// Something was: what is still missing may come with the next answer.
    Stored,
}

impl PullTimer {
    /// A replica that has just woken up heard nobody yet, so it asks at once.
    pub const fn new(now: UnixMillis) -> Self {
        Self { due_at: now, failure_count: 0, progress: Progress::None }
    }

    /// When the next pull is due, unless a beat is heard before.
    pub const fn due_at(&self) -> UnixMillis {
        self.due_at
    }

    /// A valid beat was heard. One that was pushed makes pulls unnecessary until beats stop.
    pub fn heard(&mut self, via: Via, now: UnixMillis) {
        if via == Via::Push {
            self.due_at = self.due_at.max(now.plus(BEAT_VALID_MS));
            self.failure_count = 0;
        }
    }

    /// Something was stored.
    pub const fn stored(&mut self) {
        self.progress = Progress::Stored;
    }

    /// Whether a pull begins at `now`.
    pub fn begin(&mut self, now: UnixMillis) -> bool {
        let is_due = now >= self.due_at;
        if is_due {
            self.due_at = now.plus(UNDER_WAY_MS);
            self.progress = Progress::None;
        }
        is_due
    }

    /// A pull ended at `now`. `random` in 0..1 spreads the replicas that all lost the same control plane.
    pub fn end(&mut self, end: PullEnd, random: f64, now: UnixMillis) {
        let pause_ms = match (end, self.progress) {
            (PullEnd::Answered, Progress::Stored) => {
                self.failure_count = 0;
                0
            }
            (PullEnd::Answered, Progress::None) => {
                self.failure_count = 0;
                PULL_INTERVAL_MS
            }
            (PullEnd::Failed, _) => {
                let pause_ms = backoff_ms(self.failure_count, random);
                self.failure_count = self.failure_count.saturating_add(1);
                pause_ms
            }
        };
        self.due_at = now.plus(pause_ms);
    }
}

/// Doubles up to the longest pause; half of it is fixed, half is random.
fn backoff_ms(failure_count: u32, random: f64) -> u64 {
    let pause_ms = BACKOFF_MS_MIN.saturating_mul(1 << failure_count.min(8)).min(BACKOFF_MS_MAX);
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 to 1,000")]
    let spread = (random.clamp(0.0, 1.0) * 1_000.0) as u64;
    pause_ms / 2 + pause_ms / 2 * spread / 1_000
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: UnixMillis = UnixMillis(1_800_000_000_000);

    #[test]
    fn pulls_begin_when_beats_stop_and_end_when_they_are_pushed_again() {
        let mut timer = PullTimer::new(NOW);
        timer.heard(Via::Push, NOW);
        assert!(!timer.begin(NOW.plus(BEAT_VALID_MS - 1)));
        assert!(timer.begin(NOW.plus(BEAT_VALID_MS)));
        assert!(!timer.begin(NOW.plus(BEAT_VALID_MS + 1)), "one pull at a time");
        timer.end(PullEnd::Answered, 0.5, NOW.plus(1_600));
        assert_eq!(timer.due_at(), NOW.plus(1_600 + PULL_INTERVAL_MS));
        timer.heard(Via::Push, NOW.plus(1_700));
        assert_eq!(timer.due_at(), NOW.plus(1_700 + BEAT_VALID_MS));
    }

    #[test]
    fn beats_that_only_pulls_bring_never_run_out() {
        let mut timer = PullTimer::new(NOW);
        assert!(timer.begin(NOW));
        timer.heard(Via::Pull, NOW.plus(20));
        timer.end(PullEnd::Answered, 0.0, NOW.plus(20));
        assert!(timer.due_at().since(NOW.plus(20)) + 300 < BEAT_VALID_MS, "leaves time for the pull itself");
    }

    #[test]
    fn an_answer_that_brought_something_is_followed_by_the_next_question_at_once() {
        let mut timer = PullTimer::new(NOW);
        assert!(timer.begin(NOW));
        timer.stored();
        timer.end(PullEnd::Answered, 0.5, NOW.plus(5));
        assert!(timer.begin(NOW.plus(5)));
        timer.end(PullEnd::Answered, 0.5, NOW.plus(9));
        assert!(!timer.begin(NOW.plus(10)));
    }

    #[test]
    fn failures_are_repeated_ever_more_slowly_but_within_a_second() {
        let mut timer = PullTimer::new(NOW);
        let mut now = NOW;
        let mut pauses = Vec::new();
        for _ in 0..6 {
            assert!(timer.begin(now));
            timer.end(PullEnd::Failed, 1.0, now);
            pauses.push(timer.due_at().since(now));
            now = timer.due_at();
        }
        assert_eq!(pauses, [250, 500, 1_000, 1_000, 1_000, 1_000]);
        assert_eq!(backoff_ms(u32::MAX, 0.0), 500, "replicas spread over half of the pause");
    }
}
