//! Rows of metric names that outcomes have named lately. Clients may invent names, so there are so many and no more.

use std::collections::{BTreeMap, BTreeSet};

use flagfuse_shared::ids::{Scope, UnixMillis};

use super::rows::Rows;
use super::sql::Row;
use super::{Connection, StoreError, StoredProject, from_sql, fuses, sql, to_sql};

/// Names of one environment, beside those that its fuses watch: whoever floods it with invented ones hides none of these.
pub const NAME_COUNT_MAX: usize = 200;
/// How long a name is told after an outcome named it last.
pub const KEPT_MS: u64 = 7 * 24 * 3_600_000;

/// Stands for all names that came when there was no room. No metric is called that.
const OTHERS: &str = "";

/// How often a name came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeenMetric {
    /// The name; `None` for all that came when there was no room.
    pub metric: Option<String>,
    /// Outcomes since `first_ms`.
    pub outcomes: u64,
    /// When the first of them was ingested.
    pub first_ms: UnixMillis,
    /// When the last one was.
    pub last_ms: UnixMillis,
}

/// Adds outcomes by name, with a few statements for all of them.
pub async fn add(
    conn: &mut Connection,
    scope: &Scope,
    counts: &BTreeMap<String, u64>,
    now: UnixMillis,
) -> Result<(), StoreError> {
    add_bounded(conn, scope, counts, NAME_COUNT_MAX, now).await
}

async fn add_bounded(
    conn: &mut Connection,
    scope: &Scope,
    counts: &BTreeMap<String, u64>,
    count_max: usize,
    now: UnixMillis,
) -> Result<(), StoreError> {
    if counts.is_empty() {
        return Ok(());
    }
    let mut known = names(conn, scope).await?;
    let new_count = |known: &BTreeSet<String>| counts.keys().filter(|name| !known.contains(*name)).count();
    let mut watched = BTreeSet::new();
    if new_count(&known) > count_max.saturating_sub(known.len()) {
        forget(conn, scope, now.minus(KEPT_MS)).await?;
        known = names(conn, scope).await?;
        watched = self::watched(conn, scope).await?.into_keys().collect();
    }
    let mut room = count_max.saturating_sub(known.len());
    let mut sums: BTreeMap<&str, u64> = BTreeMap::new();
    for (name, count) in counts {
        let is_new = !known.contains(name) && !watched.contains(name);
        let name = if is_new && room == 0 { OTHERS } else { name.as_str() };
        room -= usize::from(is_new && room > 0);
        *sums.entry(name).or_default() += count;
    }
    let rows = sums.into_iter().map(|(name, count)| {
        let (environment, at) = (scope.environment.as_str().into(), to_sql(now.0));
        [
            StoredProject::of(scope).into(),
            environment,
            name.into(),
            to_sql(count).into(),
            at.into(),
            at.into(),
        ]
    });
    let head = "INSERT INTO metrics_seen (project, environment, metric, outcomes, first_ms, last_ms)";
    let tail = "ON CONFLICT (project, environment, metric) DO UPDATE SET
                  outcomes = metrics_seen.outcomes + excluded.outcomes, last_ms = excluded.last_ms";
    Rows::of(rows).write(conn, head, tail).await?;
    Ok(())
}

async fn names(conn: &mut Connection, scope: &Scope) -> Result<BTreeSet<String>, StoreError> {
    let all = seen(conn, scope, UnixMillis(0)).await?;
    Ok(all.into_iter().filter_map(|seen| seen.metric).collect())
}

/// The names that came since `since`, by name, those without a place first.
pub async fn seen(
    conn: &mut Connection,
    scope: &Scope,
    since: UnixMillis,
) -> Result<Vec<SeenMetric>, StoreError> {
    page(conn, scope, since, None, u32::MAX).await
}

/// The same, those behind the name `after`; the empty one is that of those without a place.
pub async fn page(
    conn: &mut Connection,
    scope: &Scope,
    since: UnixMillis,
    after: Option<&str>,
    limit: u32,
) -> Result<Vec<SeenMetric>, StoreError> {
    let sql = "SELECT metric, outcomes, first_ms, last_ms FROM metrics_seen
               WHERE project = $1 AND environment = $2 AND last_ms >= $3 AND ($4 IS NULL OR metric > $4)
               ORDER BY metric LIMIT $5";
    let rows = sql::query(sql)
        .bind(StoredProject::of(scope))
        .bind(scope.environment.as_str())
        .bind(to_sql(since.0))
        .bind(after)
        .bind(limit)
        .fetch_all(conn)
        .await?;
    rows.iter().map(seen_row).collect()
}

