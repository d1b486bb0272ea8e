//! Flags of an environment with what stands around them: what is said of them, their fuses, and when they were asked for last.
//! One statement a page, and only the flags of the page are read.

use flagfuse_shared::ids::{Scope, UnixMillis};

use super::dialect::Dialect;
use super::flags::{FlagRow, flag_row};
use super::listing::{Listing, Rows};
use super::sql::{self, Query, Row, Value};
use super::{Connection, StoreError, StoredProject, from_sql, json_column, json_text};
use crate::model::circuit::Circuit;
use crate::model::flag_details::{FlagDetails, FlagKind};
use crate::model::policy::Policy;

/// A flag with what stands around it.
#[derive(Debug, Clone)]
pub struct FlagAround {
    pub row: FlagRow,
    /// What people say of it; `None` where nobody has.
    pub details: Option<FlagDetails>,
    /// Whether it follows its project.
    pub is_inherited: bool,
    pub fuse: Option<FuseAround>,
    /// When it was asked for last; `None` where nothing tells it.
    pub asked_ms: Option<UnixMillis>,
}

/// The fuse of a flag.
#[derive(Debug, Clone)]
pub struct FuseAround {
    pub circuit: Circuit,
    pub policy: Policy,
    /// The running phase, by its number in the database and in the flag.
    pub phase_id: i64,
    pub phase: u32,
    /// Of the phase, from 1; 0 where nobody is exposed.
    pub stage: u32,
}

/// Which flags; all where nothing is named.
#[derive(Debug, Clone, Copy, Default)]
pub struct FlagFilter<'f> {
    pub owner: Option<&'f str>,
    pub tag: Option<&'f str>,
    pub kind: Option<FlagKind>,
    /// Whether it is on.
    pub is_on: Option<bool>,
    /// Where its fuse stands; flags without one are left out.
    pub circuit: Option<Circuit>,
}

const COLUMNS: &str = "f.flag, f.body, f.revision, f.updated_ms, d.body AS details, \
                       CAST(CASE WHEN i.flag IS NULL THEN 0 ELSE 1 END AS BIGINT) AS inherited, u.circuit, u.policy, u.phase_id, p.phase, \
                       p.stage, a.asked_ms";
const TABLES: &str = "flags f \
     LEFT JOIN flag_details d ON d.project = f.project AND d.flag = f.flag \
     LEFT JOIN inherited_flags i ON i.project = f.project AND i.environment = f.environment AND i.flag = f.flag \
     LEFT JOIN fuses u ON u.project = f.project AND u.environment = f.environment AND u.flag = f.flag \
     LEFT JOIN phases p ON p.phase_id = u.phase_id \
     LEFT JOIN flag_asked a ON a.project = f.project AND a.environment = f.environment AND a.flag = f.flag";

/// The conditions of a list, and the values that they name.
struct Asked<'v> {
    own: String,
    values: Vec<Value<'v>>,
}

impl<'v> Asked<'v> {
    fn of(dialect: Dialect, scope: &'v Scope, filter: FlagFilter<'v>) -> Self {
        let values = vec![StoredProject::of(scope).into(), scope.environment.as_str().into()];
        let mut asked = Self { own: "f.project = $1 AND f.environment = $2".to_owned(), values };
        if let Some(owner) = filter.owner {
            asked.only(owner, |number| format!("d.owner = {number}"));
        }
        if let Some(kind) = filter.kind {
            asked.only(kind.as_str(), |number| format!("d.kind = {number}"));
        }
        if let Some(circuit) = filter.circuit {
            asked.only(circuit.as_str(), |number| format!("u.circuit = {number}"));
        }
        if let Some(tag) = filter.tag {
            let tags = dialect.json_strings("d.tags");
            asked.only(tag, |number| format!("{number} IN {tags}"));
        }
        if let Some(is_on) = filter.is_on {
            asked.own.push_str(if is_on { " AND NOT " } else { " AND " });
            asked.own.push_str(&dialect.json_is_false("f.body", "enabled"));
        }
        asked
    }

