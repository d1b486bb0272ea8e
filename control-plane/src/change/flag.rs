//! Changes of flags by their owners. The cohort inside belongs to the fuse and passes through untouched.

use flagfuse_shared::context::TARGETING_KEY;
use flagfuse_shared::flag::wire::VariationWire;
use flagfuse_shared::flag::{FlagWire, compile};
use flagfuse_shared::ids::{FlagKey, Scope, UnixMillis};
use serde_json::{Value, json};

use super::{Actor, ChangeError, Effect, Expected, Publication, require_environment};
use crate::fuse::circuit::{Circuit, Rollout};
use crate::store::fuses::FuseRow;
use crate::store::{Connection, flags, fuses, phases};

pub(super) async fn put(
    conn: &mut Connection,
    actor: &Actor,
    scope: Scope,
    mut wire: FlagWire,
    expected: Expected,
    now: UnixMillis,
) -> Result<Option<Effect>, ChangeError> {
    require_environment(conn, actor, &scope).await?;
    let stored = flags::flag(conn, &scope, &wire.key).await?;
    let found = stored.as_ref().map_or(0, |row| row.revision);
    match expected {
        Expected::Revision(revision) if revision != found => {
            return Err(ChangeError::Stale { what: "flag", found, expected: revision });
        }
        Expected::Revision(_) | Expected::Any => {}
    }
    let cohort = stored.as_ref().and_then(|row| row.wire.cohort.clone());
    if wire.cohort.is_some() && wire.cohort != cohort {
        return Err(ChangeError::CohortIsManaged);
    }
    wire.cohort = cohort;
    compile(&wire)?;
    if let Some(stored) = &stored
        && let Some(fuse) = fuses::fuse(conn, &scope, &wire.key).await?
    {
        check_held(&fuse, &stored.wire, &wire)?;
        follow_power(conn, &scope, &fuse, &wire).await?;
    }
    let revision = flags::put(conn, &scope, &wire, now).await?;
    Ok(Some(Effect {
        action: "flag.put",
        subject: wire.key.clone(),
        detail: json!({ "revision": revision, "enabled": wire.enabled, "default_variation": wire.default_variation }),
        scope: Some(scope),
        publication: Publication::Needed,
        revision: Some(revision),
    }))
}

pub(super) async fn delete(
    conn: &mut Connection,
    actor: &Actor,
    scope: Scope,
    flag: &FlagKey,
    now: UnixMillis,
) -> Result<Option<Effect>, ChangeError> {
    require_environment(conn, actor, &scope).await?;
    let fuse = fuses::fuse(conn, &scope, flag.as_str()).await?;
    if let Some(fuse) = &fuse {
        phases::end(conn, fuse.phase_id, now).await?;
        fuses::delete(conn, &scope, flag.as_str()).await?;
    }
    if !flags::delete(conn, &scope, flag.as_str()).await? {
        return Err(ChangeError::Unknown { what: "flag", key: flag.to_string() });
    }
    Ok(Some(Effect {
        action: "flag.delete",
        subject: flag.to_string(),
        detail: json!({ "fuse_deleted": fuse.is_some() }),
        scope: Some(scope),
        publication: Publication::Needed,
        revision: None,
    }))
}

/// What decides who is compared with whom stays as it is: counted units would change arms otherwise.
fn check_held(fuse: &FuseRow, before: &FlagWire, after: &FlagWire) -> Result<(), ChangeError> {
    let salt = |wire: &FlagWire| wire.salt.clone().unwrap_or_else(|| wire.key.clone());
    let unit = |wire: &FlagWire| wire.bucket_by.clone().unwrap_or_else(|| TARGETING_KEY.to_owned());
    if salt(before) != salt(after) {
        return Err(ChangeError::HeldByFuse { field: "salt" });
    }
    if unit(before) != unit(after) {
        return Err(ChangeError::HeldByFuse { field: "bucket_by" });
    }
    check_values(fuse, before, after)?;
    Ok(fuse.policy.check_flag(after)?)
}

/// What the two arms see is what was measured; and a tripped feature does not come back under another name.
fn check_values(fuse: &FuseRow, before: &FlagWire, after: &FlagWire) -> Result<(), ChangeError> {
    let policy = &fuse.policy;
    for arm in [&policy.treatment_variation, &policy.control_variation] {
        let (old, new) = (value(before, arm), value(after, arm));
        // A variation that is gone is refused by the policy's own check, by its name.
        if new.is_some() && new != old {
            return Err(ChangeError::HeldByFuse { field: "variations" });
        }
    }
    let treatment = value(before, &policy.treatment_variation);
    let is_alias = |variation: &&VariationWire| {
        variation.key != policy.treatment_variation
            && Some(&variation.value) == treatment
            && value(before, &variation.key) != treatment
    };
    match after.variations.iter().find(is_alias) {
        Some(alias) if fuse.circuit != Circuit::Closed => Err(ChangeError::Tripped {
            what: format!("variation {:?} cannot take the value of the tripped one", alias.key),
            circuit: fuse.circuit,
            remedy: "close it first",
        }),
        Some(_) | None => Ok(()),
    }
}

fn value<'f>(flag: &'f FlagWire, key: &str) -> Option<&'f Value> {
    flag.variations.iter().find(|variation| variation.key == key).map(|variation| &variation.value)
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
