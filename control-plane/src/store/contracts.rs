//! Rows of contracts and baselines: versions that are added and never altered. One without a body says that it was taken away.

use flagfuse_shared::ids::{Scope, UnixMillis};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::sql::Row;
use super::{Connection, StoreError, StoredProject, from_sql, json_column, json_text, sql, to_sql};
use crate::model::contract::Contract;

/// Which of the two.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum ContractPart {
    Contract,
    Baseline,
}

impl ContractPart {
    /// The word for it, in SQL, audit and JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Contract => "contract",
            Self::Baseline => "baseline",
        }
    }
}

/// A version.
#[derive(Debug, Clone, PartialEq)]
pub struct VersionRow<T> {
    /// Rises by one with every change of this flag's.
    pub version: u64,
    pub at_ms: UnixMillis,
    /// Who wrote it.
    pub actor: String,
    pub body: T,
}

/// The newest version; `None` when there is none, or it was taken away.
pub async fn newest<T: DeserializeOwned>(
    conn: &mut Connection,
    scope: &Scope,
    part: ContractPart,
    flag: &str,
) -> Result<Option<VersionRow<T>>, StoreError> {
    let sql = "SELECT version, at_ms, actor, body FROM contract_versions
               WHERE project = $1 AND environment = $2 AND part = $3 AND flag = $4 ORDER BY version DESC LIMIT 1";
    let row = sql::query(sql)
        .bind(StoredProject::of(scope))
        .bind(scope.environment.as_str())
        .bind(part.as_str())
        .bind(flag)
        .fetch_optional(conn)
        .await?;
    row.as_ref().map_or(Ok(None), version_row)
}

/// A version by its number, also one that was replaced.
pub async fn by_version<T: DeserializeOwned>(
    conn: &mut Connection,
    scope: &Scope,
    part: ContractPart,
    flag: &str,
    version: u64,
) -> Result<Option<VersionRow<T>>, StoreError> {
    let sql = "SELECT version, at_ms, actor, body FROM contract_versions
               WHERE project = $1 AND environment = $2 AND part = $3 AND flag = $4 AND version = $5";
    let row = sql::query(sql)
        .bind(StoredProject::of(scope))
        .bind(scope.environment.as_str())
        .bind(part.as_str())
        .bind(flag)
        .bind(to_sql(version))
        .fetch_optional(conn)
        .await?;
    row.as_ref().map_or(Ok(None), version_row)
}

/// Adds a version and returns its number; `None` as the body takes away what was in force.
pub async fn add<T: Serialize>(
    conn: &mut Connection,
    scope: &Scope,
    (part, flag): (ContractPart, &str),
    body: Option<&T>,
    (actor, now): (&str, UnixMillis),
) -> Result<u64, StoreError> {
    let sql = "INSERT INTO contract_versions (project, environment, part, flag, version, at_ms, actor, body)
               SELECT $1, $2, $3, $4, COALESCE(MAX(version), 0) + 1, $5, $6, $7 FROM contract_versions
               WHERE project = $1 AND environment = $2 AND part = $3 AND flag = $4
               RETURNING version";
    let row = sql::query(sql)
        .bind(StoredProject::of(scope))
        .bind(scope.environment.as_str())
        .bind(part.as_str())
        .bind(flag)
        .bind(to_sql(now.0))
        .bind(actor)
        .bind(body.map(json_text))
        .fetch_one(conn)
        .await?;
    Ok(from_sql(row.get("version")?))
}

/// Takes away what is in force of a flag that goes, or of all flags of an environment that goes. Its versions stay, so that
/// none is given twice.
pub async fn retire(
    conn: &mut Connection,
    scope: &Scope,
    flag: Option<&str>,
    now: UnixMillis,
) -> Result<(), StoreError> {
    let sql = "INSERT INTO contract_versions (project, environment, part, flag, version, at_ms, actor, body)
               SELECT project, environment, part, flag, version + 1, $4, 'flag.delete', NULL
               FROM contract_versions AS newest
               WHERE project = $1 AND environment = $2 AND ($3 IS NULL OR flag = $3) AND body IS NOT NULL
                 AND version = (SELECT MAX(version) FROM contract_versions AS own
                                WHERE own.project = newest.project AND own.environment = newest.environment
                                  AND own.part = newest.part AND own.flag = newest.flag)";
    sql::query(sql)
        .bind(StoredProject::of(scope))
        .bind(scope.environment.as_str())
        .bind(flag)
        .bind(to_sql(now.0))
        .execute(conn)
        .await?;
    Ok(())
}

/// The flags of an environment whose contracts name a group, each with the flags that it names.
pub async fn groups(conn: &mut Connection, scope: &Scope) -> Result<Vec<(String, Vec<String>)>, StoreError> {
    let sql = "SELECT flag, body FROM contract_versions AS newest
               WHERE project = $1 AND environment = $2 AND part = $3 AND body IS NOT NULL
                 AND version = (SELECT MAX(version) FROM contract_versions AS own
                                WHERE own.project = $1 AND own.environment = $2 AND own.part = $3
                                  AND own.flag = newest.flag)
               ORDER BY flag";
    let rows = sql::query(sql)
        .bind(StoredProject::of(scope))
        .bind(scope.environment.as_str())
        .bind(ContractPart::Contract.as_str())
        .fetch_all(conn)
        .await?;
    let mut groups = Vec::new();
    for row in rows {
        let contract: Contract = json_column(BODY, &row.get::<String>("body")?)?;
        if !contract.group.is_empty() {
            groups.push((row.get("flag")?, contract.group));
        }
    }
    Ok(groups)
}

const BODY: &str = "contract_versions.body";

fn version_row<T: DeserializeOwned>(row: &Row) -> Result<Option<VersionRow<T>>, StoreError> {
    let Some(body) = row.get::<Option<String>>("body")? else { return Ok(None) };
    Ok(Some(VersionRow {
        version: from_sql(row.get("version")?),
        at_ms: UnixMillis(from_sql(row.get("at_ms")?)),
        actor: row.get("actor")?,
        body: json_column(BODY, &body)?,
    }))
}
