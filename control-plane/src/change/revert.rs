//! Going back: what a version of the history said, under a new version and through the checks of any other change. What a
//! fuse locks stays as it is, and a feature that tripped does not come back this way.

use std::collections::BTreeMap;

use flagfuse_shared::definition::{FlagWire, SharedWire};
use flagfuse_shared::ids::{FlagKey, Scope, SnapshotVersion};
use flagfuse_shared::snapshot::payload::{Definitions, definitions};
use serde_json::{Value, json};

use super::action::Action;
use super::effect::{Effect, Publication};
use super::environment::{Environment, PartWire, Touched, check, parts};
use super::error::ChangeError;
use super::kinds::Fuses;
use super::many::changed;
use super::named::named;
use super::writing::Writing;
use super::{flag, fuse_lock, part};
use crate::model::circuit::Circuit;
use crate::store::parts::Part;
use crate::store::{Connection, fuses, history, phases, project_flags, snapshots};

/// Where to go back to.
pub(super) struct Way {
    pub(super) to: SnapshotVersion,
    /// Of everything, this flag alone.
    pub(super) only: Option<FlagKey>,
    /// What becomes of fuses whose flags were not there then.
    pub(super) fuses: Fuses,
}

pub(super) async fn apply(
    writing: &mut Writing<'_>,
    scope: Scope,
    Way { to, only, fuses: watched }: Way,
) -> Result<Vec<Effect>, ChangeError> {
    writing.require_environment(&scope).await?;
    let then = read(writing.conn, &scope, to).await?;
    let before = writing.read_environment(&scope).await?;
    let today = circuits(writing.conn, &scope).await?;
    let mut plan = match &only {
        Some(flag) => RevertPlan::of_flag(&before, then, flag, to)?,
        None => RevertPlan::of_everything(writing.conn, &scope, &before, then, (watched, &today)).await?,
    };
    plan.fuses_not_restored.retain(|key| !today.contains_key(key));
    let restored_off = plan.keep_tripped_off(writing.conn, &scope).await?;
    let after = plan.applied_to(&before);
    let touched: Vec<Touched<'_>> = plan.touched().collect();
    check(&before, &after, &touched)?;
    fuse_lock::check_parts(writing.conn, &scope, &before, &after).await?;
    let detached = plan.write(writing, &scope, &before).await?;
    let mut notes = plan.notes(&scope, &today);
    let switched_on = flag::switched_on(&before, &plan.flags);
    notes.extend([
        ("detached", texts(&detached)),
        ("restored_off", texts(&restored_off)),
        ("switched_on", texts(&switched_on)),
    ]);
    let effect = Effect {
        action: Action::Revert,
        subject: only.map_or_else(|| scope.environment.to_string(), |flag| flag.to_string()),
        detail: json!({
            "to": to.to_string(), "flags": plan.flags.len(), "flags_deleted": plan.gone.len(),
            "shared": plan.parts.len() + plan.parts_gone.len(),
        }),
        scope: Some(scope),
        publication: Publication::Needed,
        revision: None,
        notes: named(notes),
    };
    Ok(vec![effect.with_parts(changed(&before, &after, &touched))])
}

/// Where the fuses of an environment stand, by flag.
async fn circuits(conn: &mut Connection, scope: &Scope) -> Result<BTreeMap<String, Circuit>, ChangeError> {
    Ok(fuses::fuses(conn, scope).await?.into_iter().map(|fuse| (fuse.flag, fuse.circuit)).collect())
}

fn texts(keys: &[String]) -> Vec<Value> {
    keys.iter().map(|key| Value::from(key.as_str())).collect()
}

/// What a version of the history said.
async fn read(
    conn: &mut Connection,
    scope: &Scope,
    version: SnapshotVersion,
) -> Result<Definitions, ChangeError> {
    if let Some(frame) = snapshots::frame(conn, scope, version).await? {
        return definitions(&frame).map_err(|source| ChangeError::Unreadable { version, source });
    }
    let available = history::versions(conn, scope).await?;
    Err(ChangeError::NotInHistory { version, available: available.iter().map(ToString::to_string).collect() })
}

/// The writes that lead back; what is as it was already is not written.
#[derive(Default)]
struct RevertPlan {
    flags: Vec<FlagWire>,
    gone: Vec<String>,
    parts: Vec<PartWire>,
    parts_gone: Vec<(Part, String)>,
    /// Flags that came from the project since: an environment cannot do without them.
    kept_inherited: Vec<String>,
    /// Flags that came since and are under a fuse: nobody said that it may go.
    kept_under_fuse: Vec<String>,
    /// Flags that were under a fuse then and are not today: a revert brings no fuse back.
    fuses_not_restored: Vec<String>,
}

impl RevertPlan {
    fn of_flag(
        before: &Environment,
        then: Definitions,
        flag: &FlagKey,
        version: SnapshotVersion,
    ) -> Result<Self, ChangeError> {
        let wire = then.flags.into_iter().find(|wire| wire.key == flag.as_str());
        let wire = wire.ok_or_else(|| ChangeError::NotInVersion { flag: flag.to_string(), version })?;
        let mut plan = Self::default();
        plan.restore(before, wire)?;
        Ok(plan)
    }

