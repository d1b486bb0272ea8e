//! What environments and projects hold, row by row, and its removal. What was measured, published or audited stays.

use flagfuse_shared::ids::{ProjectKey, Scope, TenantKey, UnixMillis};
use serde::Serialize;

use super::sql::Row;
use super::{
    Connection, StoreError, StoredProject, asked, contracts, flag_details, from_sql, sql, to_sql, validations,
};

/// One row that an environment or a project holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct HeldRow {
    /// `flag`, `fuse`, `override`, `segment`, `layer`, `holdout`, `client_key`, `project_flag`.
    pub kind: String,
    pub key: String,
    /// Rises with every write of it.
    pub revision: u64,
}

/// Everything that an environment holds and somebody would miss. Flags that it inherits as they are count too: they are
/// served there.
pub async fn of_environment(conn: &mut Connection, scope: &Scope) -> Result<Vec<HeldRow>, StoreError> {
    let sql =
        "SELECT 'flag' AS kind, flag AS key, revision FROM flags WHERE project = $1 AND environment = $2
               UNION ALL SELECT 'fuse', flag, revision FROM fuses WHERE project = $1 AND environment = $2
               UNION ALL SELECT 'override', flag, revision FROM inherited_flags
                 WHERE project = $1 AND environment = $2 AND patch IS NOT NULL
               UNION ALL SELECT part, key, revision FROM shared_parts WHERE project = $1 AND environment = $2
               UNION ALL SELECT 'client_key', token_id, 1 FROM tokens
                 WHERE kind = 'client' AND project = $1 AND environment = $2 AND revoked_ms IS NULL
               ORDER BY 1, 2";
    let rows = sql::query(sql)
        .bind(StoredProject::of(scope))
        .bind(scope.environment.as_str())
        .fetch_all(conn)
        .await?;
    rows.iter().map(held_row).collect()
}

/// What a project holds beside its environments.
pub async fn of_project(
    conn: &mut Connection,
    tenant: &TenantKey,
    project: &ProjectKey,
) -> Result<Vec<HeldRow>, StoreError> {
    let sql = "SELECT 'project_flag' AS kind, flag AS key, revision FROM project_flags WHERE project = $1 ORDER BY flag";
    let rows = sql::query(sql).bind(StoredProject::of_tenant(tenant, project)).fetch_all(conn).await?;
    rows.iter().map(held_row).collect()
}

fn held_row(row: &Row) -> Result<HeldRow, StoreError> {
    Ok(HeldRow { kind: row.get("kind")?, key: row.get("key")?, revision: from_sql(row.get("revision")?) })
}

/// Empties an environment and marks it as deleted. Its phases end and stay, so that a phase's number never means another
/// one; its tokens are revoked; its version and the highest of its revisions are kept. Its last version is one for
/// all regions, so its stages go.
pub async fn delete_environment(
    conn: &mut Connection,
    scope: &Scope,
    now: UnixMillis,
) -> Result<(), StoreError> {
    let marks = [
        "UPDATE environments SET deleted_ms = $3, settings_revision = settings_revision + 1, stages = '[]', soak_s = 0,
           revision_floor = (SELECT MAX(revision) FROM (
             SELECT environments.revision_floor AS revision
             UNION ALL SELECT revision FROM flags WHERE project = $1 AND environment = $2
             UNION ALL SELECT revision FROM fuses WHERE project = $1 AND environment = $2
             UNION ALL SELECT revision FROM inherited_flags WHERE project = $1 AND environment = $2
             UNION ALL SELECT revision FROM shared_parts WHERE project = $1 AND environment = $2
             UNION ALL SELECT revision FROM slos WHERE project = $1 AND environment = $2) AS revisions)
         WHERE project = $1 AND environment = $2",
        "UPDATE phases SET ended_ms = $3 WHERE project = $1 AND environment = $2 AND ended_ms IS NULL",
        // Those of servers stay: what they send is kept under the environment's name.
        "UPDATE tokens SET revoked_ms = $3, revision = revision + 1
         WHERE kind <> 'server' AND project = $1 AND environment = $2 AND revoked_ms IS NULL",
    ];
    for sql in marks {
        sql::query(sql)
            .bind(StoredProject::of(scope))
            .bind(scope.environment.as_str())
            .bind(to_sql(now.0))
            .execute(&mut *conn)
            .await?;
    }
    contracts::retire(conn, scope, None, now).await?;
    validations::end_all(conn, scope, now).await?;
    // In the order in which they name one another.
    let removals = [
        "DELETE FROM fuses WHERE project = $1 AND environment = $2",
        "DELETE FROM inherited_flags WHERE project = $1 AND environment = $2",
        "DELETE FROM flags WHERE project = $1 AND environment = $2",
        "DELETE FROM shared_parts WHERE project = $1 AND environment = $2",
        "DELETE FROM slo_sums WHERE slo_id IN (SELECT slo_id FROM slos WHERE project = $1 AND environment = $2)",
        "DELETE FROM slo_alerts WHERE slo_id IN (SELECT slo_id FROM slos WHERE project = $1 AND environment = $2)",
        "DELETE FROM slos WHERE project = $1 AND environment = $2",
        "DELETE FROM suppressions WHERE project = $1 AND environment = $2",
        // Names that outcomes of the old environment had: the next one under this key has seen none.
        "DELETE FROM metrics_seen WHERE project = $1 AND environment = $2",
        // Nobody has a right in the next one for one in this.
        "DELETE FROM user_roles WHERE project = $1 AND environment = $2",
    ];
    for sql in removals {
        sql::query(sql)
            .bind(StoredProject::of(scope))
            .bind(scope.environment.as_str())
            .execute(&mut *conn)
            .await?;
    }
    asked::forget(conn, scope, None).await?;
    flag_details::forget_orphans(conn, &scope.tenant, &scope.project, None).await
}

/// The same for a project whose environments are deleted.
pub async fn delete_project(
    conn: &mut Connection,
    tenant: &TenantKey,
    project: &ProjectKey,
    now: UnixMillis,
) -> Result<(), StoreError> {
    let sql = "UPDATE projects SET deleted_ms = $2,
                 revision_floor = (SELECT MAX(revision) FROM (
                   SELECT projects.revision_floor AS revision
                   UNION ALL SELECT revision FROM project_flags WHERE project = $1
                   UNION ALL SELECT revision FROM flag_details WHERE project = $1) AS revisions)
               WHERE project = $1";
    sql::query(sql)
        .bind(StoredProject::of_tenant(tenant, project))
        .bind(to_sql(now.0))
        .execute(&mut *conn)
        .await?;
    for sql in [
        "DELETE FROM project_flags WHERE project = $1",
        "DELETE FROM flag_details WHERE project = $1",
        "DELETE FROM user_roles WHERE project = $1",
    ] {
        sql::query(sql).bind(StoredProject::of_tenant(tenant, project)).execute(&mut *conn).await?;
    }
    let sql = "UPDATE tokens SET revoked_ms = $2, revision = revision + 1
               WHERE project = $1 AND environment IS NULL AND revoked_ms IS NULL";
    sql::query(sql).bind(StoredProject::of_tenant(tenant, project)).bind(to_sql(now.0)).execute(conn).await?;
    Ok(())
}
