//! Whether a change would write what is there already. Compares, and writes nothing.

use super::{Actor, Change, flag};
use crate::store::{Connection, StoreError, flags, fuses, parts, project_flags, scopes};

/// Whether everything would be as it is. `false` of what is not there, or not the actor's: the change is refused for that.
pub(super) async fn is_same(
    conn: &mut Connection,
    actor: &Actor,
    change: &Change,
) -> Result<bool, StoreError> {
    Ok(match change {
        Change::PutFlag { scope, wire } if scope.tenant == actor.tenant => {
            let stored = flags::flag(conn, scope, &wire.key).await?.map(|row| row.wire);
            let admitted = flag::admit(stored.as_ref(), (**wire).clone()).ok();
            stored.is_some() && admitted == stored
        }
        Change::PutProjectFlag { project, wire } => {
            let stored = project_flags::definition(conn, &actor.tenant, project, &wire.key).await?;
            if stored.is_none_or(|stored| stored.wire != **wire) {
                return Ok(false);
            }
            // An environment that could not take the flag before may take it now.
            for environment in
                scopes::environments(conn, scopes::Whose::Project(&actor.tenant, project)).await?
            {
                if flags::flag(conn, &environment.scope, &wire.key).await?.is_none() {
                    return Ok(false);
                }
            }
            true
        }
        Change::PutOverride { scope, flag, patch } if scope.tenant == actor.tenant => {
            let inherited = project_flags::inherited(conn, scope, flag.as_str()).await?;
            inherited.is_some_and(|inherited| inherited.patch == *patch)
        }
        Change::PutShared { scope, part } if scope.tenant == actor.tenant => {
            let (kind, key) = part.name();
            let stored = parts::part(conn, scope, kind, key).await?;
            stored.is_some_and(|stored| stored.body == part.body())
        }
        Change::PutFuse { scope, flag, policy } if scope.tenant == actor.tenant => {
            let stored = fuses::fuse(conn, scope, flag.as_str()).await?;
            stored.is_some_and(|stored| stored.policy == **policy)
        }
        Change::SetSettings { scope, settings: new, safety } if scope.tenant == actor.tenant => {
            match scopes::environment(conn, scope).await? {
                Some(row) => row.settings == *new && row.safety == **safety,
                None => false,
            }
        }
        _ => false,
    })
}
