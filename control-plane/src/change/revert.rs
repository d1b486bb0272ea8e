//! Going back: what a kept version said, under a new version and through the checks of any other change. What a fuse
//! holds stays as it is, and a feature that tripped does not come back this way.

use std::collections::BTreeMap;

use flagfuse_shared::flag::FlagWire;
use flagfuse_shared::flag::environment::SharedWire;
use flagfuse_shared::ids::{FlagKey, Scope, SnapshotVersion, UnixMillis};
use flagfuse_shared::snapshot::payload::{Definitions, definitions};
use serde_json::{Map, json};

use super::environment::{Environment, SharedPart, Touched, check};
use super::{Actor, ChangeError, Effect, Publication, flag, held, require_environment, shared};
use crate::fuse::circuit::Circuit;
use crate::store::shared::Part;
use crate::store::{Connection, fuses, kept, phases, project_flags};

pub(super) async fn apply(
    conn: &mut Connection,
    actor: &Actor,
    scope: Scope,
    to: SnapshotVersion,
    only: Option<FlagKey>,
    now: UnixMillis,
) -> Result<Vec<Effect>, ChangeError> {
    require_environment(conn, actor, &scope).await?;
    let then = read(conn, &scope, to).await?;
    let before = Environment::load(conn, &scope).await?;
    let mut plan = match &only {
        Some(flag) => Plan::of_flag(&before, then, flag, to)?,
        None => Plan::of_everything(conn, &scope, &before, then).await?,
    };
    let restored_off = plan.keep_tripped_off(conn, &scope).await?;
    let after = plan.applied_to(&before);
    let touched: Vec<Touched<'_>> = plan.touched().collect();
    check(&before, &after, &touched)?;
    held::check_shared(conn, &scope, &before, &after).await?;
    let detached = plan.write(conn, &scope, &before, now).await?;
    let told = [
        ("detached", json!(detached)),
        ("restored_off", json!(restored_off)),
        ("kept_inherited", json!(plan.kept_inherited)),
    ];
    let told = told.into_iter().filter(|(_, keys)| keys != &json!([]));
    Ok(vec![Effect {
        action: "environment.revert",
        subject: only.map_or_else(|| scope.environment.to_string(), |flag| flag.to_string()),
        detail: json!({
            "to": to.to_string(), "flags": plan.flags.len(), "flags_deleted": plan.gone.len(),
            "shared": plan.parts.len() + plan.parts_gone.len(),
        }),
        scope: Some(scope),
        publication: Publication::Needed,
        revision: None,
        told: told.map(|(name, keys)| (name.to_owned(), keys)).collect::<Map<_, _>>(),
    }])
}

/// What a kept version said.
async fn read(
    conn: &mut Connection,
    scope: &Scope,
    version: SnapshotVersion,
) -> Result<Definitions, ChangeError> {
    if let Some(frame) = kept::frame(conn, scope, version).await? {
        return definitions(&frame).map_err(|source| ChangeError::Unreadable { version, source });
    }
    let kept = kept::versions(conn, scope).await?;
    Err(ChangeError::NotKept { version, kept: kept.iter().map(ToString::to_string).collect() })
}

/// The writes that lead back; what is as it was already is not written.
#[derive(Default)]
struct Plan {
    flags: Vec<FlagWire>,
    gone: Vec<String>,
    parts: Vec<SharedPart>,
    parts_gone: Vec<(Part, String)>,
    /// Flags that came from the project since: an environment cannot do without them.
    kept_inherited: Vec<String>,
}

impl Plan {
    fn of_flag(
        before: &Environment,
        then: Definitions,
        flag: &FlagKey,
        version: SnapshotVersion,
    ) -> Result<Self, ChangeError> {
        let wire = then.flags.into_iter().find(|wire| wire.key == flag.as_str());
        let wire = wire.ok_or_else(|| ChangeError::NotInVersion { flag: flag.to_string(), version })?;
        let flags = restored(before.flags.get(&wire.key), wire)?.into_iter().collect();
        Ok(Self { flags, ..Self::default() })
    }

    async fn of_everything(
        conn: &mut Connection,
        scope: &Scope,
        before: &Environment,
        then: Definitions,
    ) -> Result<Self, ChangeError> {
        let mut plan = Self::default();
        for key in before.flags.keys().filter(|key| !then.flags.iter().any(|wire| wire.key == **key)) {
            let is_inherited = project_flags::inherited(conn, scope, key).await?.is_some();
            if is_inherited { &mut plan.kept_inherited } else { &mut plan.gone }.push(key.clone());
        }
        for wire in then.flags {
            plan.flags.extend(restored(before.flags.get(&wire.key), wire)?);
        }
        plan.restore_shared(&before.shared, then.shared);
        Ok(plan)
    }

    fn restore_shared(&mut self, now: &SharedWire, mut then: SharedWire) {
        // Descriptions are no part of a snapshot: those of today stay.
        for wire in &mut then.segments {
            let today = now.segments.iter().find(|today| today.key == wire.key);
            wire.description = today.map(|today| today.description.clone()).unwrap_or_default();
        }
        for wire in &mut then.layers {
            let today = now.layers.iter().find(|today| today.key == wire.key);
            wire.description = today.map(|today| today.description.clone()).unwrap_or_default();
        }
        let (then, now) = (parts(then), parts(now.clone()));
        self.parts_gone = now.keys().filter(|key| !then.contains_key(*key)).cloned().collect();
        let is_other = |key: &PartKey, part: &SharedPart| now.get(key) != Some(part);
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
            after.flags.insert(wire.key.clone(), wire.clone());
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
        conn: &mut Connection,
        scope: &Scope,
        before: &Environment,
        now: UnixMillis,
    ) -> Result<Vec<String>, ChangeError> {
        for (part, key) in &self.parts_gone {
            crate::store::shared::delete(conn, scope, *part, key).await?;
        }
        for part in &self.parts {
            shared::write(conn, scope, part, now).await?;
        }
        for key in &self.gone {
            flag::remove(conn, scope, key, now).await?;
        }
        let mut detached = Vec::new();
        for wire in &self.flags {
            flag::write(conn, scope, before.flags.get(&wire.key), wire, now).await?;
            if project_flags::detach(conn, scope, &wire.key).await? {
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

fn parts(shared: SharedWire) -> BTreeMap<PartKey, SharedPart> {
    let segments = shared.segments.into_iter().map(SharedPart::Segment);
    let layers = shared.layers.into_iter().map(SharedPart::Layer);
    let holdout = shared.holdout.into_iter().map(SharedPart::Holdout);
    let all = segments.chain(layers).chain(holdout);
    all.map(|part| {
        let (kind, key) = part.name();
        ((kind, key.to_owned()), part)
    })
    .collect()
}