fn seen_row(row: &Row) -> Result<SeenMetric, StoreError> {
    Ok(SeenMetric {
        metric: Some(row.get("metric")?).filter(|name| name != OTHERS),
        outcomes: from_sql(row.get("outcomes")?),
        first_ms: UnixMillis(from_sql(row.get("first_ms")?)),
        last_ms: UnixMillis(from_sql(row.get("last_ms")?)),
    })
}

/// The metrics that fuses of an environment watch, with the flags of those fuses.
pub async fn watched(
    conn: &mut Connection,
    scope: &Scope,
) -> Result<BTreeMap<String, Vec<String>>, StoreError> {
    let mut watched: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for fuse in fuses::fuses(conn, scope).await? {
        for guardrail in fuse.policy.guardrails {
            watched.entry(guardrail.metric).or_default().push(fuse.flag.clone());
        }
    }
    Ok(watched)
}

async fn forget(conn: &mut Connection, scope: &Scope, before: UnixMillis) -> Result<(), StoreError> {
    let sql = "DELETE FROM metrics_seen WHERE project = $1 AND environment = $2 AND last_ms < $3";
    sql::query(sql)
        .bind(StoredProject::of(scope))
        .bind(scope.environment.as_str())
        .bind(to_sql(before.0))
        .execute(conn)
        .await?;
    Ok(())
}

/// Forgets what no outcome has named since `before`, in all environments; how many rows went.
pub async fn prune(conn: &mut Connection, before: UnixMillis) -> Result<u64, StoreError> {
    let sql = "DELETE FROM metrics_seen WHERE last_ms < $1";
    sql::query(sql).bind(to_sql(before.0)).execute(conn).await
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{Lock, testing};

    fn counts(names: &[(&str, u64)]) -> BTreeMap<String, u64> {
        names.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect()
    }

    async fn told(conn: &mut Connection, scope: &Scope, since: u64) -> Vec<(Option<String>, u64, u64, u64)> {
        let all = seen(conn, scope, UnixMillis(since)).await.unwrap();
        all.into_iter().map(|seen| (seen.metric, seen.outcomes, seen.first_ms.0, seen.last_ms.0)).collect()
    }

    #[tokio::test]
    async fn so_many_names_have_a_place_and_the_others_share_one() {
        for database in testing::databases().await {
            let store = database.store().await;
            let mut tx = store.write(Lock::Keys).await.unwrap();
            let scope = Scope::parse("t/p/e").unwrap();
            let row = |name: &str, outcomes, first_ms, last_ms| {
                (Some(name.to_owned()).filter(|name| !name.is_empty()), outcomes, first_ms, last_ms)
            };
            let now = KEPT_MS;
            let first = counts(&[("a", 1), ("b", 2)]);
            add_bounded(&mut tx, &scope, &first, 3, UnixMillis(now)).await.unwrap();
            let second = counts(&[("a", 10), ("c", 3), ("d", 4), ("e", 5)]);
            add_bounded(&mut tx, &scope, &second, 3, UnixMillis(now + 5)).await.unwrap();
            let expected = [
                row("", 9, now + 5, now + 5),
                row("a", 11, now, now + 5),
                row("b", 2, now, now),
                row("c", 3, now + 5, now + 5),
            ];
            assert_eq!(told(&mut tx, &scope, now).await, expected);
            assert_eq!(told(&mut tx, &scope, now + 5).await.len(), 3, "b came too long ago");
            let other = Scope::parse("u/p/e").unwrap();
            add_bounded(&mut tx, &other, &first, 3, UnixMillis(now)).await.unwrap();
            // What nobody names any more gives its place away; elsewhere it stays until it is pruned.
            let late = UnixMillis(now + KEPT_MS + 1);
            add_bounded(&mut tx, &scope, &counts(&[("f", 6)]), 3, late).await.unwrap();
            let expected = [
                row("", 9, now + 5, now + 5),
                row("a", 11, now, now + 5),
                row("c", 3, now + 5, now + 5),
                row("f", 6, late.0, late.0),
            ];
            assert_eq!(told(&mut tx, &scope, 0).await, expected);
            assert_eq!(told(&mut tx, &other, 0).await.len(), 2);
            assert_eq!(prune(&mut tx, UnixMillis(now + 6)).await.unwrap(), 5);
            assert_eq!(told(&mut tx, &scope, 0).await, [row("f", 6, late.0, late.0)]);
        }
    }
}
