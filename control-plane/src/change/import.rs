//! Flags and segments of another system, taken over in one change. What a fuse holds is held here too.

use flagfuse_shared::flag::FlagWire;
use flagfuse_shared::ids::Scope;
use flagfuse_shared::import::Imported;
use serde_json::{Map, json};

use super::action::Action;
use super::effect::{Effect, Publication};
use super::environment::{Environment, PartWire, Touched, conflicts as malformed};
use super::error::{ChangeError, Conflict};
use super::kinds::{Existing, Import};
use super::resource::Resource;
use super::writing::Writing;
use super::{flag, fuse_lock, part};
use crate::store::fuses::FuseRow;
use crate::store::shared::Part;
use crate::store::{fuses, project_flags};

pub(super) async fn apply(
    writing: &mut Writing<'_>,
    scope: Scope,
    import: Import,
) -> Result<Vec<Effect>, ChangeError> {
    writing.require_environment(&scope).await?;
    let parts = parts(&import.imported);
    if import.imported.flags.is_empty() && parts.is_empty() {
        return Ok(Vec::new());
    }
    let before = Environment::load(writing.conn, &scope).await?;
    let taken = taken(&before, &import.imported, &parts);
    let replaced = taken.len();
    let mut conflicts = if import.existing == Existing::Refuse { taken } else { Vec::new() };
    let mut after = before.clone();
    let mut wires = Vec::with_capacity(import.imported.flags.len());
    for wire in import.imported.flags {
        let name = format!("flag {}", wire.key);
        match flag::admit(before.flags.get(&wire.key), wire) {
            Ok(wire) => {
                after.flags.insert(wire.key.clone(), wire.clone());
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
    conflicts.extend(malformed(&before, &after, &flags.chain(named).collect::<Vec<_>>())?);
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
    Ok(vec![Effect {
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
    }])
}

fn parts(imported: &Imported) -> Vec<PartWire> {
    let segments = imported.shared.segments.iter().cloned().map(PartWire::Segment);
    let layers = imported.shared.layers.iter().cloned().map(PartWire::Layer);
    let holdout = imported.shared.holdout.iter().cloned().map(PartWire::Holdout);
    segments.chain(layers).chain(holdout).collect()
}

/// What watching fuses hold against it: of their flags, and of what those share with others.
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
