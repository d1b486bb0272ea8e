//! What a change does to decisions, environment by environment: read before it is made, compared afterwards, told in
//! full to whoever asks and in short to everybody. Never decides whether a change may be made.

use std::collections::BTreeMap;

use flagfuse_inspect::diff::{Diff, FlagDiff, Kind, Served, Side, diff};
use flagfuse_shared::definition::FlagWire;
use flagfuse_shared::ids::{Scope, SnapshotVersion, UnixMillis};
use flagfuse_shared::limits::{DIFF_FLAG_TOLD_COUNT_MAX, DIFF_MOVE_TOLD_COUNT_MAX};
use serde_json::{Map, Value, json};

use super::environment::Environment;
use super::{Actor, Change, ChangeError, Effect, Publication};
use crate::figures::count;
use crate::model::safety::ConfirmAbove;
use crate::store::scopes::EnvironmentRow;
use crate::store::{Connection, StoreError, flags, scopes};

/// Flags that the summary in an answer or an audit entry names, those that change most.
const SUMMARY_FLAG_COUNT: usize = 5;
/// Variations whose shares are told of a flag that comes or goes, the commonest.
const SERVED_COUNT_TOLD: usize = 8;

/// The environments that a change is about, as they were before it.
pub(super) struct Watch {
    before: Vec<(EnvironmentRow, Memory)>,
}

/// What has to be remembered of an environment to compare it afterwards.
enum Memory {
    /// Nothing but this flag changes.
    Flag { key: String, wire: Option<Box<FlagWire>> },
    /// Several flags, or what they share.
    All(Environment),
}

/// An environment that a change published anew.
pub(super) struct Altered {
    pub(super) scope: Scope,
    /// The version that the change was made on.
    pub(super) base: SnapshotVersion,
    pub(super) confirm_above: Option<ConfirmAbove>,
    pub(super) diff: Diff,
    before: Memory,
    pub(super) after: Environment,
}

impl Watch {
    pub(super) async fn before(
        conn: &mut Connection,
        actor: &Actor,
        change: &Change,
    ) -> Result<Self, StoreError> {
        let (environments, flag) = match subject(change) {
            Subject::Nothing => (Vec::new(), None),
            Subject::Flag(scope, flag) => (own_environment(conn, actor, scope).await?, Some(flag)),
            Subject::Environment(scope) => (own_environment(conn, actor, scope).await?, None),
            Subject::Project(project, flag) => (
                scopes::environments(conn, scopes::Whose::Project(&actor.tenant, project)).await?,
                Some(flag),
            ),
        };
        let mut before = Vec::with_capacity(environments.len());
        for environment in environments {
            let scope = &environment.scope;
            let memory = match flag {
                Some(key) => {
                    let row = flags::flag(conn, scope, key).await?;
                    Memory::Flag { key: key.to_owned(), wire: row.map(|row| Box::new(row.wire)) }
                }
                None => Memory::All(Environment::load(conn, scope).await?),
            };
            before.push((environment, memory));
        }
        Ok(Self { before })
    }

    /// Compares what the change published.
    pub(super) async fn after(
        self,
        conn: &mut Connection,
        effects: &[Effect],
        now: UnixMillis,
    ) -> Result<Vec<Altered>, ChangeError> {
        let mut altered = Vec::with_capacity(self.before.len());
        for (environment, before) in self.before {
            let scope = environment.scope;
            let is_published = |effect: &&Effect| {
                effect.scope.as_ref() == Some(&scope) && effect.publication != Publication::NotNeeded
            };
            if !effects.iter().any(|effect| is_published(&effect)) {
                continue;
            }
            let after = Environment::load(conn, &scope).await?;
            let diff = diff(&before.side(&after), &Side::new(after.flags.values(), &after.shared), now)?;
            let (base, confirm_above) = (environment.version, environment.safety.confirm_above_pct);
            altered.push(Altered { scope, base, confirm_above, diff, before, after });
        }
        Ok(altered)
    }
}

