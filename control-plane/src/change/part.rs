//! Changes of segments, layers and the holdout. Never touches a flag.

use flagfuse_shared::ids::Scope;
use serde_json::{Map, Value, json};

use super::action::Action;
use super::effect::{Effect, Publication};
use super::environment::{PartWire, Touched, check};
use super::error::ChangeError;
use super::fuse_lock;
use super::writing::Writing;
use crate::store::parts::{self, Part};

pub(super) async fn put(
    writing: &mut Writing<'_>,
    scope: Scope,
    new: PartWire,
) -> Result<Vec<Effect>, ChangeError> {
    writing.require_environment(&scope).await?;
    let (part, key) = new.name();
    let before = writing.read_environment(&scope).await?;
    let mut after = before.clone();
    after.put_part(&new);
    check(&before, &after, &[Touched::part(part, key)])?;
    fuse_lock::check_parts(writing.conn, &scope, &before, &after).await?;
    let revision = write(writing, &scope, &new).await?;
    let effect =
        effect(scope, Action::PutPart(part), part, key, json!({ "revision": revision }), Some(revision));
    Ok(vec![effect.with_fields(before.part(part, key).as_ref(), Some(&new.body()))])
}

/// Writes a part that was checked.
pub(super) async fn write(
    writing: &mut Writing<'_>,
    scope: &Scope,
    new: &PartWire,
) -> Result<u64, ChangeError> {
    let (part, key) = new.name();
    Ok(parts::put(writing.conn, scope, part, key, &new.body(), writing.now).await?)
}

pub(super) async fn delete(
    writing: &mut Writing<'_>,
    scope: Scope,
    part: Part,
    key: &str,
) -> Result<Vec<Effect>, ChangeError> {
    writing.require_environment(&scope).await?;
    let before = writing.read_environment(&scope).await?;
    let mut after = before.clone();
    after.remove_part(part, key);
    check(&before, &after, &[Touched::part(part, key)])?;
    fuse_lock::check_parts(writing.conn, &scope, &before, &after).await?;
    if !parts::delete(writing.conn, &scope, part, key).await? {
        return Err(ChangeError::Unknown { what: part.into(), key: key.to_owned() });
    }
    let effect = effect(scope, Action::DeletePart(part), part, key, json!({}), None);
    Ok(vec![effect.with_fields(before.part(part, key).as_ref(), None)])
}

fn effect(
    scope: Scope,
    action: Action,
    part: Part,
    key: &str,
    detail: Value,
    revision: Option<u64>,
) -> Effect {
    let subject = if key.is_empty() { part.as_str() } else { key };
    Effect {
        action,
        subject: subject.to_owned(),
        detail,
        scope: Some(scope),
        publication: Publication::Needed,
        revision,
        notes: Map::new(),
    }
}
