//! Flags of several environments of a project: the keys that any of them has, and the flags that differ between two.

use flagfuse_shared::ids::{EnvironmentKey, ProjectKey, Scope, TenantKey, UnixMillis};

use super::listing::{Listing, TOTAL_MAX, pattern};
use super::sql::{self, Query};
use super::{Connection, StoreError, StoredProject, from_sql, json_text, to_sql};

/// A flag that one of the environments has at least.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MatrixKey {
    pub flag: String,
    /// Last write in any of them.
    pub updated_ms: UnixMillis,
}

/// Some environments of a project.
#[derive(Debug, Clone, Copy)]
pub struct Columns<'e> {
    pub tenant: &'e TenantKey,
    pub project: &'e ProjectKey,
    pub environments: &'e [EnvironmentKey],
}

/// What a key or a name has to hold, asked of a key once and not of each of its rows.
const SOUGHT: &str = r"(LOWER(f.flag) LIKE $3 ESCAPE '\'
    OR EXISTS (SELECT 1 FROM flag_details d WHERE d.project = $1 AND d.flag = f.flag AND LOWER(d.name) LIKE $3 ESCAPE '\'))";

impl Columns<'_> {
    /// The rows of some environments, by `$1` and `$2`.
    fn found(conn: &Connection) -> String {
        let environments = conn.dialect().json_strings("$2");
        format!("FROM flags f WHERE f.project = $1 AND f.environment IN {environments}")
    }

    fn bind<'v>(self, query: Query<'v>, q: Option<&str>) -> Query<'v> {
        let query = query.bind(StoredProject::of_tenant(self.tenant, self.project));
        let query = query.bind(json_text(&self.environments));
        match q {
            Some(q) => query.bind(pattern(q)),
            None => query,
        }
    }
}

/// The keys of a page.
pub async fn keys(
    conn: &mut Connection,
    columns: Columns<'_>,
    listing: &Listing<'_>,
) -> Result<Vec<MatrixKey>, StoreError> {
    let (is_by_time, is_down) = (listing.order.is_by_time(), listing.order.is_down());
    let (sign, direction) = if is_down { ("<", " DESC") } else { (">", "") };
    let mut next = if listing.q.is_some() { 4 } else { 3 };
    let mut having: Vec<String> = listing.q.iter().map(|_| SOUGHT.to_owned()).collect();
    let mut sql = format!("SELECT f.flag, MAX(f.updated_ms) AS updated_ms {}", Columns::found(conn));
    if listing.after.is_some() && !is_by_time {
        sql = format!("{sql} AND f.flag {sign} ${next}");
        next += 1;
    } else if listing.after.is_some() {
        having.push(format!("(MAX(f.updated_ms), f.flag) {sign} (${next}, ${})", next + 1));
        next += 2;
    }
    let having = if having.is_empty() { String::new() } else { format!(" HAVING {}", having.join(" AND ")) };
    let order = if is_by_time { format!("2{direction}, 1{direction}") } else { format!("1{direction}") };
    let sql = format!("{sql} GROUP BY f.flag{having} ORDER BY {order} LIMIT ${next}");
    let mut query = columns.bind(sql::composed(sql), listing.q);
    if let Some(after) = listing.after {
        if is_by_time {
            query = query.bind(to_sql(after.at.0));
        }
        query = query.bind(after.key.as_str());
    }
    let rows = query.bind(listing.limit).fetch_all(conn).await?;
    let key = |row: &sql::Row| {
        Ok(MatrixKey { flag: row.get("flag")?, updated_ms: UnixMillis(from_sql(row.get("updated_ms")?)) })
    };
    rows.iter().map(key).collect()
}

/// How many there are on all pages, as far as they are counted.
pub async fn total(conn: &mut Connection, columns: Columns<'_>, q: Option<&str>) -> Result<u32, StoreError> {
    let (found, most) = (Columns::found(conn), TOTAL_MAX + 1);
    let having = if q.is_some() { format!(" HAVING {SOUGHT}") } else { String::new() };
    let sql = format!(
        "SELECT COUNT(*) FROM (SELECT f.flag {found} GROUP BY f.flag{having} ORDER BY f.flag LIMIT {most}) AS found"
    );
    let row = columns.bind(sql::composed(sql), q).fetch_one(conn).await?;
    Ok(u32::try_from(from_sql(row.get(0)?)).unwrap_or(u32::MAX))
}

/// A flag that is not the same in two environments, as rows have it; a text that differs may mean the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FlagPair {
    pub flag: String,
    /// Its definition as JSON text; `None` where it is not there.
    pub left: Option<String>,
    pub right: Option<String>,
}

/// The flags whose rows are not the same in two environments of a project, by key.
pub async fn pairs(
    conn: &mut Connection,
    left: &Scope,
    right: &EnvironmentKey,
) -> Result<Vec<FlagPair>, StoreError> {
    let sql = "SELECT l.flag AS flag, l.body AS left_body, r.body AS right_body
               FROM flags l LEFT JOIN flags r ON r.project = l.project AND r.environment = $3 AND r.flag = l.flag
               WHERE l.project = $1 AND l.environment = $2 AND (r.body IS NULL OR r.body <> l.body)
               UNION ALL
               SELECT r.flag, NULL, r.body
               FROM flags r LEFT JOIN flags l ON l.project = r.project AND l.environment = $2 AND l.flag = r.flag
               WHERE r.project = $1 AND r.environment = $3 AND l.flag IS NULL
               ORDER BY 1";
    let rows = sql::query(sql)
        .bind(StoredProject::of(left))
        .bind(left.environment.as_str())
        .bind(right.as_str())
        .fetch_all(conn)
        .await?;
    let pair = |row: &sql::Row| {
        Ok(FlagPair { flag: row.get("flag")?, left: row.get("left_body")?, right: row.get("right_body")? })
    };
    rows.iter().map(pair).collect()
}
