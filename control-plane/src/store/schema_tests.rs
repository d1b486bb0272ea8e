//! Both databases have one schema: columns with types and defaults, keys, indexes and what refers to what.

use super::sql;
use super::testing::{TestDatabase, databases};

/// One line for each part of the schema of SQLite, its types by the names that PostgreSQL has for them.
const SQLITE: &str = r#"
SELECT 'column ' || t.name || '.' || c.name || ' '
    || lower(replace(replace(c.type, 'INTEGER', 'BIGINT'), 'BLOB', 'BYTEA'))
    || CASE WHEN c."notnull" OR c.pk > 0 THEN ' not null' ELSE '' END || COALESCE(' default ' || c.dflt_value, '')
  FROM sqlite_master t JOIN pragma_table_info(t.name) c WHERE t.type = 'table'
UNION ALL
SELECT 'primary ' || t.name || '(' || (SELECT group_concat(name) FROM
      (SELECT name FROM pragma_table_info(t.name) WHERE pk > 0 ORDER BY pk)) || ')'
  FROM sqlite_master t WHERE t.type = 'table'
UNION ALL
SELECT CASE i.origin WHEN 'u' THEN 'unique ' ELSE 'index ' || i.name || ' on ' END || t.name || '('
    || (SELECT group_concat(name) FROM (SELECT name FROM pragma_index_info(i.name) ORDER BY seqno)) || ')'
    || CASE WHEN i.origin = 'c' AND i."unique" THEN ' unique' ELSE '' END
    || CASE WHEN i.partial THEN ' partial' ELSE '' END
  FROM sqlite_master t JOIN pragma_index_list(t.name) i WHERE t.type = 'table' AND i.origin IN ('c', 'u')
UNION ALL
SELECT 'foreign ' || name || '(' || group_concat("from") || ') to ' || other || '(' || group_concat("to") || ')'
  FROM (SELECT t.name, f.id, f."from", f."to", f."table" AS other
          FROM sqlite_master t JOIN pragma_foreign_key_list(t.name) f WHERE t.type = 'table' ORDER BY t.name, f.id, f.seq)
  GROUP BY name, id, other"#;

/// The same of PostgreSQL, without the partitions of its tables. It keeps the log by day, which has to be in its key.
const POSTGRES: &str = r"
WITH named AS (
  SELECT c.*, (SELECT string_agg(a.attname::TEXT, ',' ORDER BY k.n)
                 FROM unnest(c.conkey) WITH ORDINALITY AS k (attnum, n)
                 JOIN pg_attribute a ON a.attrelid = c.conrelid AND a.attnum = k.attnum) AS own,
              (SELECT string_agg(a.attname::TEXT, ',' ORDER BY k.n)
                 FROM unnest(c.confkey) WITH ORDINALITY AS k (attnum, n)
                 JOIN pg_attribute a ON a.attrelid = c.confrelid AND a.attnum = k.attnum) AS others
    FROM pg_constraint c JOIN pg_class t ON t.oid = c.conrelid
    WHERE c.connamespace = 'public'::REGNAMESPACE AND NOT t.relispartition)
SELECT 'column ' || table_name || '.' || column_name || ' ' || data_type
    || CASE is_nullable WHEN 'NO' THEN ' not null' ELSE '' END
    || COALESCE(' default ' || regexp_replace(regexp_replace(column_default, '::\w+$', ''), '^''(-\d+)''$', '\1'), '')
  FROM information_schema.columns WHERE table_schema = 'public'
    AND table_name NOT IN (SELECT relname FROM pg_class WHERE relispartition)
UNION ALL
SELECT CASE contype WHEN 'p' THEN 'primary ' ELSE 'unique ' END || conrelid::REGCLASS || '('
    || CASE conrelid WHEN 'telemetry_log'::REGCLASS THEN replace(own, ',known_ms', '') ELSE own END || ')'
  FROM named WHERE contype IN ('p', 'u')
UNION ALL
SELECT 'foreign ' || conrelid::REGCLASS || '(' || own || ') to ' || confrelid::REGCLASS || '(' || others || ')'
  FROM named WHERE contype = 'f'
UNION ALL
SELECT 'index ' || i.indexrelid::REGCLASS || ' on ' || i.indrelid::REGCLASS || '('
    || (SELECT string_agg(a.attname::TEXT, ',' ORDER BY a.attnum) FROM pg_attribute a WHERE a.attrelid = i.indexrelid) || ')'
    || CASE WHEN i.indisunique THEN ' unique' ELSE '' END || CASE WHEN i.indpred IS NULL THEN '' ELSE ' partial' END
  FROM pg_index i JOIN pg_class t ON t.oid = i.indrelid AND t.relnamespace = 'public'::REGNAMESPACE
    AND NOT t.relispartition
  WHERE NOT EXISTS (SELECT 1 FROM pg_constraint c WHERE c.conindid = i.indexrelid AND c.contype IN ('p', 'u'))";

async fn schema(database: &TestDatabase) -> Vec<String> {
    let store = database.store().await;
    let sql = if database.is_postgres() { POSTGRES } else { SQLITE };
    let rows = sql::query(sql).fetch_all(&mut store.read().await.unwrap()).await.unwrap();
    let mut lines: Vec<String> = rows.iter().map(|row| row.get(0).unwrap()).collect();
    lines.sort();
    lines
}

#[tokio::test]
async fn both_databases_have_one_schema() {
    let mut schemas = Vec::new();
    for database in databases().await {
        schemas.push(schema(&database).await);
    }
    let one = &schemas[0];
    assert!(
        one.iter()
            .any(|line| line == "index snapshots_urgent on snapshots(project,environment,epoch,seq) partial")
    );
    for other in &schemas {
        let beyond = |some: &[String], all: &[String]| -> Vec<String> {
            some.iter().filter(|line| !all.contains(line)).cloned().collect()
        };
        assert_eq!((beyond(one, other), beyond(other, one)), (Vec::new(), Vec::new()));
    }
}

/// Whatever the locale of a database is, texts are in the order of their bytes, as pages and cursors need it.
#[tokio::test]
async fn texts_of_postgres_are_compared_byte_by_byte() {
    for database in databases().await.into_iter().filter(TestDatabase::is_postgres) {
        let store = database.store().await;
        let sql = "SELECT table_name || '.' || column_name FROM information_schema.columns
                   WHERE table_schema = 'public' AND data_type = 'text' AND collation_name IS DISTINCT FROM 'C'";
        let rows = sql::query(sql).fetch_all(&mut store.read().await.unwrap()).await.unwrap();
        let found: Vec<String> = rows.iter().map(|row| row.get(0).unwrap()).collect();
        assert!(found.is_empty(), "{found:?}");
    }
}
