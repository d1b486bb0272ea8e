//! Rows of what the flags of an environment share: segments, layers, the holdout. Written by `change` alone.

use flagfuse_shared::definition::SharedWire;
use flagfuse_shared::ids::{Scope, UnixMillis};
use serde_json::Value;

use super::listing::{Listing, Rows};
use super::revisions::{FIRST_IN_ENVIRONMENT, retire};
use super::sql::{Query, Row};
use super::{Connection, StoreError, StoredProject, from_sql, json_column, json_text, sql, to_sql};

const BODY: &str = "shared_parts.body";

/// Which kind of thing is shared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    /// A named group of askers.
    Segment,
    /// A set of buckets that flags divide.
    Layer,
    /// The one holdout, under the empty key.
    Holdout,
}

impl Part {
    /// The word in SQL, in the API and in messages.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Segment => "segment",
            Self::Layer => "layer",
            Self::Holdout => "holdout",
        }
    }
}

/// A shared part with its revision, which rises with every write.
#[derive(Debug, Clone)]
pub struct PartRow {
    /// The part as users write it.
    pub body: Value,
    /// What `If-Match` compares.
    pub revision: u64,
    pub updated_ms: UnixMillis,
}

/// One part.
pub async fn part(
    conn: &mut Connection,
    scope: &Scope,
    part: Part,
    key: &str,
) -> Result<Option<PartRow>, StoreError> {
    let sql = "SELECT body, revision, updated_ms FROM shared_parts
               WHERE project = $1 AND environment = $2 AND part = $3 AND key = $4";
    let row = sql::query(sql)
        .bind(StoredProject::of(scope))
        .bind(scope.environment.as_str())
        .bind(part.as_str())
        .bind(key)
        .fetch_optional(conn)
        .await?;
    row.as_ref().map(part_row).transpose()
}

/// All parts of a kind by key.
pub async fn parts(conn: &mut Connection, scope: &Scope, part: Part) -> Result<Vec<PartRow>, StoreError> {
    listed(conn, scope, part, &Listing::ALL).await
}

const LISTED: Rows<'static> = Rows {
    columns: "body, revision, updated_ms",
    table: "shared_parts",
    own: "project = $1 AND environment = $2 AND part = $3",
    own_count: 3,
    key: "key",
    time: "updated_ms",
    searched: &["key"],
};

/// Those parts of a kind that are asked for.
pub async fn listed<'v>(
    conn: &mut Connection,
    scope: &'v Scope,
    part: Part,
    listing: &Listing<'v>,
) -> Result<Vec<PartRow>, StoreError> {
    LISTED.page(conn, listing, own(scope, part)).await?.iter().map(part_row).collect()
}

/// How many those are on all pages, as far as they are counted.
pub async fn total<'v>(
    conn: &mut Connection,
    scope: &'v Scope,
    part: Part,
    listing: &Listing<'v>,
) -> Result<u32, StoreError> {
    LISTED.total(conn, listing, own(scope, part)).await
}

fn own<'v>(scope: &'v Scope, part: Part) -> impl FnOnce(Query<'v>) -> Query<'v> {
    move |query| query.bind(StoredProject::of(scope)).bind(scope.environment.as_str()).bind(part.as_str())
}

/// Everything that an environment's flags share, as a snapshot carries it.
pub async fn environment_parts(conn: &mut Connection, scope: &Scope) -> Result<SharedWire, StoreError> {
    let sql =
        "SELECT part, body FROM shared_parts WHERE project = $1 AND environment = $2 ORDER BY part, key";
    let query = sql::query(sql).bind(StoredProject::of(scope)).bind(scope.environment.as_str());
    let mut shared = SharedWire::default();
    for row in query.fetch_all(conn).await? {
        let (part, body): (String, String) = (row.get("part")?, row.get("body")?);
        match [Part::Segment, Part::Layer, Part::Holdout].into_iter().find(|known| known.as_str() == part) {
            Some(Part::Segment) => shared.segments.push(json_column(BODY, &body)?),
            Some(Part::Layer) => shared.layers.push(json_column(BODY, &body)?),
            Some(Part::Holdout) => shared.holdout = Some(json_column(BODY, &body)?),
            None => return Err(StoreError::Corrupt { column: "shared_parts.part", found: part }),
        }
    }
    Ok(shared)
}

/// Writes a part and returns its new revision.
pub async fn put(
    conn: &mut Connection,
    scope: &Scope,
    part: Part,
    key: &str,
    body: &Value,
    now: UnixMillis,
) -> Result<u64, StoreError> {
    let sql = format!(
        "INSERT INTO shared_parts (project, environment, part, key, revision, body, updated_ms)
         VALUES ($1, $2, $3, $4, {FIRST_IN_ENVIRONMENT}, $5, $6)
         ON CONFLICT (project, environment, part, key) DO UPDATE
         SET revision = shared_parts.revision + 1, body = excluded.body, updated_ms = excluded.updated_ms
         RETURNING revision"
    );
    let row = sql::composed(sql)
        .bind(StoredProject::of(scope))
        .bind(scope.environment.as_str())
        .bind(part.as_str())
        .bind(key)
        .bind(json_text(body))
        .bind(to_sql(now.0))
        .fetch_one(conn)
        .await?;
    Ok(from_sql(row.get("revision")?))
}

/// Removes a part; `false` when there is none.
pub async fn delete(conn: &mut Connection, scope: &Scope, part: Part, key: &str) -> Result<bool, StoreError> {
    let sql = "DELETE FROM shared_parts WHERE project = $1 AND environment = $2 AND part = $3 AND key = $4
               RETURNING revision";
    let deleted = sql::query(sql)
        .bind(StoredProject::of(scope))
        .bind(scope.environment.as_str())
        .bind(part.as_str())
        .bind(key)
        .fetch_optional(&mut *conn)
        .await?;
    retire(conn, scope, deleted).await
}

fn part_row(row: &Row) -> Result<PartRow, StoreError> {
    let body: String = row.get("body")?;
    Ok(PartRow {
        body: json_column(BODY, &body)?,
        revision: from_sql(row.get("revision")?),
        updated_ms: UnixMillis(from_sql(row.get("updated_ms")?)),
    })
}