    async fn of_everything(
        conn: &mut Connection,
        scope: &Scope,
        before: &Environment,
        then: Definitions,
        (watched, today): (Fuses, &BTreeMap<String, Circuit>),
    ) -> Result<Self, ChangeError> {
        let mut plan = Self::default();
        for key in before.flags.keys().filter(|key| !then.flags.iter().any(|wire| wire.key == **key)) {
            let list = if project_flags::inherited(conn, scope, key).await?.is_some() {
                &mut plan.kept_inherited
            } else if watched == Fuses::Kept && today.contains_key(key) {
                &mut plan.kept_under_fuse
            } else {
                &mut plan.gone
            };
            list.push(key.clone());
        }
        for wire in then.flags {
            plan.restore(before, wire)?;
        }
        plan.restore_parts(&before.shared, then.shared);
        Ok(plan)
    }

    fn restore(&mut self, before: &Environment, wire: FlagWire) -> Result<(), ChangeError> {
        if wire.cohort.is_some() {
            self.fuses_not_restored.push(wire.key.clone());
        }
        self.flags.extend(restored(before.flags.get(&wire.key), wire)?);
        Ok(())
    }

    /// Everything that this changes, keeps back or loses, by name.
    fn notes(&self, scope: &Scope, today: &BTreeMap<String, Circuit>) -> Vec<(&'static str, Vec<Value>)> {
        let fuse = |key: &String| {
            let circuit = today.get(key)?;
            Some(json!({ "flag": key, "environment": scope.environment, "circuit": circuit }))
        };
        let part = |(part, key): (Part, &str)| json!(format!("{} {key}", part.as_str()).trim_end());
        vec![
            ("changed_flags", self.flags.iter().map(|wire| json!(wire.key)).collect()),
            ("deleted_flags", texts(&self.gone)),
            ("changed_shared", self.parts.iter().map(|new| part(new.name())).collect()),
            ("deleted_shared", self.parts_gone.iter().map(|(kind, key)| part((*kind, key))).collect()),
            ("kept_inherited", texts(&self.kept_inherited)),
            ("kept_under_fuse", self.kept_under_fuse.iter().filter_map(fuse).collect()),
            ("fuses_deleted", self.gone.iter().filter_map(fuse).collect()),
            ("fuses_not_restored", texts(&self.fuses_not_restored)),
        ]
    }

    fn restore_parts(&mut self, now: &SharedWire, mut then: SharedWire) {
        // Descriptions are no part of a snapshot: those of today stay.
        for wire in &mut then.segments {
            let today = now.segments.iter().find(|today| today.key == wire.key);
            wire.description = today.map(|today| today.description.clone()).unwrap_or_default();
        }
        for wire in &mut then.layers {
            let today = now.layers.iter().find(|today| today.key == wire.key);
            wire.description = today.map(|today| today.description.clone()).unwrap_or_default();
        }
        let (then, now) = (by_key(then), by_key(now.clone()));
        self.parts_gone = now.keys().filter(|key| !then.contains_key(*key)).cloned().collect();
        let is_other = |key: &PartKey, part: &PartWire| now.get(key) != Some(part);
        self.parts =
            then.into_iter().filter(|(key, part)| is_other(key, part)).map(|(_, part)| part).collect();
    }

    /// A flag that has no fuse now but had one that was not closed when it went comes back switched off.
    async fn keep_tripped_off(
        &mut self,
        conn: &mut Connection,
        scope: &Scope,
    ) -> Result<Vec<String>, ChangeError> {
        let mut restored_off = Vec::new();
        for wire in self.flags.iter_mut().filter(|wire| wire.enabled) {
            let is_watched = fuses::fuse(conn, scope, &wire.key).await?.is_some();
            let last = phases::of_flag(conn, scope, &wire.key, 1).await?.pop();
            if !is_watched && last.is_some_and(|phase| phase.circuit != Circuit::Closed) {
                wire.enabled = false;
                restored_off.push(wire.key.clone());
            }
        }
        Ok(restored_off)
    }

