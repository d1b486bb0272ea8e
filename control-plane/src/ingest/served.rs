//! Which phase an evaluation belongs to that does not say so itself: asked of the snapshot that answered, or that was the
//! newest when it was made. What is not certain is not counted: both arms would have to lose the same units.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use flagfuse_otlp::{Attr, Evaluation, Reason};
use flagfuse_shared::bucket::{Bucket, COHORT_SEED, Salted};
use flagfuse_shared::definition::{CohortSliceWire, FlagWire, HoldoutRole, RuleWire, SharedWire};
use flagfuse_shared::ids::{Scope, SnapshotVersion, UnixMillis};
use flagfuse_shared::snapshot::payload::{Definitions, definitions};
use tokio::sync::Mutex;
use tokio::task::spawn_blocking;

use crate::store::{Connection, Store, StoreError, snapshots};

/// Versions that are remembered, of all environments. A typical one takes some kilobytes.
const KEPT_COUNT_MAX: usize = 32;
/// Versions that are looked into for one request, the newest of them.
const LOOKED_COUNT_MAX: usize = 8;

/// What becomes of an evaluation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// It is an event as it is: it names a phase, or something is wrong with it.
    AsItIs,
    /// An event of this phase.
    In(u32),
    /// No event.
    Ignored(Reason),
}

/// A flag under a fuse, in one version.
#[derive(Debug)]
struct Watched {
    phase: u32,
    slices: Vec<CohortSliceWire>,
    salted: Salted,
    /// Whether nothing but its cohort gives the reason `SPLIT`.
    is_certain: bool,
}

/// The flags of a version; those under a fuse with what there is to know of them.
#[derive(Debug)]
pub(super) struct Served(BTreeMap<String, Option<Watched>>);

impl Served {
    fn of(Definitions { flags, shared }: Definitions) -> Self {
        Self(flags.into_iter().map(|flag| (flag.key.clone(), Watched::of(flag, &shared))).collect())
    }

    /// Of an evaluation that [`before`] let pass.
    fn standing(&self, evaluation: &Evaluation<'_>) -> Standing {
        let flag = evaluation.flag.text().unwrap_or_default();
        let watched = match self.0.get(flag) {
            // Flags of other systems have no set, or another one.
            None if evaluation.set.is_some() => return Standing::AsItIs,
            None => return Standing::Ignored(Reason::UnknownFlag),
            Some(None) => return Standing::Ignored(Reason::Unwatched),
            Some(Some(watched)) => watched,
        };
        match evaluation.reason.as_ref().and_then(Attr::text).map(str::to_ascii_lowercase).as_deref() {
            Some("split") if watched.is_certain => {}
            // An answer from a cache had a reason before; it may have been any.
            None | Some("split" | "cached" | "unknown") => return Standing::Ignored(Reason::PhaseUnknown),
            Some(_) => return Standing::Ignored(Reason::OutsideCohort),
        }
        let is_version = |version: &Attr<'_>| version.text().is_some();
        let unit = evaluation.unit.as_ref().and_then(Attr::text).filter(|unit| !unit.is_empty());
        let (Some(unit), true) = (unit, evaluation.version.as_ref().is_none_or(is_version)) else {
            return Standing::AsItIs;
        };
        let bucket = Bucket::under(watched.salted, unit).get();
        let slice = watched.slices.iter().find(|slice| (slice.from..slice.to).contains(&bucket));
        match slice.filter(|slice| !slice.unenrolled) {
            Some(slice) => Standing::In(slice.phase.unwrap_or(watched.phase)),
            None => Standing::Ignored(Reason::OutsideCohort),
        }
    }
}

impl Watched {
    fn of(flag: FlagWire, shared: &SharedWire) -> Option<Self> {
        let cohort = flag.cohort?;
        let is_held_out = shared.holdout.is_some() && flag.holdout == HoldoutRole::Member;
        let is_certain = !is_held_out
            && flag.layer.is_none()
            && flag.unleash.is_none()
            // What an evaluation is told by is its targeting key.
            && flag.bucket_by.is_none()
            && !flag.rules.iter().any(may_split);
        let salt = cohort.salt.as_deref().or(flag.salt.as_deref()).unwrap_or(&flag.key);
        let salted = Salted::new(salt, COHORT_SEED);
        Some(Self { phase: cohort.phase, slices: cohort.slices, salted, is_certain })
    }
}

