//! What events are checked against: all flags of one environment, read anew where the environment's version has moved, and
//! those of its phases that events name. What has not been looked up is never taken for what does not exist.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use flagfuse_cells::PhaseId;
use flagfuse_shared::bucket::{COHORT_SEED, Salted};
use flagfuse_shared::contract::beacon::answer::BufferSettings;
use flagfuse_shared::definition::FlagWire;
use flagfuse_shared::ids::{FlagKey, Scope, SnapshotVersion};
use tokio::sync::Mutex;
use tokio::time::Instant;

use crate::clock::monotonic;
use crate::store::phases::{self, PhaseRow};
use crate::store::{Connection, Store, StoreError, flags, fuses, scopes};

/// How long what is known stands before the environment's version is looked at again.
const FRESH: Duration = Duration::from_millis(250);
/// Phases that are remembered. An environment may have had more; a batch names 2,000 at most.
const PHASE_COUNT_MAX: usize = 20_000;

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

/// A flag under the revision in which it was read.
#[derive(Debug)]
struct KeptFlag {
    revision: u64,
    flag: Known<Arc<FlagWire>>,
}

/// Flags and phases of an environment.
#[derive(Debug, Default)]
pub(super) struct Catalogue {
    version: Option<SnapshotVersion>,
    /// That of the flags here: whoever asks for no name does not wait for them.
    listed: Option<SnapshotVersion>,
    /// When the last look at it began, and how often the bell of changes had rung by then.
    looked: Option<(Instant, u64)>,
    settings: Option<BufferSettings>,
    /// All of that version.
    flags: HashMap<FlagKey, KeptFlag>,
    /// The newest phase of each flag that has had any: there are all from 1 to it.
    newest_phases: HashMap<FlagKey, u32>,
    /// Those that events have named. A phase never changes.
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

impl Names {
    fn is_empty(&self) -> bool {
        self.flags.is_empty() && self.phases.is_empty()
    }
}

impl Catalogue {
    pub(super) fn flag(&self, key: &FlagKey) -> &Known<Arc<FlagWire>> {
        self.flags.get(key).map_or(&Known::IsNot, |kept| &kept.flag)
    }

    /// A phase; one that [`Self::has`] not looked up is broken, since nobody may take it for one that does not exist.
    pub(super) fn phase(&self, flag: &FlagKey, number: u32) -> &Known<Arc<Phase>> {
        if !self.is_phase(flag, number) {
            return &Known::IsNot;
        }
        self.kept_phase(flag, number).unwrap_or(&Known::Broken)
    }

    fn kept_phase(&self, flag: &FlagKey, number: u32) -> Option<&Known<Arc<Phase>>> {
        self.phases.get(flag)?.get(&number)
    }

    /// Whether the flag has had the phase.
    fn is_phase(&self, flag: &FlagKey, number: u32) -> bool {
        self.newest_phases.get(flag).is_some_and(|newest| (1..=*newest).contains(&number))
    }

    /// The environment's version when it was looked at last.
    pub(super) const fn version(&self) -> Option<SnapshotVersion> {
        self.version
    }

    /// What the environment's buffers are told.
    pub(super) fn settings(&self) -> BufferSettings {
        self.settings.unwrap_or_default()
    }

    /// Whether everything that there is to be known of these names is known.
    pub(super) fn has(&self, names: &Names) -> bool {
        names.is_empty() || (self.listed.is_some() && self.sought(names).next().is_none())
    }