enum Subject<'c> {
    /// No decision can change.
    Nothing,
    Flag(&'c Scope, &'c str),
    Environment(&'c Scope),
    /// One flag in every environment of a project.
    Project(&'c flagfuse_shared::ids::ProjectKey, &'c str),
}

fn subject(change: &Change) -> Subject<'_> {
    match change {
        Change::PutFlag { scope, wire, .. } => Subject::Flag(scope, &wire.key),
        Change::DeleteFlag { scope, flag, .. }
        | Change::PutOverride { scope, flag, .. }
        | Change::PutFuse { scope, flag, .. }
        | Change::DeleteFuse { scope, flag }
        | Change::FuseTransition { scope, flag, .. } => Subject::Flag(scope, flag.as_str()),
        Change::PutProjectFlag { project, wire, .. } => Subject::Project(project, &wire.key),
        Change::DeleteProjectFlag { project, flag, .. } => Subject::Project(project, flag.as_str()),
        Change::PutShared { scope, .. }
        | Change::DeleteShared { scope, .. }
        | Change::Import { scope, .. }
        | Change::Revert { scope, .. } => Subject::Environment(scope),
        Change::CreateProject { .. }
        | Change::CreateEnvironment { .. }
        | Change::SetSettings { .. }
        // Nobody is asked whether decisions change where all of them do: what is lost is told instead.
        | Change::DeleteProject { .. }
        | Change::DeleteEnvironment { .. }
        | Change::CreateToken { .. }
        | Change::RevokeToken { .. }
        | Change::Republish { .. } => Subject::Nothing,
    }
}

/// Nothing when it is not the actor's or not there: the change itself is refused for that.
async fn own_environment(
    conn: &mut Connection,
    actor: &Actor,
    scope: &Scope,
) -> Result<Vec<EnvironmentRow>, StoreError> {
    if scope.tenant != actor.tenant {
        return Ok(Vec::new());
    }
    Ok(scopes::environment(conn, scope).await?.into_iter().collect())
}

impl Memory {
    /// The environment before, where `after` is what became of it.
    fn side<'e>(&'e self, after: &'e Environment) -> Side<'e> {
        match self {
            Self::All(before) => Side::new(before.flags.values(), &before.shared),
            Self::Flag { key, wire } => {
                let others = after.flags.values().filter(|flag| flag.key != *key);
                Side::new(others.chain(wire.as_deref()), &after.shared)
            }
        }
    }
}

impl Altered {
    /// A flag as it was.
    pub(super) fn flag_before(&self, key: &str) -> Option<&FlagWire> {
        match &self.before {
            Memory::All(before) => before.flags.get(key),
            Memory::Flag { key: own, wire } if own == key => wire.as_deref(),
            Memory::Flag { .. } => self.after.flags.get(key),
        }
    }

    /// The flags whose own definition is another one, new or gone.
    pub(super) fn own_flags(&self) -> impl Iterator<Item = String> {
        let own = self.diff.flags.iter().filter(|flag| flag.kind != Kind::Dependent);
        own.map(|flag| flag.flag.clone())
    }

    /// Whether something that flags share changed.
    pub(super) fn is_shared_altered(&self) -> bool {
        match &self.before {
            Memory::All(before) => before.shared != self.after.shared,
            Memory::Flag { .. } => false,
        }
    }