/// Whether a rule may give the reason that a cohort gives.
fn may_split(rule: &RuleWire) -> bool {
    rule.percentage.is_some() || rule.unleash.is_some() || rule.split.len() != 1
}

/// What can be said of an evaluation without a look at the flags; `set` is the environment's.
pub(super) fn before(evaluation: &Evaluation<'_>, set: &str) -> Option<Standing> {
    if evaluation.set.as_ref().is_some_and(|own| own.text() != Some(set)) {
        return Some(Standing::Ignored(Reason::OtherSet));
    }
    let reason = evaluation.reason.as_ref().and_then(Attr::text);
    if evaluation.variation.is_none() || reason.is_some_and(|reason| reason.eq_ignore_ascii_case("error")) {
        return Some(Standing::Ignored(Reason::Failed));
    }
    let is_open = evaluation.flag.text().is_some() && evaluation.phase.is_none();
    (!is_open).then_some(Standing::AsItIs)
}

/// Versions that were looked into.
#[derive(Debug, Default)]
pub(super) struct ServedVersions {
    kept: Mutex<HashMap<(Scope, SnapshotVersion), Arc<Served>>>,
}

impl ServedVersions {
    /// What becomes of evaluations in an environment, in their order.
    pub(super) async fn standings(
        &self,
        store: &Store,
        scope: &Scope,
        evaluations: &[&Evaluation<'_>],
    ) -> Result<Vec<Standing>, StoreError> {
        let set = format!("{}/{}", scope.project, scope.environment);
        let told: Vec<_> = evaluations.iter().map(|evaluation| before(evaluation, &set)).collect();
        if told.iter().all(Option::is_some) {
            return Ok(told.into_iter().flatten().collect());
        }
        let mut conn = store.read().await?;
        let times = snapshots::times(&mut conn, scope).await?;
        let open = evaluations.iter().zip(&told).filter(|(_, told)| told.is_none());
        let chosen = |evaluation: &Evaluation<'_>| {
            let own = version_of(evaluation).filter(|own| times.iter().any(|(kept, _)| kept == own));
            own.or_else(|| newest_at(&times, evaluation.at_ms))
        };
        let versions: BTreeSet<_> = open.filter_map(|(evaluation, _)| chosen(evaluation)).collect();
        let mut served = BTreeMap::new();
        for version in versions.into_iter().rev().take(LOOKED_COUNT_MAX) {
            served.extend(self.version(&mut conn, scope, version).await?.map(|found| (version, found)));
        }
        let standing = |evaluation: &Evaluation<'_>| {
            let found = chosen(evaluation).and_then(|version| served.get(&version));
            found.map_or(Standing::Ignored(Reason::PhaseUnknown), |served| served.standing(evaluation))
        };
        let all = evaluations.iter().zip(&told);
        Ok(all.map(|(evaluation, told)| told.unwrap_or_else(|| standing(evaluation))).collect())
    }

    /// `None` of a version that is not kept any more, or cannot be read.
    async fn version(
        &self,
        conn: &mut Connection,
        scope: &Scope,
        version: SnapshotVersion,
    ) -> Result<Option<Arc<Served>>, StoreError> {
        // Whoever waits finds what the other one read.
        let mut kept = self.kept.lock().await;
        let name = (scope.clone(), version);
        if let Some(known) = kept.get(&name) {
            return Ok(Some(Arc::clone(known)));
        }
        let Some(frame) = snapshots::frame(conn, scope, version).await? else { return Ok(None) };
        let read = spawn_blocking(move || definitions(&frame).map(Served::of)).await;
        let served = match read {
            Ok(Ok(served)) => Arc::new(served),
            Ok(Err(error)) => {
                tracing::error!(%error, %version, "a version cannot be read, and nothing is told by it");
                return Ok(None);
            }
            // Only when the runtime shuts down.
            Err(_) => return Err(StoreError::Busy),
        };
        if kept.len() >= KEPT_COUNT_MAX {
            kept.clear();
        }
        kept.insert(name, Arc::clone(&served));
        Ok(Some(served))
    }
}

fn version_of(evaluation: &Evaluation<'_>) -> Option<SnapshotVersion> {
    SnapshotVersion::parse(evaluation.version.as_ref()?.text()?)
}

/// The newest version that was there at a time; `times` has the newest first.
fn newest_at(times: &[(SnapshotVersion, UnixMillis)], at_ms: u64) -> Option<SnapshotVersion> {
    times.iter().find(|(_, created_ms)| created_ms.0 <= at_ms).map(|(version, _)| *version)
}
