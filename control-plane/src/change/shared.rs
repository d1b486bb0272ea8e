//! Changes of segments, layers and the holdout. Never touches a flag.

use flagfuse_shared::ids::{Scope, UnixMillis};
use serde_json::{Map, Value, json};

use super::environment::{Environment, SharedPart, Touched, check};
use super::{Actor, ChangeError, Effect, Publication, held, require_environment};
use crate::store::Connection;
use crate::store::parts::{self, Part};

pub(super) async fn put(
    conn: &mut Connection,
    actor: &Actor,
    scope: Scope,
    new: SharedPart,
    now: UnixMillis,
) -> Result<Vec<Effect>, ChangeError> {
    require_environment(conn, actor, &scope).await?;
    let (part, key) = new.name();
    let before = Environment::load(conn, &scope).await?;
    let mut after = before.clone();
    after.put_part(&new);
    check(&before, &after, &[Touched::part(part, key)])?;
    held::check_shared(conn, &scope, &before, &after).await?;
    let revision = write(conn, &scope, &new, now).await?;
    Ok(vec![effect(scope, part, "put", key, json!({ "revision": revision }), Some(revision))])
}

/// Writes a part that was checked.
pub(super) async fn write(
    conn: &mut Connection,
    scope: &Scope,
    new: &SharedPart,
    now: UnixMillis,
) -> Result<u64, ChangeError> {
    let (part, key) = new.name();
    Ok(parts::put(conn, scope, part, key, &new.body(), now).await?)
}

pub(super) async fn delete(
    conn: &mut Connection,
    actor: &Actor,
    scope: Scope,
    part: Part,
    key: &str,
) -> Result<Vec<Effect>, ChangeError> {
    require_environment(conn, actor, &scope).await?;
    let before = Environment::load(conn, &scope).await?;
    let mut after = before.clone();
    after.remove_part(part, key);
    check(&before, &after, &[Touched::part(part, key)])?;
    held::check_shared(conn, &scope, &before, &after).await?;
    if !parts::delete(conn, &scope, part, key).await? {
        return Err(ChangeError::Unknown { what: part.as_str(), key: key.to_owned() });
    }
    Ok(vec![effect(scope, part, "delete", key, json!({}), None)])
}

fn effect(scope: Scope, part: Part, verb: &str, key: &str, detail: Value, revision: Option<u64>) -> Effect {
    let action = match (part, verb) {
        (Part::Segment, "put") => "segment.put",
        (Part::Segment, _) => "segment.delete",
        (Part::Layer, "put") => "layer.put",
        (Part::Layer, _) => "layer.delete",
        (Part::Holdout, "put") => "holdout.put",
        (Part::Holdout, _) => "holdout.delete",
    };
    let subject = if key.is_empty() { part.as_str() } else { key };
    Effect {
        action,
        subject: subject.to_owned(),
        detail,
        scope: Some(scope),
        publication: Publication::Needed,
        revision,
        told: Map::new(),
    }
}
