//! Changes of flags by their owners. The cohort inside belongs to the fuse and passes through untouched.

use flagfuse_shared::definition::FlagWire;
use flagfuse_shared::flag::FlagFault;
use flagfuse_shared::ids::{EnvironmentKey, FlagKey, Scope, UnixMillis};
use serde_json::{Map, Value, json};

use super::environment::{Environment, Touched, check};
use super::named::named;
use super::{Actor, ChangeError, Effect, Fuses, Publication, held, require_environment};
use crate::model::circuit::{Circuit, Rollout};
use crate::store::fuses::FuseRow;
use crate::store::{Connection, flags, fuses, phases, project_flags};

pub(super) async fn put(
    conn: &mut Connection,
    actor: &Actor,
    scope: Scope,
    wire: FlagWire,
    now: UnixMillis,
) -> Result<Vec<Effect>, ChangeError> {
    require_environment(conn, actor, &scope).await?;
    let stored = flags::flag(conn, &scope, &wire.key).await?.map(|row| row.wire);
    let wire = admit(stored.as_ref(), wire)?;
    let before = Environment::load(conn, &scope).await?;
    let after = before.with_flag(&wire);
    check(&before, &after, &[Touched::Flag(&wire.key)])?;
    let revision = write(conn, &scope, stored.as_ref(), &wire, now).await?;
    let mut effect = effect(scope.clone(), stored.as_ref(), &wire, revision);
    let inherited = project_flags::inherited(conn, &scope, &wire.key).await?;
    if project_flags::detach(conn, &scope, &wire.key).await? {
        effect.told.insert("detached".to_owned(), json!(true));
        // Its patch goes with the inheritance: whoever wants it back finds it here and in the audit trail.
        let patch = inherited.and_then(|inherited| inherited.patch);
        effect.told.extend(patch.map(|patch| ("override_deleted".to_owned(), patch)));
    }
    Ok(vec![effect])
}

/// A flag as its owner wants it, with the cohort of the one that is there.
pub(super) fn admit(stored: Option<&FlagWire>, mut wire: FlagWire) -> Result<FlagWire, ChangeError> {
    FlagKey::parse(&wire.key).map_err(|source| ChangeError::Flag {
        key: wire.key.clone(),
        source: FlagFault::Key { field: "key".to_owned(), source },
    })?;
    let cohort = stored.and_then(|stored| stored.cohort.clone());
    if stored.is_some_and(|stored| is_switch_off(stored, &wire)) {
        // The fuse may have moved on since this was read: no reason to keep a flag on.
        wire.cohort.clone_from(&cohort);
    }
    if wire.cohort.is_some() && wire.cohort != cohort {
        return Err(ChangeError::CohortIsManaged);
    }
    wire.cohort = cohort;
    Ok(wire)
}

/// Whether nothing of a flag changes but that it is off afterwards. The cohort is its fuse's and does not count.
pub(super) fn is_switch_off(stored: &FlagWire, wire: &FlagWire) -> bool {
    !wire.enabled
        && *stored == FlagWire { enabled: stored.enabled, cohort: stored.cohort.clone(), ..wire.clone() }
}

/// The flags of `wires` that are off and would be on: somebody may have had a reason to switch them off.
pub(super) fn switched_on(before: &Environment, wires: &[FlagWire]) -> Vec<String> {
    let is_off = |key: &str| before.flags.get(key).is_some_and(|stored| !stored.enabled);
    wires.iter().filter(|wire| wire.enabled && is_off(&wire.key)).map(|wire| wire.key.clone()).collect()
}

/// Writes a flag that was checked with its environment; what its fuse holds is checked here.
pub(super) async fn write(
    conn: &mut Connection,
    scope: &Scope,
    stored: Option<&FlagWire>,
    wire: &FlagWire,
    now: UnixMillis,
) -> Result<u64, ChangeError> {
    if let Some(stored) = stored
        && let Some(fuse) = fuses::fuse(conn, scope, &wire.key).await?
    {
        held::check_flag(&fuse, stored, wire)?;
        follow_power(conn, scope, &fuse, wire).await?;
    }
    Ok(flags::put(conn, scope, wire, now).await?)
}

