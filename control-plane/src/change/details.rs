//! Changes of what people say of a flag. Touches no flag, and no snapshot carries them.

use flagfuse_shared::ids::{FlagKey, ProjectKey};
use serde_json::{Map, json};

use super::action::Action;
use super::effect::{Effect, Publication};
use super::error::ChangeError;
use super::resource::Resource;
use super::writing::Writing;
use crate::model::flag_details::FlagDetails;
use crate::store::flag_details;

pub(super) async fn put(
    writing: &mut Writing<'_>,
    project: &ProjectKey,
    flag: &FlagKey,
    details: &FlagDetails,
) -> Result<Vec<Effect>, ChangeError> {
    writing.require_project(project).await?;
    let tenant = &writing.actor.tenant;
    if !flag_details::is_of_a_flag(writing.conn, tenant, project, flag).await? {
        return Err(ChangeError::Unknown { what: Resource::Flag, key: flag.to_string() });
    }
    let before = flag_details::details(writing.conn, tenant, project, flag.as_str()).await?;
    let before = before.map(|before| json!(before.details));
    let revision = flag_details::put(writing.conn, tenant, project, flag, details, writing.now).await?;
    let effect = Effect {
        action: Action::PutDetails,
        subject: flag.to_string(),
        detail: json!({ "project": project, "revision": revision, "details": details }),
        scope: None,
        publication: Publication::NotNeeded,
        revision: Some(revision),
        notes: Map::new(),
    };
    Ok(vec![effect.with_fields(before.as_ref(), Some(&json!(details)))])
}
