//! Flags and segments of another system, taken over in one change. What a fuse locks stays locked.

use flagfuse_importers::Imported;
use flagfuse_shared::definition::FlagWire;
use flagfuse_shared::ids::Scope;
use serde_json::{Map, json};

use super::action::Action;
use super::effect::{Effect, Publication};
use super::environment::{Environment, PartWire, Touched, conflicts as malformed, parts};
use super::error::{ChangeError, Conflict};
use super::kinds::{Existing, Import};
use super::many::changed;
use super::resource::Resource;
use super::writing::Writing;
use super::{flag, fuse_lock, part};
use crate::store::fuses::FuseRow;
use crate::store::parts::Part;
use crate::store::{fuses, project_flags};

pub(super) async fn apply(
    writing: &mut Writing<'_>,
    scope: Scope,
    import: Import,
) -> Result<Vec<Effect>, ChangeError> {
    writing.require_environment(&scope).await?;
    let parts: Vec<PartWire> = parts(import.imported.shared.clone()).collect();
    if import.imported.flags.is_empty() && parts.is_empty() {
        return Ok(Vec::new());
    }
    let before = writing.read_environment(&scope).await?;
    let taken = taken(&before, &import.imported, &parts);
    let replaced = taken.len();
    let mut conflicts = if import.existing == Existing::Refuse { taken } else { Vec::new() };
    let mut after = before.clone();
    let mut wires = Vec::with_capacity(import.imported.flags.len());
    for wire in import.imported.flags {
        let name = format!("flag {}", wire.key);
        match flag::admit(before.flags.get(&wire.key), wire) {
            Ok(wire) => {
                after.flags.insert(wire.clone());
                wires.push(wire);
            }
            Err(reason) => conflicts.push(Conflict { name, reason }),
        }
    }
    for part in &parts {
        after.put_part(part);
    }
    let flags = wires.iter().map(|wire| Touched::Flag(&wire.key));
    let named = parts.iter().map(PartWire::name).map(|(part, key)| Touched::part(part, key));
    let touched: Vec<_> = flags.chain(named).collect();
    conflicts.extend(malformed(&before, &after, &touched)?);
    conflicts.extend(locked_parts(&fuses::fuses(writing.conn, &scope).await?, &before, &after, &wires));
    if !conflicts.is_empty() {
        return Err(ChangeError::Conflicts { conflicts });
    }
    for part in &parts {
        part::write(writing, &scope, part).await?;
    }
    let mut detached = Vec::new();
    for wire in &wires {
        flag::write(writing, &scope, before.flags.get(&wire.key), wire).await?;
        if project_flags::detach(writing.conn, &scope, &wire.key).await? {
            detached.push(wire.key.clone());
        }
    }
    let effect = Effect {
        action: Action::Import,
        subject: scope.environment.to_string(),
        detail: json!({
            "format": import.format, "flags": wires.len(), "shared": parts.len(), "replaced": replaced,
            "refused": import.imported.refused.len(),
        }),
        scope: Some(scope),
        publication: Publication::Needed,
        revision: None,
        notes: Map::from_iter([
            ("detached".to_owned(), json!(detached)),
            ("switched_on".to_owned(), json!(flag::switched_on(&before, &wires))),
        ]),
    };
    Ok(vec![effect.with_parts(changed(&before, &after, &touched))])
}

/// What watching fuses lock of it: of their flags, and of what those share with others.
fn locked_parts(
    fuses: &[FuseRow],
    before: &Environment,
    after: &Environment,
    wires: &[FlagWire],
) -> Vec<Conflict> {
    let mut conflicts = Vec::new();
    for fuse in fuses {
        let wire = wires.iter().find(|wire| wire.key == fuse.flag);
        let own = wire.zip(before.flags.get(&fuse.flag));
        let own = own.and_then(|(wire, stored)| fuse_lock::check_flag(fuse, stored, wire).err());
        let shared = fuse_lock::parts_conflict(fuse, before, after);
        let reasons = own.into_iter().chain(shared);
        conflicts.extend(reasons.map(|reason| Conflict { name: format!("flag {}", fuse.flag), reason }));
    }
    conflicts
}

/// What the environment has already.
fn taken(before: &Environment, imported: &Imported, parts: &[PartWire]) -> Vec<Conflict> {
    let exists = |what: Resource, key: &str| Conflict {
        name: format!("{what} {key}"),
        reason: ChangeError::Exists { what, key: key.to_owned() },
    };
    let flags = imported.flags.iter().filter(|wire| before.flags.contains_key(&wire.key));
    let flags = flags.map(|wire| exists(Resource::Flag, &wire.key));
    let parts = parts.iter().map(PartWire::name).filter(|(part, key)| match part {
        Part::Segment => before.shared.segments.iter().any(|segment| segment.key == *key),
        Part::Layer => before.shared.layers.iter().any(|layer| layer.key == *key),
        Part::Holdout => before.shared.holdout.is_some(),
    });
    flags.chain(parts.map(|(part, key)| exists(part.into(), key))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::change::testing::{cohort, environment, flag, fuse, unit};
    use crate::model::circuit::Circuit;

    fn shared() -> serde_json::Value {
        json!({ "segments": [{ "key": "beta" }], "layers": [{ "key": "l" }],
            "holdout": { "percentage": 5.0, "salt": "h" } })
    }

    #[test]
    fn what_is_there_already_is_named_each_by_its_kind() {
        let before = environment([flag("f", &json!({}))], shared());
        let imported = Imported {
            flags: vec![flag("f", &json!({})), flag("new", &json!({}))],
            shared: serde_json::from_value(shared()).unwrap(),
            refused: Vec::new(),
            notes: Vec::new(),
        };
        let parts: Vec<PartWire> = parts(imported.shared.clone()).collect();
        let names = |conflicts: Vec<Conflict>| {
            conflicts.into_iter().map(|conflict| conflict.name.trim_end().to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(
            names(taken(&before, &imported, &parts)),
            ["flag f", "segment beta", "layer l", "holdout"]
        );
        assert_eq!(names(taken(&environment([], json!({})), &imported, &parts)), [""; 0]);
    }

    #[test]
    fn watched_flags_lock_what_an_import_would_change_of_them_and_of_their_parts() {
        let names = json!([{ "key": "r", "split": [{ "variation": "off" }],
            "conditions": [{ "op": "in_segment", "values": ["beta"] }] }]);
        let watched = |salt: &str| flag("f", &json!({ "cohort": cohort(), "rules": names, "salt": salt }));
        let before = environment([watched("f")], shared());
        let mut parts = shared();
        parts["segments"][0]["included"] = json!([unit("f", 0, 100_000)]);
        let after = environment([watched("s")], parts);
        let fuses = [fuse("f", Circuit::Closed), fuse("gone", Circuit::Closed)];
        let fields = |wires: &[FlagWire], after: &Environment| {
            let conflicts = locked_parts(&fuses, &before, after, wires).into_iter();
            let field = |conflict: Conflict| match conflict.reason {
                ChangeError::LockedByFuse { field, flag } => (conflict.name, field, flag),
                other => panic!("{other}"),
            };
            conflicts
                .map(field)
                .map(|(name, field, flag)| format!("{name}: {field} {flag}"))
                .collect::<Vec<_>>()
        };
        assert_eq!(fields(&[watched("s")], &after), ["flag f: salt f", "flag f: segments f"]);
        assert_eq!(fields(&[], &after), ["flag f: segments f"]);
        assert_eq!(fields(&[watched("f")], &before), [""; 0]);
    }
}
