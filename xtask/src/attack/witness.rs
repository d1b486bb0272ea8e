//! Honest users in the midst of it: each asks for one flag, the edge records the exposure, and it has to be counted in time.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use super::Finding;
use super::crowd::Crowd;
use super::ground::{Ground, OPEN_COUNT_MAX, WITNESS, single};
use crate::wait::eventually;

const PAUSE: Duration = Duration::from_millis(200);
/// A verdict may wait so long for its events before it has to say that it is blind.
const COUNTED_WITHIN: Duration = Duration::from_secs(30);
/// How long is waited to see how late it was.
const LATE_LIMIT: Duration = Duration::from_mins(1);

/// Lets users come until `work` is done, then waits until all of them are counted.
pub(super) fn beside<T: Send>(
    ground: &Ground,
    work: impl FnOnce() -> Result<T> + Send,
) -> Result<(T, Finding)> {
    let crowd = Crowd::of(ground)?;
    let is_over = AtomicBool::new(false);
    let (outcome, shown) = thread::scope(|scope| {
        let users = scope.spawn(|| come(ground, &crowd, &is_over));
        let outcome = work();
        is_over.store(true, Ordering::SeqCst);
        let shown = users.join().map_err(|_| anyhow::anyhow!("the users panicked"))??;
        Ok::<_, anyhow::Error>((outcome?, shown))
    })?;
    Ok((outcome, counted(ground, shown)))
}

/// How many members of the cohort were shown the flag.
fn come(ground: &Ground, crowd: &Crowd, is_over: &AtomicBool) -> Result<u64> {
    let mut shown = 0;
    for number in 0_u32.. {
        if is_over.load(Ordering::SeqCst) {
            break;
        }
        thread::sleep(PAUSE);
        let unit = format!("honest-{number}");
        // Asked at the isolate that nobody attacks.
        if let Some(edge) = ground.edges.last()
            && crowd.member(WITNESS, &unit)?.is_some()
            && single(edge, WITNESS, &unit).is_ok_and(|answer| answer.status == 200)
        {
            shown += 1;
        }
    }
    Ok(shown)
}

fn counted(ground: &Ground, shown: u64) -> Finding {
    let began = Instant::now();
    let all = eventually("honest exposures are counted", LATE_LIMIT, || {
        let counted = ground.counted(WITNESS)?;
        ensure!(counted + OPEN_COUNT_MAX >= shown, "{counted} of {shown}");
        Ok(())
    });
    let took = began.elapsed();
    let told = match &all {
        Ok(()) => {
            format!("all {shown} but for the open slot within {:.1} s after the attack", took.as_secs_f64())
        }
        Err(error) => format!("{error:#}"),
    };
    let rule = "what the edge recorded during the attack is counted 30 s after it";
    Finding::new(rule, told, all.is_ok() && took <= COUNTED_WITHIN && shown > 0)
}
