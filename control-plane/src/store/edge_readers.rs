//! Rows of the readers that replicas named, and when each was last heard of.

use flagfuse_shared::ids::{TenantKey, UnixMillis};

use super::receipts::ReplicaName;
use super::sql::Row;
use super::{Connection, StoreError, from_sql, sql, to_sql};

/// A reader that a replica named. A replica that was exchanged has a row for each.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReaderRow {
    pub replica: ReplicaName,
    /// As it said; 0 when it did not say.
    pub reader: u32,
    /// Formats of batches that its buffers write.
    pub formats: Vec<u32>,
    /// When it was connected last.
    pub seen_ms: UnixMillis,
}

/// Notes that a replica is connected.
pub async fn note(conn: &mut Connection, tenant: &TenantKey, row: &ReaderRow) -> Result<(), StoreError> {
    let sql = "INSERT INTO edge_readers (tenant, region, shard, reader, formats, seen_ms)
               VALUES ($1, $2, $3, $4, $5, $6)
               ON CONFLICT (tenant, region, shard, reader) DO UPDATE SET
                 formats = excluded.formats, seen_ms = excluded.seen_ms";
    let formats: Vec<String> = row.formats.iter().map(u32::to_string).collect();
    sql::query(sql)
        .bind(tenant.as_str())
        .bind(&row.replica.region)
        .bind(i64::from(row.replica.shard))
        .bind(i64::from(row.reader))
        .bind(formats.join(","))
        .bind(to_sql(row.seen_ms.0))
        .execute(conn)
        .await?;
    Ok(())
}

/// The readers that a tenant's replicas have named since then, the newest word of each replica first.
pub async fn since(
    conn: &mut Connection,
    tenant: &TenantKey,
    since: UnixMillis,
) -> Result<Vec<ReaderRow>, StoreError> {
    let sql = "SELECT region, shard, reader, formats, seen_ms FROM edge_readers
               WHERE tenant = $1 AND seen_ms >= $2 ORDER BY region, shard, seen_ms DESC, reader DESC";
    let rows = sql::query(sql).bind(tenant.as_str()).bind(to_sql(since.0)).fetch_all(conn).await?;
    rows.iter().map(reader_row).collect()
}

/// Forgets what was last heard of before that; how many rows.
pub async fn prune(conn: &mut Connection, before: UnixMillis) -> Result<u64, StoreError> {
    let sql = "DELETE FROM edge_readers WHERE seen_ms < $1";
    sql::query(sql).bind(to_sql(before.0)).execute(conn).await
}

fn reader_row(row: &Row) -> Result<ReaderRow, StoreError> {
    let corrupt = |column, found: i64| StoreError::Corrupt { column, found: found.to_string() };
    let (shard, reader): (i64, i64) = (row.get("shard")?, row.get("reader")?);
    let formats: String = row.get("formats")?;
    Ok(ReaderRow {
        replica: ReplicaName {
            region: row.get("region")?,
            shard: u16::try_from(shard).map_err(|_| corrupt("edge_readers.shard", shard))?,
        },
        reader: u32::try_from(reader).map_err(|_| corrupt("edge_readers.reader", reader))?,
        formats: formats.split(',').filter_map(|format| format.parse().ok()).collect(),
        seen_ms: UnixMillis(from_sql(row.get("seen_ms")?)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{Lock, testing};

    #[tokio::test]
    async fn a_replica_is_known_by_every_reader_that_it_named_lately() {
        for database in testing::databases().await {
            let store = database.store().await;
            let mut tx = store.write(Lock::Keys).await.unwrap();
            let (tenant, other) = (TenantKey::parse("t").unwrap(), TenantKey::parse("u").unwrap());
            let row = |shard, reader, seen| ReaderRow {
                replica: ReplicaName { region: "eu".to_owned(), shard },
                reader,
                formats: if reader == 0 { Vec::new() } else { vec![1, 2] },
                seen_ms: UnixMillis(seen),
            };
            for said in [row(0, 0, 10), row(0, 3, 20), row(0, 3, 30), row(1, 2, 15)] {
                note(&mut tx, &tenant, &said).await.unwrap();
            }
            note(&mut tx, &other, &row(0, 1, 99)).await.unwrap();
            let all = since(&mut tx, &tenant, UnixMillis(10)).await.unwrap();
            assert_eq!(all, [row(0, 3, 30), row(0, 0, 10), row(1, 2, 15)]);
            assert_eq!(since(&mut tx, &tenant, UnixMillis(16)).await.unwrap(), [row(0, 3, 30)]);
            assert_eq!(prune(&mut tx, UnixMillis(16)).await.unwrap(), 2);
        }
    }
}
