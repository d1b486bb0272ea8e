//! Does several things at once, the first ones first, and hands over what came of each as it ends.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::sync_channel;
use std::thread;

use anyhow::Result;

/// Does all `jobs`, at most `at_once` of them at the same time, and calls `ended` with each one's outcome, one at a time.
/// An error of `ended` begins no further job and is returned once those that run have ended.
pub(crate) fn side_by_side<J: Sync, O: Send>(
    jobs: &[J],
    at_once: usize,
    act: impl Fn(&J) -> O + Sync,
    mut ended: impl FnMut(&J, O) -> Result<()>,
) -> Result<()> {
    let next = AtomicUsize::new(0);
    // Without a place to wait: nobody gets ahead of what `ended` has seen by more than a job.
    let (sender, receiver) = sync_channel(0);
    thread::scope(|scope| {
        for _ in 0..at_once.min(jobs.len()) {
            let (sender, next, act) = (sender.clone(), &next, &act);
            scope.spawn(move || {
                while let Some(job) = jobs.get(next.fetch_add(1, Ordering::Relaxed)) {
                    // Nobody listens any more after an error: then this was the last job.
                    if sender.send((job, act(job))).is_err() {
                        break;
                    }
                }
            });
        }
        drop(sender);
        receiver.into_iter().try_for_each(|(job, outcome)| ended(job, outcome))
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;

    use anyhow::bail;

    use super::*;

    #[test]
    fn every_job_is_done_once_and_two_at_the_same_time() {
        let meeting = Barrier::new(2);
        let jobs = [1, 2, 3, 4];
        let act = |job: &i32| {
            // Would wait for ever if one came after the other.
            meeting.wait();
            job * 10
        };
        let mut found = Vec::new();
        side_by_side(&jobs, 2, act, |job, outcome| {
            found.push((*job, outcome));
            Ok(())
        })
        .unwrap();
        found.sort_unstable();
        assert_eq!(found, [(1, 10), (2, 20), (3, 30), (4, 40)]);
    }

    #[test]
    fn an_error_begins_nothing_new() {
        let begun = AtomicUsize::new(0);
        let act = |_: &usize| begun.fetch_add(1, Ordering::SeqCst);
        let result = side_by_side(&(0..1_000).collect::<Vec<_>>(), 1, act, |_, _| bail!("no more"));
        assert_eq!(result.unwrap_err().to_string(), "no more");
        let begun = begun.into_inner();
        assert!(begun <= 2, "{begun} were begun");
    }
}