    /// The phases among the names that exist and have not been looked up.
    fn sought<'n>(&self, names: &'n Names) -> impl Iterator<Item = &'n (FlagKey, u32)> {
        let phases = names.phases.iter();
        phases
            .filter(|(flag, number)| self.is_phase(flag, *number) && self.kept_phase(flag, *number).is_none())
    }

    /// Whether it was looked at since `arrived`, or just now and everything named was there, and it knows all of these names.
    fn suffices(&self, names: &Names, rung: u64, arrived: Instant) -> bool {
        let Some((at, heard)) = self.looked else { return false };
        let is_listed = || names.is_empty() || self.listed == self.version;
        let is_fresh = || heard == rung && monotonic() < at + FRESH;
        let are_flags = || names.flags.iter().all(|key| matches!(self.flag(key), Known::Is(_)));
        let are_phases = || names.phases.iter().all(|(flag, number)| self.is_phase(flag, *number));
        self.has(names) && is_listed() && (at >= arrived || (is_fresh() && are_flags() && are_phases()))
    }

    fn renew(&mut self, news: News, looked: (Instant, u64)) {
        self.looked = Some(looked);
        (self.version, self.settings) = (Some(news.version), Some(news.settings));
        if let Some(anew) = news.anew {
            self.flags.retain(|key, kept| anew.revisions.get(key) == Some(&kept.revision));
            self.flags.extend(anew.flags);
            self.newest_phases = anew.newest_phases;
            self.listed = self.version;
        }
        if self.phase_count + news.phases.len() > PHASE_COUNT_MAX {
            self.phases.clear();
            self.phase_count = 0;
        }
        for ((flag, number), known) in news.phases {
            let earlier = self.phases.entry(flag).or_default().insert(number, known);
            self.phase_count += usize::from(earlier.is_none());
        }
    }
}

/// What was read.
struct News {
    version: SnapshotVersion,
    settings: BufferSettings,
    /// Where the flags are those of an earlier version, and some are asked for.
    anew: Option<Anew>,
    phases: Vec<PhaseNews>,
}

/// What is known of a phase of a flag.
type PhaseNews = ((FlagKey, u32), Known<Arc<Phase>>);

/// The flags of an environment under another version.
struct Anew {
    /// Of all flags.
    revisions: HashMap<FlagKey, u64>,
    /// Those that are new or have changed.
    flags: Vec<(FlagKey, KeptFlag)>,
    newest_phases: HashMap<FlagKey, u32>,
}

/// A catalogue, and whoever reads for it.
#[derive(Debug, Default)]
pub(super) struct Shelf {
    catalogue: RwLock<Catalogue>,
    /// One at a time: whoever waited finds what the other one read.
    reading: Mutex<()>,
}

