//! What control units were worth in earlier phases of a flag: what the bins of a phase's values are frozen from.

use flagfuse_cells::bins::{frozen_edges, value_edges};
use flagfuse_cells::{Arm, Counting, PhaseRules, SliceNo};

use super::{Connection, StoreError, json_column, sql};
use crate::model::rules::Edges;

/// Earlier phases that are looked at, the newest first.
const PHASE_COUNT: u32 = 20;

/// The edges of the bins of values for a phase, by the name of each of `metrics`: from the newest earlier phase of its flag
/// in which enough control units have a final value. A metric without such a phase is left out.
pub async fn edges(conn: &mut Connection, phase_id: i64, metrics: &[String]) -> Result<Edges, StoreError> {
    let mut found = Edges::new();
    if metrics.is_empty() {
        return Ok(found);
    }
    let sql = "SELECT r.phase_id, r.rules FROM phases own
                 JOIN phases p ON p.project = own.project AND p.environment = own.environment AND p.flag = own.flag
                 JOIN phase_rules r ON r.phase_id = p.phase_id
               WHERE own.phase_id = $1 AND p.phase < own.phase ORDER BY p.phase DESC LIMIT $2";
    let rows = sql::query(sql).bind(phase_id).bind(PHASE_COUNT).fetch_all(&mut *conn).await?;
    for row in rows {
        let rules: PhaseRules = match json_column("phase_rules.rules", &row.get::<String>("rules")?) {
            Ok(rules) => rules,
            Err(error) => {
                tracing::error!(%error, "the rules of an earlier phase cannot be read, and give no history");
                continue;
            }
        };
        for name in metrics {
            if found.contains_key(name) {
                continue;
            }
            let frozen = of_phase(conn, row.get("phase_id")?, &rules, name).await?;
            found.extend(frozen.map(|edges| (name.clone(), edges)));
        }
    }
    Ok(found)
}

/// The same from one phase.
async fn of_phase(
    conn: &mut Connection,
    phase_id: i64,
    rules: &PhaseRules,
    name: &str,
) -> Result<Option<Vec<i64>>, StoreError> {
    let Some(number) = rules.metric_no(name) else { return Ok(None) };
    let counting = rules.metrics.iter().find(|metric| metric.name == name).map(|metric| &metric.counting);
    let Some(Counting::Sum { edges }) = counting else { return Ok(None) };
    let sql = "SELECT bin, CAST(SUM(units) AS BIGINT) AS units FROM spreads
               WHERE phase_id = $1 AND metric = $2 AND slice = $3 AND arm = $4 GROUP BY bin ORDER BY bin";
    let rows = sql::query(sql)
        .bind(phase_id)
        .bind(i64::from(number.0))
        .bind(i64::from(SliceNo::WHOLE.0))
        .bind(i64::from(Arm::Control.number()))
        .fetch_all(conn)
        .await?;
    let history = rows.iter().map(|row| Ok((row.get_number("bin")?, row.get_number("units")?)));
    let history: Vec<(u16, u64)> = history.collect::<Result<_, StoreError>>()?;
    Ok(frozen_edges(edges.as_deref().unwrap_or(value_edges()), &history))
}
