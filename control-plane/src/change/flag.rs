//! Changes of flags by their owners. The cohort inside belongs to the fuse and passes through untouched.

use flagfuse_shared::definition::FlagWire;
use flagfuse_shared::flag::FlagFault;
use flagfuse_shared::ids::{EnvironmentKey, FlagKey, Scope};
use serde_json::{Map, Value, json};

use super::action::Action;
use super::effect::{Effect, Publication};
use super::environment::{Environment, Touched, check};
use super::error::ChangeError;
use super::fuse_lock;
use super::kinds::Fuses;
use super::named::named;
use super::resource::Resource;
use super::rollout;
use super::writing::Writing;
use crate::model::circuit::{Circuit, Rollout};
use crate::store::fuses::FuseRow;
use crate::store::{Connection, flags, fuses, phases, project_flags};

pub(super) async fn put(
    writing: &mut Writing<'_>,
    scope: Scope,
    wire: FlagWire,
) -> Result<Vec<Effect>, ChangeError> {
    writing.require_environment(&scope).await?;
    let stored = flags::flag(writing.conn, &scope, &wire.key).await?.map(|row| row.wire);
    let wire = admit(stored.as_ref(), wire)?;
    let before = writing.read_environment(&scope).await?;
    let after = before.with_flag(&wire);
    check(&before, &after, &[Touched::Flag(&wire.key)])?;
    let revision = write(writing, &scope, stored.as_ref(), &wire).await?;
    let mut effect = effect(scope.clone(), stored.as_ref(), &wire, revision);
    let inherited = project_flags::inherited(writing.conn, &scope, &wire.key).await?;
    if project_flags::detach(writing.conn, &scope, &wire.key).await? {
        effect.notes.insert("detached".to_owned(), json!(true));
        // Its patch goes with the inheritance: whoever wants it back finds it here and in the audit trail.
        let patch = inherited.and_then(|inherited| inherited.patch);
        effect.notes.extend(patch.map(|patch| ("override_deleted".to_owned(), patch)));
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
    writing: &mut Writing<'_>,
    scope: &Scope,
    stored: Option<&FlagWire>,
    wire: &FlagWire,
) -> Result<u64, ChangeError> {
    if let Some(stored) = stored
        && let Some(fuse) = fuses::fuse(writing.conn, scope, &wire.key).await?
    {
        fuse_lock::check_flag(&fuse, stored, wire)?;
        follow_power(writing.conn, scope, &fuse, wire).await?;
    }
    Ok(flags::put(writing.conn, scope, wire, writing.now).await?)
}

pub(super) fn effect(scope: Scope, stored: Option<&FlagWire>, wire: &FlagWire, revision: u64) -> Effect {
    let effect = Effect {
        action: Action::PutFlag,
        subject: wire.key.clone(),
        detail: json!({
            "revision": revision, "enabled": wire.enabled, "default_variation": wire.default_variation,
        }),
        scope: Some(scope),
        publication: publication(stored, wire),
        revision: Some(revision),
        notes: Map::new(),
    };
    effect.with_fields(stored.map(definition).as_ref(), Some(&definition(wire)))
}

/// What people define of a flag: everything but what the fuse manages.
pub(super) fn definition(wire: &FlagWire) -> Value {
    json!(FlagWire { cohort: None, ..wire.clone() })
}

/// Switching a flag off is urgent, every other edit is not.
pub(super) fn publication(stored: Option<&FlagWire>, wire: &FlagWire) -> Publication {
    let is_switched_off = stored.is_some_and(|stored| stored.enabled) && !wire.enabled;
    if is_switched_off { Publication::Urgent } else { Publication::Needed }
}

pub(super) async fn delete(
    writing: &mut Writing<'_>,
    scope: Scope,
    flag: &FlagKey,
    watched: Fuses,
) -> Result<Vec<Effect>, ChangeError> {
    writing.require_environment(&scope).await?;
    if project_flags::inherited(writing.conn, &scope, flag.as_str()).await?.is_some() {
        return Err(ChangeError::Inherited { flag: flag.to_string() });
    }
    let before = writing.read_environment(&scope).await?;
    check(&before, &before.without_flag(flag.as_str()), &[Touched::Flag(flag.as_str())])?;
    let fuse = fuses::fuse(writing.conn, &scope, flag.as_str()).await?;
    if let Some(fuse) = fuse.as_ref().filter(|_| watched == Fuses::Kept) {
        let fuses = vec![(scope.environment, fuse.circuit)];
        return Err(ChangeError::FuseInUse { flag: flag.to_string(), fuses });
    }
    remove(writing, &scope, flag.as_str()).await?;
    let gone = fuse.map(|fuse| gone(&scope.environment, fuse.circuit));
    let detail = json!({ "fuse_deleted": gone.is_some() });
    let stored = before.flags.get(flag.as_str()).map(definition);
    let effect = Effect {
        action: Action::DeleteFlag,
        subject: flag.to_string(),
        detail,
        scope: Some(scope),
        publication: Publication::Needed,
        revision: None,
        notes: named([("fuses_deleted", gone.into_iter().collect())]),
    };
    Ok(vec![effect.with_fields(stored.as_ref(), None)])
}

/// A fuse that went with its flag, as answers tell it.
pub(super) fn gone(environment: &EnvironmentKey, circuit: Circuit) -> Value {
    json!({ "environment": environment, "circuit": circuit })
}

/// Removes a flag whose environment was checked without it, and its fuse.
pub(super) async fn remove(writing: &mut Writing<'_>, scope: &Scope, key: &str) -> Result<(), ChangeError> {
    if fuses::fuse(writing.conn, scope, key).await?.is_some() {
        phases::end(writing.conn, scope, key, writing.now).await?;
        fuses::delete(writing.conn, scope, key).await?;
    }
    rollout::forget(writing, scope, key).await?;
    if flags::delete(writing.conn, scope, key).await? {
        Ok(())
    } else {
        Err(ChangeError::Unknown { what: Resource::Flag, key: key.to_owned() })
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::change::testing::{cohort, environment, flag};

    #[test]
    fn the_cohort_passes_through_and_is_nobodys_to_write() {
        let stored = flag("f", &json!({ "cohort": cohort() }));
        let bare = flag("f", &json!({ "description": "d" }));
        let admitted = admit(Some(&stored), bare.clone()).unwrap();
        assert_eq!(admitted.cohort, stored.cohort, "left out, it stays");
        assert_eq!(admit(Some(&stored), admitted.clone()).unwrap(), admitted);
        let other = flag("f", &json!({ "cohort": { "phase": 2, "slices": [] } }));
        for (stored, wire) in [(Some(&stored), other.clone()), (Some(&bare), other), (None, admitted)] {
            let fault = admit(stored, wire).unwrap_err();
            assert!(matches!(fault, ChangeError::CohortIsManaged), "{fault}");
        }
        // Whoever switches off has not seen the newest phase, which is no reason to stay on.
        let old = json!({ "cohort": { "phase": 9, "slices": [] }, "enabled": false });
        assert_eq!(admit(Some(&stored), flag("f", &old)).unwrap().cohort, stored.cohort);
        let fault = admit(None, flag("", &json!({}))).unwrap_err().to_string();
        assert!(fault.starts_with("flag \"\": key"), "{fault}");
    }

    #[test]
    fn only_what_switches_off_and_does_nothing_else_is_a_switch_off() {
        let stored = flag("f", &json!({ "cohort": cohort() }));
        for (patch, is_off) in [
            (json!({ "enabled": false }), true),
            (json!({ "enabled": true }), false),
            (json!({ "enabled": false, "description": "d" }), false),
            (json!({ "enabled": false, "off_variation": "on" }), false),
        ] {
            assert_eq!(is_switch_off(&stored, &flag("f", &patch)), is_off, "{patch}");
        }
        let off = flag("f", &json!({ "enabled": false }));
        assert!(is_switch_off(&off, &off), "it is off afterwards, whatever it was");
    }

    #[test]
    fn switching_off_is_urgent_and_switching_on_is_told() {
        let (on, off) = (flag("f", &json!({})), flag("f", &json!({ "enabled": false })));
        for (stored, wire, expected) in [
            (Some(&on), &off, Publication::Urgent),
            (Some(&off), &off, Publication::Needed),
            (Some(&off), &on, Publication::Needed),
            (None, &off, Publication::Needed),
        ] {
            assert_eq!(publication(stored, wire), expected);
        }
        let before = environment([off.clone(), flag("g", &json!({}))], json!({}));
        let wires = [on, flag("g", &json!({})), flag("new", &json!({}))];
        assert_eq!(switched_on(&before, &wires), ["f"]);
        assert_eq!(switched_on(&before, &[off]), [""; 0]);
    }
}
