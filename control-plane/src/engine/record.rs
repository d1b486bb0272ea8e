//! Writes verdicts that differ from the one before or are due: a few transactions for all fuses of an
//! environment, none of which a kill has to wait for long. A verdict on a revision that another engine or a person has left is
//! written no more: what is written follows the fuse's own order.

use std::borrow::Cow;

use flagfuse_shared::ids::{Scope, UnixMillis};

use super::basis::Ground;
use super::memory::Watched;
use crate::model::verdict::Verdict;
use crate::store::verdicts::{self, NewVerdict, Said, VERDICT_COUNT_AT_ONCE};
use crate::store::{Lock, Store, StoreError, fuses};

/// An unchanged verdict is written again after this long, as a sign of life.
const VERDICT_INTERVAL_MS: u64 = 10_000;

/// What was found of a fuse.
#[derive(Debug, Clone, Copy)]
pub(super) struct Finding<'f> {
    pub(super) watched: &'f Watched,
    pub(super) verdict: &'f Verdict,
    /// What it was made of.
    pub(super) ground: Ground<'f>,
}

/// What became of it.
#[derive(Debug, Clone, Default)]
pub(super) struct Recorded {
    /// Whether the verdict was written.
    pub(super) is_written: bool,
    /// The newest verdict of the fuse, where it was looked at.
    pub(super) said: Option<Said>,
}

impl Finding<'_> {
    fn flag(&self) -> &str {
        &self.watched.fuse.flag
    }

    /// Whether the verdict differs from the newest that is written, or that one is old enough.
    fn is_due(&self, newest: Option<&Said>, now: UnixMillis) -> bool {
        newest.is_none_or(|old| {
            // Another engine has looked since, and has written what it saw.
            if old.at_ms > now && old.at_ms.since(now) < VERDICT_INTERVAL_MS {
                return false;
            }
            let is_same = old.decision == self.verdict.decision.as_str()
                && old.reason == self.verdict.reason.as_str()
                && old.phase == self.watched.phase;
            !is_same || now.since(old.at_ms) >= VERDICT_INTERVAL_MS
        })
    }

    fn said(&self, now: UnixMillis) -> Said {
        Said::of(self.watched.phase, self.verdict, now)
    }
}

/// Records findings; what became of each, in their order.
pub(super) async fn record(
    store: &Store,
    scope: &Scope,
    findings: &[Finding<'_>],
    now: UnixMillis,
) -> Result<Vec<Recorded>, StoreError> {
    let mut recorded = vec![Recorded::default(); findings.len()];
    let is_wanted = |finding: &Finding<'_>| finding.is_due(finding.watched.said.as_ref(), now);
    let wanted: Vec<usize> =
        findings.iter().enumerate().filter(|(_, finding)| is_wanted(finding)).map(|(at, _)| at).collect();
    for wanted in wanted.chunks(VERDICT_COUNT_AT_ONCE) {
        let chosen: Vec<Finding<'_>> = wanted.iter().filter_map(|at| findings.get(*at)).copied().collect();
        let written = write(store, scope, &chosen, now).await?;
        for (at, written) in wanted.iter().zip(written) {
            if let Some(place) = recorded.get_mut(*at) {
                *place = written;
            }
        }
    }
    Ok(recorded)
}

async fn write(
    store: &Store,
    scope: &Scope,
    findings: &[Finding<'_>],
    now: UnixMillis,
) -> Result<Vec<Recorded>, StoreError> {
    let mut tx = store.write(Lock::Environment(scope)).await?;
    // Looked at again under the lock: another engine on this database may have written the same one.
    let flags: Vec<&str> = findings.iter().map(Finding::flag).collect();
    let mut newest = verdicts::newest_of(&mut tx, scope, &flags).await?;
    let revisions = fuses::revisions(&mut tx, scope, &flags).await?;
    let (mut new, mut recorded) = (Vec::new(), Vec::with_capacity(findings.len()));
    for finding in findings {
        let newest = newest.remove(finding.flag());
        let stands = revisions.get(finding.flag()) == Some(&finding.watched.fuse.revision);
        let is_written = stands && finding.is_due(newest.as_ref(), now);
        if is_written {
            let (phase, verdict) = (finding.watched.phase, finding.verdict);
            let basis = Cow::Owned(finding.ground.text());
            new.push(NewVerdict { flag: finding.flag(), phase, verdict, basis });
        }
        recorded
            .push(Recorded { is_written, said: if is_written { Some(finding.said(now)) } else { newest } });
    }
    verdicts::insert(&mut tx, scope, &new, now).await?;
    tx.commit().await?;
    Ok(recorded)
}
