//! What events are checked against: flags and phases of one environment, read when an event names them, and anew when the
//! environment's version moves.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use flagfuse_cells::PhaseId;
use flagfuse_shared::bucket::{COHORT_SEED, Salted};
use flagfuse_shared::contract::beacon::answer::BufferSettings;
use flagfuse_shared::definition::FlagWire;
use flagfuse_shared::ids::{FlagKey, Scope, SnapshotVersion};
use tokio::time::Instant;

use crate::clock::monotonic;
use crate::store::phases::{self, PhaseRow};
use crate::store::{Connection, Store, StoreError, flags, fuses, scopes};

/// How long what is known stands before the environment's version is looked at again.
const FRESH: Duration = Duration::from_millis(250);
/// Flags and phases that are remembered; clients may make up as many names as they like.
const KNOWN_COUNT_MAX: usize = 20_000;
/// Names of one batch that are looked up anew when nothing is known of them.
const SOUGHT_COUNT_MAX: usize = 64;

/// A phase, and what follows from it.
#[derive(Debug)]
pub(super) struct Phase {
    pub(super) row: PhaseRow,
    pub(super) salted: Salted,
}

impl Phase {
    pub(super) fn of(row: PhaseRow) -> Self {
        let salted = Salted::new(&row.salt, COHORT_SEED);
        Self { row, salted }
    }

    pub(super) const fn id(&self) -> PhaseId {
        PhaseId(self.row.phase_id)
    }
}

/// What is known of a name.
#[derive(Debug, Clone)]
pub(super) enum Known<T> {
    Is(T),
    /// There is none of that name.
    IsNot,
    /// Its row cannot be read, which is our fault.
    Broken,
}

/// Flags and phases of an environment.
#[derive(Debug, Default)]
pub(super) struct Catalogue {
    version: Option<SnapshotVersion>,
    /// When it was looked at, and how often the bell of changes had rung by then.
    looked: Option<(Instant, u64)>,
    settings: Option<BufferSettings>,
    flags: HashMap<FlagKey, Known<Arc<FlagWire>>>,
    phases: HashMap<FlagKey, HashMap<u32, Known<Arc<Phase>>>>,
    phase_count: usize,
}

/// Names that the events of a batch use.
#[derive(Debug, Default)]
pub(super) struct Names {
    /// Flags by themselves.
    pub(super) flags: BTreeSet<FlagKey>,
    /// Phases of flags.
    pub(super) phases: BTreeSet<(FlagKey, u32)>,
}

impl Catalogue {
    pub(super) fn flag(&self, key: &FlagKey) -> &Known<Arc<FlagWire>> {
        self.flags.get(key).unwrap_or(&Known::IsNot)
    }

    pub(super) fn phase(&self, flag: &FlagKey, number: u32) -> &Known<Arc<Phase>> {
        self.phases.get(flag).and_then(|phases| phases.get(&number)).unwrap_or(&Known::IsNot)
    }

    /// The environment's version when it was looked at last.
    pub(super) const fn version(&self) -> Option<SnapshotVersion> {
        self.version
    }

    /// What the environment's buffers are told.
    pub(super) fn settings(&self) -> BufferSettings {
        self.settings.unwrap_or_default()
    }

    /// Whether it was looked at just now and knows all of these names.
    pub(super) fn suffices(&self, names: &Names, rung: u64) -> bool {
        let is_fresh = self.looked.is_some_and(|(at, heard)| heard == rung && monotonic() < at + FRESH);
        is_fresh
            && names.flags.iter().all(|key| matches!(self.flag(key), Known::Is(_)))
            && names.phases.iter().all(|(flag, number)| matches!(self.phase(flag, *number), Known::Is(_)))
    }

    /// Those of the names of which nothing is known, or only that there was none; not for ever as many.
    fn missing(&self, names: &Names) -> Names {
        let flags = names.flags.iter().filter(|key| !matches!(self.flag(key), Known::Is(_)));
        let phases = names.phases.iter();
        let phases = phases.filter(|(flag, number)| !matches!(self.phase(flag, *number), Known::Is(_)));
        Names {
            flags: flags.take(SOUGHT_COUNT_MAX).cloned().collect(),
            phases: phases.take(SOUGHT_COUNT_MAX).cloned().collect(),
        }
    }