    fn only(&mut self, value: impl Into<Value<'v>>, condition: impl FnOnce(&str) -> String) {
        self.values.push(value.into());
        self.own.push_str(" AND ");
        self.own.push_str(&condition(&format!("${}", self.values.len())));
    }

    const fn rows(&self) -> Rows<'_> {
        Rows {
            columns: COLUMNS,
            table: TABLES,
            own: self.own.as_str(),
            own_count: self.values.len(),
            key: "f.flag",
            time: "f.updated_ms",
            searched: &["f.flag", "d.name"],
        }
    }

    fn bind(&self, query: Query<'v>) -> Query<'v> {
        self.values.iter().cloned().fold(query, Query::bind)
    }
}

/// Those of an environment's flags that are asked for.
pub async fn listed<'v>(
    conn: &mut Connection,
    scope: &'v Scope,
    filter: FlagFilter<'v>,
    listing: &Listing<'v>,
) -> Result<Vec<FlagAround>, StoreError> {
    let asked = Asked::of(conn.dialect(), scope, filter);
    let rows = asked.rows().page(conn, listing, |query| asked.bind(query)).await?;
    rows.iter().map(around).collect()
}

/// How many those are on all pages, as far as they are counted.
pub async fn total<'v>(
    conn: &mut Connection,
    scope: &'v Scope,
    filter: FlagFilter<'v>,
    listing: &Listing<'v>,
) -> Result<u32, StoreError> {
    let asked = Asked::of(conn.dialect(), scope, filter);
    asked.rows().total(conn, listing, |query| asked.bind(query)).await
}

/// One flag.
pub async fn flag(conn: &mut Connection, scope: &Scope, key: &str) -> Result<Option<FlagAround>, StoreError> {
    let sql =
        format!("SELECT {COLUMNS} FROM {TABLES} WHERE f.project = $1 AND f.environment = $2 AND f.flag = $3");
    let query = sql::composed(sql).bind(StoredProject::of(scope)).bind(scope.environment.as_str()).bind(key);
    query.fetch_optional(conn).await?.as_ref().map(around).transpose()
}

/// Those of an environment's flags that have these keys.
pub async fn of_keys(
    conn: &mut Connection,
    scope: &Scope,
    keys: &[String],
) -> Result<Vec<FlagAround>, StoreError> {
    let named = conn.dialect().json_strings("$3");
    let sql = format!(
        "SELECT {COLUMNS} FROM {TABLES} WHERE f.project = $1 AND f.environment = $2 AND f.flag IN {named}"
    );
    let query = sql::composed(sql).bind(StoredProject::of(scope)).bind(scope.environment.as_str());
    query.bind(json_text(&keys)).fetch_all(conn).await?.iter().map(around).collect()
}

fn around(row: &Row) -> Result<FlagAround, StoreError> {
    let (details, asked_ms): (Option<String>, Option<i64>) = (row.get("details")?, row.get("asked_ms")?);
    Ok(FlagAround {
        row: flag_row(row)?,
        details: details.map(|body| json_column("flag_details.body", &body)).transpose()?,
        is_inherited: row.get::<i64>("inherited")? == 1,
        fuse: fuse(row)?,
        asked_ms: asked_ms.map(|at| UnixMillis(from_sql(at))),
    })
}

fn fuse(row: &Row) -> Result<Option<FuseAround>, StoreError> {
    let Some(found) = row.get::<Option<String>>("circuit")? else { return Ok(None) };
    let circuit = Circuit::parse(&found).ok_or(StoreError::Corrupt { column: "fuses.circuit", found })?;
    let number = |column| Ok::<_, StoreError>(row.get::<Option<i64>>(column)?.unwrap_or_default());
    Ok(Some(FuseAround {
        circuit,
        policy: json_column("fuses.policy", &row.get::<String>("policy")?)?,
        phase_id: row.get("phase_id")?,
        phase: u32::try_from(number("phase")?).unwrap_or_default(),
        stage: u32::try_from(number("stage")?).unwrap_or_default(),
    }))
}
