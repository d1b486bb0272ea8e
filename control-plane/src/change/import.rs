//! Flags and segments of another system, taken over in one change. What a fuse holds is held here too.

use flagfuse_importers::Imported;
use flagfuse_shared::definition::FlagWire;
use flagfuse_shared::ids::{Scope, UnixMillis};
use serde_json::{Map, json};

use super::environment::{Environment, SharedPart, Touched, conflicts as malformed};
use super::{Actor, ChangeError, Conflict, Effect, Publication, flag, held, require_environment, shared};
use crate::store::fuses::FuseRow;
use crate::store::parts::Part;
use crate::store::{Connection, fuses, project_flags};
use flagfuse_importers::Format;

/// What to do with keys that the environment has already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Existing {
    /// Refuse everything and name them.
    Refuse,
    /// Put the imported ones in their place.
    Replace,
}

/// A document that was read.
#[derive(Debug, Clone)]
pub struct Import {
    /// Where it comes from.
    pub format: Format,
    /// What it says.
    pub imported: Imported,
    /// What to do with keys that are there.
    pub existing: Existing,
}

pub(super) async fn apply(
    conn: &mut Connection,
    actor: &Actor,
    scope: Scope,
    import: Import,
    now: UnixMillis,
) -> Result<Vec<Effect>, ChangeError> {
    require_environment(conn, actor, &scope).await?;
    let parts = parts(&import.imported);
    if import.imported.flags.is_empty() && parts.is_empty() {
        return Ok(Vec::new());
    }
    let before = Environment::load(conn, &scope).await?;
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
    let named = parts.iter().map(SharedPart::name).map(|(part, key)| Touched::part(part, key));
    conflicts.extend(malformed(&before, &after, &flags.chain(named).collect::<Vec<_>>())?);
    conflicts.extend(held_parts(&fuses::fuses(conn, &scope).await?, &before, &after, &wires));
    if !conflicts.is_empty() {
        return Err(ChangeError::Conflicts { conflicts });
    }
    for part in &parts {
        shared::write(conn, &scope, part, now).await?;
    }
    let mut detached = Vec::new();
    for wire in &wires {
        flag::write(conn, &scope, before.flags.get(&wire.key), wire, now).await?;
        if project_flags::detach(conn, &scope, &wire.key).await? {
            detached.push(wire.key.clone());
        }
    }
    Ok(vec![Effect {
        action: "environment.import",
        subject: scope.environment.to_string(),
        detail: json!({
            "format": import.format, "flags": wires.len(), "shared": parts.len(), "replaced": replaced,
            "refused": import.imported.refused.len(),
        }),
        scope: Some(scope),
        publication: Publication::Needed,
        revision: None,
        told: Map::from_iter([
            ("detached".to_owned(), json!(detached)),
            ("switched_on".to_owned(), json!(flag::switched_on(&before, &wires))),
        ]),
    }])
}

fn parts(imported: &Imported) -> Vec<SharedPart> {
    let segments = imported.shared.segments.iter().cloned().map(SharedPart::Segment);
    let layers = imported.shared.layers.iter().cloned().map(SharedPart::Layer);
    let holdout = imported.shared.holdout.iter().cloned().map(SharedPart::Holdout);
    segments.chain(layers).chain(holdout).collect()
}

/// What watching fuses hold against it: of their flags, and of what those share with others.
fn held_parts(
    fuses: &[FuseRow],
    before: &Environment,
    after: &Environment,
    wires: &[FlagWire],
) -> Vec<Conflict> {
    let mut conflicts = Vec::new();
    for fuse in fuses {
        let wire = wires.iter().find(|wire| wire.key == fuse.flag);
        let own = wire.zip(before.flags.get(&fuse.flag));
        let own = own.and_then(|(wire, stored)| held::check_flag(fuse, stored, wire).err());
        let shared = held::shared_conflict(fuse, before, after);
        let reasons = own.into_iter().chain(shared);
        conflicts.extend(reasons.map(|reason| Conflict { name: format!("flag {}", fuse.flag), reason }));
    }
    conflicts
}

/// What the environment has already.
fn taken(before: &Environment, imported: &Imported, parts: &[SharedPart]) -> Vec<Conflict> {
    let exists = |what: &'static str, key: &str| Conflict {
        name: format!("{what} {key}"),
        reason: ChangeError::Exists { what, key: key.to_owned() },
    };
    let flags = imported.flags.iter().filter(|wire| before.flags.contains_key(&wire.key));
    let flags = flags.map(|wire| exists("flag", &wire.key));
    let parts = parts.iter().map(SharedPart::name).filter(|(part, key)| match part {
        Part::Segment => before.shared.segments.iter().any(|segment| segment.key == *key),
        Part::Layer => before.shared.layers.iter().any(|layer| layer.key == *key),
        Part::Holdout => before.shared.holdout.is_some(),
    });
    flags.chain(parts.map(|(part, key)| exists(part.as_str(), key))).collect()
}