    fn touched(&self) -> impl Iterator<Item = Touched<'_>> {
        let flags = self.flags.iter().map(|wire| Touched::Flag(&wire.key));
        let gone = self.gone.iter().map(|key| Touched::Flag(key));
        let parts = self.parts.iter().map(|part| {
            let (kind, key) = part.name();
            Touched::part(kind, key)
        });
        let parts_gone = self.parts_gone.iter().map(|(part, key)| Touched::part(*part, key));
        flags.chain(gone).chain(parts).chain(parts_gone)
    }

    fn applied_to(&self, before: &Environment) -> Environment {
        let mut after = before.clone();
        for key in &self.gone {
            after.flags.remove(key);
        }
        for wire in &self.flags {
            after.flags.insert(wire.clone());
        }
        for (part, key) in &self.parts_gone {
            after.remove_part(*part, key);
        }
        for part in &self.parts {
            after.put_part(part);
        }
        after
    }

    /// The flags that follow their project no longer.
    async fn write(
        &self,
        writing: &mut Writing<'_>,
        scope: &Scope,
        before: &Environment,
    ) -> Result<Vec<String>, ChangeError> {
        for (part, key) in &self.parts_gone {
            crate::store::parts::delete(writing.conn, scope, *part, key).await?;
        }
        for part in &self.parts {
            part::write(writing, scope, part).await?;
        }
        for key in &self.gone {
            flag::remove(writing, scope, key).await?;
        }
        let mut detached = Vec::new();
        for wire in &self.flags {
            flag::write(writing, scope, before.flags.get(&wire.key), wire).await?;
            if project_flags::detach(writing.conn, scope, &wire.key).await? {
                detached.push(wire.key.clone());
            }
        }
        Ok(detached)
    }
}

/// The flag as it was, with today's cohort and description. `None` when that is what it is.
fn restored(stored: Option<&FlagWire>, mut wire: FlagWire) -> Result<Option<FlagWire>, ChangeError> {
    // The cohort of then belongs to a phase that is over.
    wire.cohort = None;
    let mut wire = flag::admit(stored, wire)?;
    wire.description = stored.map(|stored| stored.description.clone()).unwrap_or_default();
    Ok(if stored == Some(&wire) { None } else { Some(wire) })
}

type PartKey = (Part, String);

fn by_key(shared: SharedWire) -> BTreeMap<PartKey, PartWire> {
    let keyed = parts(shared).map(|part| {
        let (kind, key) = part.name();
        ((kind, key.to_owned()), part)
    });
    keyed.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::change::testing::{cohort, environment, flag, scope};

    #[test]
    fn a_flag_comes_back_with_todays_cohort_and_description() {
        let then = flag("f", &json!({ "enabled": false, "cohort": { "phase": 1, "slices": [] } }));
        let today = flag("f", &json!({ "description": "d", "cohort": cohort() }));
        let found = restored(Some(&today), then.clone()).unwrap().unwrap();
        assert_eq!(found, FlagWire { enabled: false, ..today.clone() });
        assert_eq!(restored(Some(&found), then.clone()).unwrap(), None, "that is what it is already");
        let anew = restored(None, then).unwrap().unwrap();
        assert_eq!((anew.cohort, anew.description.as_str()), (None, ""));
    }

    #[test]
    fn parts_come_back_where_they_are_others_and_go_where_they_were_not() {
        let before = environment(
            [],
            json!({ "segments": [{ "key": "same", "description": "d" }, { "key": "other", "included": ["u"] }],
                "layers": [{ "key": "later" }], "holdout": { "percentage": 5.0, "salt": "h" } }),
        );
        let then = json!({ "segments": [{ "key": "same" }, { "key": "other" }, { "key": "gone" }],
            "holdout": { "percentage": 6.0, "salt": "h" } });
        let mut plan = RevertPlan { gone: vec!["f".to_owned()], ..RevertPlan::default() };
        plan.restore_parts(&before.shared, serde_json::from_value(then).unwrap());
        let notes: BTreeMap<_, _> = plan.notes(&scope(), &BTreeMap::new()).into_iter().collect();
        assert_eq!(json!(notes["changed_shared"]), json!(["segment gone", "segment other", "holdout"]));
        assert_eq!(json!(notes["deleted_shared"]), json!(["layer later"]));
        assert_eq!(json!(notes["deleted_flags"]), json!(["f"]));
        let touched = plan.touched().count();
        assert_eq!(touched, 5);
        let after = plan.applied_to(&before).shared;
        let mut keys: Vec<_> = after.segments.iter().map(|segment| segment.key.as_str()).collect();
        keys.sort_unstable();
        assert_eq!((keys, after.layers.len()), (vec!["gone", "other", "same"], 0));
        assert_eq!(after.segments[0].description, "d", "descriptions are no part of a snapshot");
    }

    #[test]
    fn a_flag_that_the_version_lacks_is_named_with_the_version() {
        let flags = vec![flag("f", &json!({ "cohort": cohort() }))];
        let then = Definitions { flags, shared: SharedWire::default() };
        let version = SnapshotVersion { epoch: 1, seq: 7 };
        let before = environment([flag("f", &json!({ "enabled": false }))], json!({}));
        let key = |key: &str| FlagKey::parse(key).unwrap();
        let plan = RevertPlan::of_flag(&before, then.clone(), &key("f"), version).unwrap();
        assert_eq!((plan.flags.len(), plan.fuses_not_restored), (1, vec!["f".to_owned()]));
        let fault = RevertPlan::of_flag(&before, then, &key("g"), version).err().unwrap().to_string();
        assert_eq!(fault, "flag \"g\" is not in version 1.7");
    }
}