pub(super) fn effect(scope: Scope, stored: Option<&FlagWire>, wire: &FlagWire, revision: u64) -> Effect {
    Effect {
        action: "flag.put",
        subject: wire.key.clone(),
        detail: json!({
            "revision": revision, "enabled": wire.enabled, "default_variation": wire.default_variation,
        }),
        scope: Some(scope),
        publication: publication(stored, wire),
        revision: Some(revision),
        told: Map::new(),
    }
}

/// Switching a flag off is urgent, every other edit is not.
pub(super) fn publication(stored: Option<&FlagWire>, wire: &FlagWire) -> Publication {
    let is_switched_off = stored.is_some_and(|stored| stored.enabled) && !wire.enabled;
    if is_switched_off { Publication::Urgent } else { Publication::Needed }
}

pub(super) async fn delete(
    conn: &mut Connection,
    actor: &Actor,
    scope: Scope,
    flag: &FlagKey,
    watched: Fuses,
    now: UnixMillis,
) -> Result<Vec<Effect>, ChangeError> {
    require_environment(conn, actor, &scope).await?;
    if project_flags::inherited(conn, &scope, flag.as_str()).await?.is_some() {
        return Err(ChangeError::Inherited { flag: flag.to_string() });
    }
    let before = Environment::load(conn, &scope).await?;
    check(&before, &before.without_flag(flag.as_str()), &[Touched::Flag(flag.as_str())])?;
    let fuse = fuses::fuse(conn, &scope, flag.as_str()).await?;
    if let Some(fuse) = fuse.as_ref().filter(|_| watched == Fuses::Kept) {
        let fuses = vec![(scope.environment, fuse.circuit)];
        return Err(ChangeError::FuseInUse { flag: flag.to_string(), fuses });
    }
    remove(conn, &scope, flag.as_str(), now).await?;
    let gone = fuse.map(|fuse| gone(&scope.environment, fuse.circuit));
    let detail = json!({ "fuse_deleted": gone.is_some() });
    Ok(vec![Effect {
        action: "flag.delete",
        subject: flag.to_string(),
        detail,
        scope: Some(scope),
        publication: Publication::Needed,
        revision: None,
        told: named([("fuses_deleted", gone.into_iter().collect())]),
    }])
}

/// A fuse that went with its flag, as answers tell it.
pub(super) fn gone(environment: &EnvironmentKey, circuit: Circuit) -> Value {
    json!({ "environment": environment, "circuit": circuit })
}

/// Removes a flag whose environment was checked without it, and its fuse.
pub(super) async fn remove(
    conn: &mut Connection,
    scope: &Scope,
    key: &str,
    now: UnixMillis,
) -> Result<(), ChangeError> {
    if let Some(fuse) = fuses::fuse(conn, scope, key).await? {
        phases::end(conn, fuse.phase_id, now).await?;
        fuses::delete(conn, scope, key).await?;
    }
    if flags::delete(conn, scope, key).await? {
        Ok(())
    } else {
        Err(ChangeError::Unknown { what: "flag", key: key.to_owned() })
    }
}

/// A flag that is off has nobody to watch.
async fn follow_power(
    conn: &mut Connection,
    scope: &Scope,
    fuse: &FuseRow,
    wire: &FlagWire,
) -> Result<(), ChangeError> {
    let rollout = match (wire.enabled, fuse.rollout) {
        (true, Rollout::Pending) => Rollout::Validating,
        (false, Rollout::Validating) => Rollout::Pending,
        (_, other) => other,
    };
    if rollout != fuse.rollout {
        fuses::set_rollout(conn, scope, &fuse.flag, rollout).await?;
    }
    Ok(())
}
