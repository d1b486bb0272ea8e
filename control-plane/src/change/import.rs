//! Flags and segments of another system, taken over in one change. What a fuse holds is held here too.

use flagfuse_shared::ids::{Scope, UnixMillis};
use flagfuse_shared::import::Imported;
use serde_json::{Map, json};

use super::environment::{Environment, SharedPart, Touched, check};
use super::{Actor, ChangeError, Effect, Publication, flag, held, require_environment, shared};
use crate::import::Format;
use crate::store::shared::Part;
use crate::store::{Connection, project_flags};

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
    if import.existing == Existing::Refuse && !taken.is_empty() {
        return Err(ChangeError::Taken { keys: taken });
    }
    let mut after = before.clone();
    let mut wires = Vec::with_capacity(import.imported.flags.len());
    for wire in import.imported.flags {
        let wire = flag::admit(before.flags.get(&wire.key), wire)?;
        after.flags.insert(wire.key.clone(), wire.clone());
        wires.push(wire);
    }
    for part in &parts {
        after.put_part(part);
    }
    let flags = wires.iter().map(|wire| Touched::Flag(&wire.key));
    let named = parts.iter().map(SharedPart::name).map(|(part, key)| Touched::part(part, key));
    check(&before, &after, &flags.chain(named).collect::<Vec<_>>())?;
    held::check_shared(conn, &scope, &before, &after).await?;
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
            "format": import.format, "flags": wires.len(), "shared": parts.len(), "replaced": taken.len(),
            "refused": import.imported.refused.len(),
        }),
        scope: Some(scope),
        publication: Publication::Needed,
        revision: None,
        told: Map::from_iter([("detached".to_owned(), json!(detached))]),
    }])
}

fn parts(imported: &Imported) -> Vec<SharedPart> {
    let segments = imported.shared.segments.iter().cloned().map(SharedPart::Segment);
    let layers = imported.shared.layers.iter().cloned().map(SharedPart::Layer);
    let holdout = imported.shared.holdout.iter().cloned().map(SharedPart::Holdout);
    segments.chain(layers).chain(holdout).collect()
}

/// What the environment has already: `flag checkout`, `segment beta`.
fn taken(before: &Environment, imported: &Imported, parts: &[SharedPart]) -> Vec<String> {
    let flags = imported.flags.iter().filter(|wire| before.flags.contains_key(&wire.key));
    let flags = flags.map(|wire| format!("flag {}", wire.key));
    let parts = parts.iter().map(SharedPart::name).filter(|(part, key)| match part {
        Part::Segment => before.shared.segments.iter().any(|segment| segment.key == *key),
        Part::Layer => before.shared.layers.iter().any(|layer| layer.key == *key),
        Part::Holdout => before.shared.holdout.is_some(),
    });
    flags.chain(parts.map(|(part, key)| format!("{} {key}", part.as_str()))).collect()
}