    fn renew(&mut self, news: News, rung: u64) {
        if self.version != Some(news.version) || self.flags.len() > KNOWN_COUNT_MAX {
            self.flags.clear();
        }
        if self.phase_count > KNOWN_COUNT_MAX {
            self.phases.clear();
            self.phase_count = 0;
        }
        self.looked = Some((monotonic(), rung));
        (self.version, self.settings) = (Some(news.version), Some(news.settings));
        self.flags.extend(news.flags);
        for ((flag, number), known) in news.phases {
            self.phase_count += 1;
            self.phases.entry(flag).or_default().insert(number, known);
        }
    }
}

/// What is known of a phase of a flag.
type PhaseNews = ((FlagKey, u32), Known<Arc<Phase>>);

/// What was read.
struct News {
    version: SnapshotVersion,
    settings: BufferSettings,
    flags: Vec<(FlagKey, Known<Arc<FlagWire>>)>,
    phases: Vec<PhaseNews>,
}

/// Brings a catalogue up to date for these names; `false` where the environment does not exist. `rung` is how often the bell
/// of this process's changes has rung.
pub(super) async fn prepare(
    catalogue: &RwLock<Catalogue>,
    (store, scope): (&Store, &Scope),
    names: &Names,
    rung: u64,
) -> Result<bool, StoreError> {
    let reading = || catalogue.read().unwrap_or_else(PoisonError::into_inner);
    if reading().suffices(names, rung) {
        return Ok(true);
    }
    let mut missing = reading().missing(names);
    // The second time for flags that were known under an earlier version.
    for _ in 0..2 {
        let Some(news) = read(store, scope, missing).await? else { return Ok(false) };
        catalogue.write().unwrap_or_else(PoisonError::into_inner).renew(news, rung);
        let known = reading();
        let unknown = names.flags.iter().filter(|key| !known.flags.contains_key(*key));
        missing = Names { flags: unknown.take(SOUGHT_COUNT_MAX).cloned().collect(), phases: BTreeSet::new() };
        if missing.flags.is_empty() {
            break;
        }
    }
    Ok(true)
}

async fn read(store: &Store, scope: &Scope, missing: Names) -> Result<Option<News>, StoreError> {
    let mut conn = store.read().await?;
    let Some(environment) = scopes::environment(&mut conn, scope).await? else { return Ok(None) };
    let limit = environment.safety.enrolments_per_minute.limit();
    let settings = BufferSettings {
        watched: fuses::is_any(&mut conn, scope).await?,
        enrolments_per_minute: limit.map(|limit| u32::try_from(limit).unwrap_or(u32::MAX)),
    };
    let mut news = News { version: environment.version, settings, flags: Vec::new(), phases: Vec::new() };
    let mut flags = missing.flags;
    for (flag, number) in missing.phases {
        let known = phase(&mut conn, scope, &flag, number).await?;
        if matches!(known, Known::IsNot) {
            // Whether there is the flag at all.
            flags.insert(flag.clone());
        }
        news.phases.push(((flag, number), known));
    }
    for key in flags {
        let known = match flags::flag(&mut conn, scope, key.as_str()).await {
            Ok(Some(row)) => Known::Is(Arc::new(row.wire)),
            Ok(None) => Known::IsNot,
            Err(error) => broken(&error).ok_or(error)?,
        };
        news.flags.push((key, known));
    }
    Ok(Some(news))
}

async fn phase(
    conn: &mut Connection,
    scope: &Scope,
    flag: &FlagKey,
    number: u32,
) -> Result<Known<Arc<Phase>>, StoreError> {
    match phases::by_number(conn, scope, flag.as_str(), number).await {
        Ok(Some(row)) => Ok(Known::Is(Arc::new(Phase::of(row)))),
        Ok(None) => Ok(Known::IsNot),
        Err(error) => broken(&error).ok_or(error),
    }
}

/// A row that no version of this program writes is nothing that goes over.
fn broken<T>(error: &StoreError) -> Option<Known<T>> {
    let is_broken = matches!(error, StoreError::Corrupt { .. });
    is_broken.then(|| {
        tracing::error!(%error, "events name what cannot be read, and are set aside");
        Known::Broken
    })
}