    /// The diff for whoever has to look at it: the flags that change most, each with its moves.
    pub(super) fn told(&self) -> Value {
        let flags = self.largest(DIFF_FLAG_TOLD_COUNT_MAX).map(|flag| {
            let moves = flag.moves.get(..DIFF_MOVE_TOLD_COUNT_MAX).unwrap_or(&flag.moves);
            let mut told = json!({
                "flag": flag.flag, "kind": flag.kind, "sampled": flag.sampled, "changed": flag.changed,
                "changed_pct": rounded_pct(flag), "moves": moves,
            });
            if let (Some(fields), Some(summary)) = (told.as_object_mut(), served_in_words(flag)) {
                let share = |served: &Served| {
                    let pct = one_decimal(served.count, flag.sampled);
                    json!({ "variation": served.variation, "count": served.count, "pct": pct })
                };
                let shares = flag.served.iter().take(SERVED_COUNT_TOLD).map(share);
                fields.insert("served".to_owned(), shares.collect());
                fields.insert("summary".to_owned(), summary.into());
            }
            told
        });
        self.counted("flags", flags.collect(), DIFF_FLAG_TOLD_COUNT_MAX)
    }

    /// The diff in a line or two.
    pub(super) fn summary(&self) -> Value {
        let flags: BTreeMap<&str, f64> =
            self.largest(SUMMARY_FLAG_COUNT).map(|flag| (flag.flag.as_str(), rounded_pct(flag))).collect();
        let served: BTreeMap<&str, String> = self
            .largest(SUMMARY_FLAG_COUNT)
            .filter_map(|flag| Some((flag.flag.as_str(), served_in_words(flag)?)))
            .collect();
        let mut summary = self.counted("changed_pct", json!(flags), SUMMARY_FLAG_COUNT);
        if let Some(fields) = summary.as_object_mut().filter(|_| !served.is_empty()) {
            fields.insert("served".to_owned(), json!(served));
        }
        summary
    }

    /// With `cut_after` where there are more flags than are named.
    fn counted(&self, name: &str, detail: Value, count_told_max: usize) -> Value {
        let changed = self.diff.flags.iter().filter(|flag| flag.changed > 0).count();
        let reached = self.diff.flags.len();
        let fields = [
            ("environment", json!(self.scope.environment)),
            ("flags_reached", json!(reached)),
            ("flags_changed", json!(changed)),
            (name, detail),
        ];
        let cut = (reached > count_told_max).then(|| ("cut_after", json!(count_told_max)));
        let fields = fields.into_iter().chain(cut);
        Value::Object(fields.map(|(name, value)| (name.to_owned(), value)).collect::<Map<_, _>>())
    }

    fn largest(&self, count: usize) -> impl Iterator<Item = &FlagDiff> {
        let mut flags: Vec<&FlagDiff> = self.diff.flags.iter().collect();
        // Stable: equal shares stay in the order of their keys.
        flags.sort_by(|left, right| right.changed_pct().total_cmp(&left.changed_pct()));
        flags.into_iter().take(count)
    }
}

/// Percent with one decimal: a thousand samples tell no more.
fn rounded_pct(flag: &FlagDiff) -> f64 {
    one_decimal(flag.changed, flag.sampled)
}

fn one_decimal(count: u32, of: u32) -> f64 {
    if of == 0 { 0.0 } else { (f64::from(count) * 1_000.0 / f64::from(of)).round() / 10.0 }
}

/// `new: on 3.1 %, off 96.9 % of 1,000 sampled askers`; `None` of a flag that was there before and is there afterwards.
fn served_in_words(flag: &FlagDiff) -> Option<String> {
    let what = match flag.kind {
        Kind::Added => "new",
        Kind::Removed => "deleted, and served until now",
        Kind::Altered | Kind::Dependent => return None,
    };
    if flag.served.is_empty() {
        return Some(format!("{what}: nobody could be sampled"));
    }
    let share = |served: &Served| {
        let name = served.variation.as_deref().unwrap_or("the default in the caller's code");
        format!("{name} {} %", one_decimal(served.count, flag.sampled))
    };
    let shares: Vec<String> = flag.served.iter().take(SERVED_COUNT_TOLD).map(share).collect();
    let others = flag.served.len().saturating_sub(SERVED_COUNT_TOLD);
    let others = if others == 0 { String::new() } else { format!(" and {others} others") };
    let askers = count(u64::from(flag.sampled), "sampled asker");
    Some(format!("{what}: {}{others} of {askers}", shares.join(", ")))
}
