//! Changes of objectives and of the windows in which their alerts are silent. Never touches a flag, and no snapshot carries them.

use flagfuse_shared::ids::Scope;
use serde_json::{Map, Value, json};

use super::action::Action;
use super::effect::{Effect, Publication};
use super::error::ChangeError;
use super::resource::Resource;
use super::slo_change::SloChange;
use super::writing::Writing;
use crate::model::slo::{SLO_COUNT_MAX, Slo};
use crate::store::suppressions::SuppressionRow;
use crate::store::{slos, suppressions};

/// Windows of an environment that are not over.
const SUPPRESSION_COUNT_MAX: usize = 100;

/// Makes one of these changes.
pub(super) async fn apply(
    writing: &mut Writing<'_>,
    scope: Scope,
    change: SloChange,
) -> Result<Vec<Effect>, ChangeError> {
    writing.require_environment(&scope).await?;
    match change {
        SloChange::Put { name, slo } => put(writing, scope, &name, &slo).await,
        SloChange::Delete { name } => {
            let before = slos::slo(writing.conn, &scope, &name).await?;
            if !slos::delete(writing.conn, &scope, &name).await? {
                return Err(ChangeError::Unknown { what: Resource::Slo, key: name });
            }
            let before = before.map(|before| json!(before.slo));
            Ok(vec![
                effect(scope, Action::DeleteSlo, name, json!({}), None).with_fields(before.as_ref(), None),
            ])
        }
        SloChange::Suppress(row) => suppress(writing, scope, *row).await,
        SloChange::Unsuppress { suppression_id } => {
            if !suppressions::end(writing.conn, &scope, &suppression_id, writing.now).await? {
                return Err(ChangeError::Unknown { what: Resource::Suppression, key: suppression_id });
            }
            Ok(vec![effect(scope, Action::DeleteSuppression, suppression_id, json!({}), None)])
        }
    }
}

async fn put(
    writing: &mut Writing<'_>,
    scope: Scope,
    name: &str,
    slo: &Slo,
) -> Result<Vec<Effect>, ChangeError> {
    let before = slos::slo(writing.conn, &scope, name).await?;
    if before.is_none() && slos::count(writing.conn, &scope).await? >= SLO_COUNT_MAX {
        return Err(ChangeError::TooMany { what: Resource::Slo, count_max: SLO_COUNT_MAX });
    }
    let row = slos::put(writing.conn, &scope, name, slo, writing.now).await?;
    let counts_anew = before.as_ref().is_some_and(|before| before.slo_id != row.slo_id);
    let detail = json!({ "revision": row.revision, "slo": slo, "counts_anew": counts_anew });
    let before = before.map(|before| json!(before.slo));
    let effect = effect(scope, Action::PutSlo, name.to_owned(), detail, Some(row.revision));
    Ok(vec![effect.with_fields(before.as_ref(), Some(&json!(slo)))])
}

async fn suppress(
    writing: &mut Writing<'_>,
    scope: Scope,
    row: SuppressionRow,
) -> Result<Vec<Effect>, ChangeError> {
    let (what, key) = (Resource::Suppression, row.suppression_id.clone());
    if suppressions::suppression(writing.conn, &scope, &key).await?.is_some() {
        return Err(ChangeError::Exists { what, key });
    }
    if suppressions::since(writing.conn, &scope, writing.now).await?.len() >= SUPPRESSION_COUNT_MAX {
        return Err(ChangeError::TooMany { what, count_max: SUPPRESSION_COUNT_MAX });
    }
    if let Some(name) = &row.slo
        && slos::slo(writing.conn, &scope, name).await?.is_none()
    {
        return Err(ChangeError::Unknown { what: Resource::Slo, key: name.clone() });
    }
    suppressions::insert(writing.conn, &scope, &row).await?;
    let silence = row.silence;
    let detail =
        json!({ "from_ms": silence.from_ms, "to_ms": silence.to_ms, "slo": row.slo, "reason": row.reason });
    Ok(vec![effect(scope, Action::Suppress, key, detail, None)])
}

fn effect(scope: Scope, action: Action, subject: String, detail: Value, revision: Option<u64>) -> Effect {
    Effect {
        action,
        subject,
        detail,
        scope: Some(scope),
        publication: Publication::NotNeeded,
        revision,
        notes: Map::new(),
    }
}