impl Shelf {
    /// Looks something up.
    pub(super) fn known<T>(&self, look: impl FnOnce(&Catalogue) -> T) -> T {
        look(&self.catalogue.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Brings the catalogue up to date for these names; `false` where the environment does not exist. `rung` is how often the
    /// bell of this process's changes has rung.
    pub(super) async fn prepare(
        &self,
        (store, scope): (&Store, &Scope),
        names: &Names,
        rung: u64,
    ) -> Result<bool, StoreError> {
        let arrived = monotonic();
        if self.known(|known| known.suffices(names, rung, arrived)) {
            return Ok(true);
        }
        let _turn = self.reading.lock().await;
        if self.known(|known| known.suffices(names, rung, arrived)) {
            return Ok(true);
        }
        let looked = (monotonic(), rung);
        let mut conn = store.read().await?;
        let Some(news) = self.read(&mut conn, scope, names).await? else { return Ok(false) };
        self.catalogue.write().unwrap_or_else(PoisonError::into_inner).renew(news, looked);
        Ok(true)
    }

    async fn read(
        &self,
        conn: &mut Connection,
        scope: &Scope,
        names: &Names,
    ) -> Result<Option<News>, StoreError> {
        let Some(environment) = scopes::environment(conn, scope).await? else { return Ok(None) };
        let limit = environment.safety.enrolments_per_minute.limit();
        let settings = BufferSettings {
            watched: fuses::is_any(conn, scope).await?,
            enrolments_per_minute: limit.map(|limit| u32::try_from(limit).unwrap_or(u32::MAX)),
        };
        let version = environment.version;
        let is_listed = self.known(|known| known.listed == Some(version));
        let anew = if is_listed || names.is_empty() { None } else { Some(self.anew(conn, scope).await?) };
        let sought = self.known(|known| match &anew {
            None => known.sought(names).cloned().collect(),
            Some(anew) => {
                let is_sought = |(flag, number): &&(FlagKey, u32)| {
                    let newest = anew.newest_phases.get(flag).copied().unwrap_or_default();
                    (1..=newest).contains(number) && known.kept_phase(flag, *number).is_none()
                };
                names.phases.iter().filter(is_sought).cloned().collect::<Vec<_>>()
            }
        });
        let phases = read_phases(conn, scope, sought).await?;
        Ok(Some(News { version, settings, anew, phases }))
    }

    async fn anew(&self, conn: &mut Connection, scope: &Scope) -> Result<Anew, StoreError> {
        let mut revisions = HashMap::new();
        for (key, revision) in flags::revisions(conn, scope).await? {
            // A name that is none is nobody's: no event can be of it.
            revisions.extend(FlagKey::parse(&key).ok().map(|key| (key, revision)));
        }
        let changed: Vec<&FlagKey> = self.known(|known| {
            let is_same = |key: &FlagKey, revision| {
                let kept = known.flags.get(key);
                kept.is_some_and(|kept| kept.revision == revision && !matches!(kept.flag, Known::Broken))
            };
            let changed = revisions.iter().filter(|(key, revision)| !is_same(key, **revision));
            changed.map(|(key, _)| key).collect()
        });
        let keys: Vec<&str> = changed.iter().map(|key| key.as_str()).collect();
        let mut read: BTreeMap<String, _> = flags::by_keys(conn, scope, &keys).await?.into_iter().collect();
        let mut flags = Vec::with_capacity(changed.len());
        for key in changed {
            let Some(row) = read.remove(key.as_str()) else { continue };
            let revision = revisions.get(key).copied().unwrap_or_default();
            let flag = known_of(row)?.map(|row| Arc::new(row.wire));
            flags.push((key.clone(), KeptFlag { revision, flag }));
        }
        let newest = phases::newest_numbers(conn, scope).await?.into_iter();
        let newest_phases = newest.filter_map(|(key, phase)| Some((FlagKey::parse(&key).ok()?, phase)));
        Ok(Anew { revisions, flags, newest_phases: newest_phases.collect() })
    }
}

impl<T> Known<T> {
    fn map<U>(self, with: impl FnOnce(T) -> U) -> Known<U> {
        match self {
            Self::Is(found) => Known::Is(with(found)),
            Self::IsNot => Known::IsNot,
            Self::Broken => Known::Broken,
        }
    }
}

async fn read_phases(
    conn: &mut Connection,
    scope: &Scope,
    sought: Vec<(FlagKey, u32)>,
) -> Result<Vec<PhaseNews>, StoreError> {
    let names: Vec<(&str, u32)> = sought.iter().map(|(flag, number)| (flag.as_str(), *number)).collect();
    let mut read: BTreeMap<(String, u32), _> =
        phases::by_numbers(conn, scope, &names).await?.into_iter().collect();
    let mut phases = Vec::with_capacity(sought.len());
    for (flag, number) in sought {
        let known = match read.remove(&(flag.as_str().to_owned(), number)) {
            Some(row) => known_of(row)?.map(|row| Arc::new(Phase::of(row))),
            None => Known::IsNot,
        };
        phases.push(((flag, number), known));
    }
    Ok(phases)
}

/// A row that no version of this program writes is nothing that goes over.
fn known_of<T>(row: Result<T, StoreError>) -> Result<Known<T>, StoreError> {
    match row {
        Ok(row) => Ok(Known::Is(row)),
        Err(error @ StoreError::Corrupt { .. }) => {
            tracing::error!(%error, "events name what cannot be read, and are set aside");
            Ok(Known::Broken)
        }
        Err(error) => Err(error),
    }
}
