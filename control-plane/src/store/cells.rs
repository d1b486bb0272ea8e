//! What was counted, to be read: closed slots, the sums of their cells, the cells since a tick, and what a phase did not
//! count. Never writes any of it.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use flagfuse_cells::Counting;
use flagfuse_cells::{PhaseRules, SliceRules};
use flagfuse_shared::definition::Arm;
use flagfuse_shared::ids::{Scope, UnixMillis};
use flagfuse_stats::classic::WINDOW_MS;
use serde::Deserialize;
use serde_json::json;

use super::sql::Row;
use super::{Connection, StoreError, StoredProject, from_sql, json_column, sql, to_sql};
use crate::model::metric::ENROLLED;
use crate::model::rules::cell_arm;
use crate::model::smoothing::WindowSlots;
use crate::model::verdict::{Origins, Reading, Source};
use crate::model::window::{Bounds, Counts, Covers, EnrolmentRange, Slot, Sums};

/// The number of the slice that everybody is in but bots.
pub const EVERYBODY: u8 = 0;
/// A tick after all others.
pub const NEWEST: i64 = i64::MAX;
/// Rows that one statement asks about: it stays below a megabyte of text.
const ASKED_COUNT_MAX: usize = 4_096;

/// The events of an environment, and how far they are counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Partition {
    pub partition_id: i64,
    /// The newest tick whose cells are there.
    pub closed_tick: i64,
}

/// What an environment's events are counted under; `None` before the first of them.
pub async fn partition(conn: &mut Connection, scope: &Scope) -> Result<Option<Partition>, StoreError> {
    let sql = "SELECT partition_id, closed_tick FROM partitions WHERE project = $1 AND environment = $2";
    let row = sql::query(sql)
        .bind(StoredProject::of(scope))
        .bind(scope.environment.as_str())
        .fetch_optional(conn)
        .await?;
    let read = |row: &Row| {
        Ok(Partition { partition_id: row.get("partition_id")?, closed_tick: row.get("closed_tick")? })
    };
    row.as_ref().map(read).transpose()
}

/// What a phase calls its numbers.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Names {
    metrics: Vec<String>,
    slices: Vec<String>,
    /// Of each metric: the edges of its values' bins, where it has its own.
    edges: Vec<Option<Vec<i64>>>,
}

impl Names {
    /// Those of a phase that counts under these rules.
    pub fn of(rules: &PhaseRules) -> Self {
        let metrics = rules.metrics.iter().map(|metric| metric.name.clone()).collect();
        let declared = |slice: &SliceRules| {
            Declared { dimension: slice.dimension.clone(), value: slice.value.clone() }.name()
        };
        let edges = rules.metrics.iter().map(|metric| match &metric.counting {
            Counting::Sum { edges } => edges.clone(),
            Counting::First | Counting::Sample => None,
        });
        Self { metrics, slices: rules.slices.iter().map(declared).collect(), edges: edges.collect() }
    }

    /// The number of a metric, if the phase counts it.
    pub fn metric_no(&self, name: &str) -> Option<u8> {
        let at = self.metrics.iter().position(|metric| metric == name)?;
        u8::try_from(at + 1).ok()
    }

    /// The name of a metric; the number of one that has none.
    pub fn metric(&self, number: u8) -> String {
        let at = usize::from(number).checked_sub(1);
        at.and_then(|at| self.metrics.get(at)).cloned().unwrap_or_else(|| number.to_string())
    }

    /// The edges of the bins of a metric's values, in millionths.
    pub fn edges(&self, name: &str) -> &[i64] {
        let at = self.metrics.iter().position(|metric| metric == name);
        let own = at.and_then(|at| self.edges.get(at)?.as_deref());
        own.unwrap_or_else(|| flagfuse_cells::bins::value_edges())
    }

    /// The name of a slice: `all`, `bot`, or `dimension=value` of a declared one.
    pub fn slice(&self, number: u8) -> String {
        match number {
            EVERYBODY => "all".to_owned(),
            1 => "bot".to_owned(),
            other => {
                let at = usize::from(other).checked_sub(2);
                at.and_then(|at| self.slices.get(at)).cloned().unwrap_or_else(|| other.to_string())
            }
        }
    }

    /// The names of declared slices.
    pub fn slices(&self) -> &[String] {
        &self.slices
    }

    /// Numbers of everything that the phase counts, the enrolled units first.
    pub fn numbers(&self) -> impl Iterator<Item = u8> {
        (ENROLLED..=u8::MAX).take(self.metrics.len() + 1)
    }
}

/// As `phase_rules` has them; whatever else stands there is not for reading.
#[derive(Deserialize)]
struct Rules {
    metrics: Vec<Named>,
    #[serde(default)]
    slices: Vec<Declared>,
}

#[derive(Deserialize)]
struct Named {
    name: String,
    #[serde(default)]
    counting: Option<Counting>,
}

#[derive(Deserialize)]
struct Declared {
    dimension: String,
    /// Null for all values that are not declared.
    value: Option<String>,
}

impl Declared {
    fn name(self) -> String {
        format!("{}={}", self.dimension, self.value.as_deref().unwrap_or("other"))
    }
}

/// The names of phases that have counted anything.
pub async fn names(
    conn: &mut Connection,
    phase_ids: impl IntoIterator<Item = i64>,
) -> Result<BTreeMap<i64, Names>, StoreError> {
    let asked: Vec<_> = phase_ids.into_iter().map(|phase_id| [phase_id]).collect();
    let mut found = BTreeMap::new();
    for asked in asked.chunks(ASKED_COUNT_MAX) {
        let numbers = conn.dialect().json_numbers("$1", &["phase_id"]);
        let join = conn.dialect().join_from_left();
        let sql = format!(
            "SELECT r.phase_id, r.rules FROM {numbers} asked {join} phase_rules r ON r.phase_id = asked.phase_id"
        );
        for row in sql::composed(sql).bind(json!(asked).to_string()).fetch_all(conn).await? {
            let rules: Rules = json_column("phase_rules.rules", &row.get::<String>("rules")?)?;
            let edges = rules.metrics.iter().map(|metric| match &metric.counting {
                Some(Counting::Sum { edges }) => edges.clone(),
                Some(Counting::First | Counting::Sample) | None => None,
            });
            let edges = edges.collect();
            let metrics = rules.metrics.into_iter().map(|metric| metric.name).collect();
            let slices = rules.slices.into_iter().map(Declared::name).collect();
            found.insert(row.get("phase_id")?, Names { metrics, slices, edges });
        }
    }
    Ok(found)
}

/// A closed cell of everybody.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClosedCell {
    pub phase_id: i64,
    pub slot: i64,
    pub metric: u8,
    pub arm: Arm,
    pub counts: Counts,
}

/// What closed in a partition after the tick `since`, up to the newest one: the same cost for a phase of an hour and of
/// two weeks.
pub async fn closed_since(
    conn: &mut Connection,
    partition: Partition,
    since: i64,
) -> Result<Vec<ClosedCell>, StoreError> {
    let sql = "SELECT phase_id, slot, metric, arm, units, events, total_micros FROM cells";
    let rows = of_everybody_since(conn, sql, partition, since).await?;
    let cell = |row: &Row| {
        Ok(ClosedCell {
            phase_id: row.get("phase_id")?,
            slot: row.get("slot")?,
            metric: row.get_number("metric")?,
            arm: arm(row)?,
            counts: counts(row)?,
        })
    };
    rows.iter().map(cell).collect()
}

/// Units of everybody in one bin of their samples or values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClosedSpread {
    pub phase_id: i64,
    pub slot: i64,
    pub metric: u8,
    pub arm: Arm,
    pub bin: i64,
    pub units: i64,
}

/// The spreads that closed in a partition after the tick `since`, up to the newest one.
pub async fn spreads_since(
    conn: &mut Connection,
    partition: Partition,
    since: i64,
) -> Result<Vec<ClosedSpread>, StoreError> {
    let sql = "SELECT phase_id, slot, metric, arm, bin, units FROM spreads";
    let rows = of_everybody_since(conn, sql, partition, since).await?;
    let spread = |row: &Row| {
        Ok(ClosedSpread {
            phase_id: row.get("phase_id")?,
            slot: row.get("slot")?,
            metric: row.get_number("metric")?,
            arm: arm(row)?,
            bin: row.get("bin")?,
            units: row.get("units")?,
        })
    };
    rows.iter().map(spread).collect()
}

/// The rows of `select` that closed in a partition after the tick `since`, without those of slices.
async fn of_everybody_since(
    conn: &mut Connection,
    select: &str,
    partition: Partition,
    since: i64,
) -> Result<Vec<Row>, StoreError> {
    let sql =
        format!("{select} WHERE partition_id = $1 AND closed_tick > $2 AND closed_tick <= $3 AND slice = $4");
    let query = sql::composed(sql).bind(partition.partition_id).bind(since).bind(partition.closed_tick);
    query.bind(i64::from(EVERYBODY)).fetch_all(conn).await
}

/// Where each of several ranges begins and ends among the slots of its phase that had closed by the tick `upto`, in their order.
pub async fn bounds(
    conn: &mut Connection,
    asked: &[(i64, EnrolmentRange)],
    upto: i64,
) -> Result<Vec<Bounds>, StoreError> {
    let mut all = Vec::with_capacity(asked.len());
    for asked in asked.chunks(ASKED_COUNT_MAX) {
        // A slot that began within a range ended after its beginning too: both rules walk along one index.
        let row = |(at, (phase_id, range)): (usize, &(i64, EnrolmentRange))| {
            let begun = match range.covers {
                Covers::Begun => to_sql(range.from.0),
                Covers::Ended => 0,
            };
            [to_sql(at as u64), *phase_id, to_sql(range.from.0), begun, to_sql(range.to.0)]
        };
        let rows: Vec<_> = asked.iter().enumerate().map(row).collect();
        let numbers = conn.dialect().json_numbers("$1", &["at", "phase_id", "since", "begun", "until"]);
        let sql = format!(
            "SELECT a.at, f.slot AS first, f.starts_ms AS first_starts, f.ends_ms AS first_ends,
                    n.slot AS next, n.starts_ms AS next_starts, n.ends_ms AS next_ends,
                    (SELECT MAX(slot) FROM slots WHERE phase_id = a.phase_id AND closed_tick <= $2) AS newest
             FROM {numbers} a
             LEFT JOIN slots f ON f.phase_id = a.phase_id AND f.slot = (
               SELECT slot FROM slots WHERE phase_id = a.phase_id AND ends_ms > a.since AND starts_ms >= a.begun
                 AND closed_tick <= $2 ORDER BY ends_ms LIMIT 1)
             LEFT JOIN slots n ON n.phase_id = a.phase_id AND n.slot = (
               SELECT slot FROM slots WHERE phase_id = a.phase_id AND ends_ms > a.until AND closed_tick <= $2
               ORDER BY ends_ms LIMIT 1)
             ORDER BY a.at"
        );
        for row in sql::composed(sql).bind(json!(rows).to_string()).bind(upto).fetch_all(conn).await? {
            all.push(Bounds {
                first: slot(&row, ["first", "first_starts", "first_ends"])?,
                next: slot(&row, ["next", "next_starts", "next_ends"])?,
                newest: row.get("newest")?,
            });
        }
    }
    Ok(all)
}

fn slot(row: &Row, [number, starts, ends]: [&'static str; 3]) -> Result<Option<Slot>, StoreError> {
    let Some(slot) = row.get::<Option<i64>>(number)? else { return Ok(None) };
    let time = |column| Ok::<_, StoreError>(UnixMillis(from_sql(row.get(column)?)));
    Ok(Some(Slot { slot, starts_ms: time(starts)?, ends_ms: time(ends)? }))
}

/// Slots of a phase whose sums are asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked<'m> {
    pub phase_id: i64,
    pub metrics: &'m [u8],
    pub slots: Range<i64>,
}

/// The sums of everybody over each of several stretches of slots, in their order: as they are, or as they were at the tick
/// `as_of`, which takes reading every cell.
pub async fn sums(
    conn: &mut Connection,
    asked: &[Asked<'_>],
    as_of: Option<i64>,
) -> Result<Vec<Sums>, StoreError> {
    let (table, then) = match as_of {
        None => ("sums", ""),
        Some(_) => ("cells", " AND s.closed_tick <= $3"),
    };
    let mut all = vec![Sums::default(); asked.len()];
    let rows =
        asked.iter().enumerate().filter(|(_, asked)| !asked.slots.is_empty()).flat_map(|(at, asked)| {
            let row = move |metric: &u8| {
                [to_sql(at as u64), asked.phase_id, i64::from(*metric), asked.slots.start, asked.slots.end]
            };
            asked.metrics.iter().map(row)
        });
    let rows: Vec<_> = rows.collect();
    for rows in rows.chunks(ASKED_COUNT_MAX) {
        let numbers = conn.dialect().json_numbers("$1", &["at", "phase_id", "metric", "low", "high"]);
        let join = conn.dialect().join_from_left();
        let sql = format!(
            "SELECT a.at, s.metric, s.arm, CAST(SUM(s.units) AS BIGINT) AS units,
                    CAST(SUM(s.events) AS BIGINT) AS events, CAST(SUM(s.total_micros) AS BIGINT) AS total_micros
             FROM {numbers} a {join} {table} s ON s.phase_id = a.phase_id AND s.metric = a.metric AND s.slice = $2
               AND s.slot >= a.low AND s.slot < a.high{then}
             GROUP BY a.at, s.metric, s.arm"
        );
        let mut query = sql::composed(sql).bind(json!(rows).to_string()).bind(i64::from(EVERYBODY));
        if let Some(tick) = as_of {
            query = query.bind(tick);
        }
        for row in query.fetch_all(conn).await? {
            let at = usize::try_from(row.get::<i64>("at")?).unwrap_or(usize::MAX);
            let Some(sums) = all.get_mut(at) else { continue };
            sums.add(row.get_number("metric")?, arm(&row)?, counts(&row)?);
        }
    }
    Ok(all)
}

/// Slots of a phase whose windows are asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AskedWindows {
    pub phase_id: i64,
    /// The newest slot that is known; below 0 when none is.
    pub known: i64,
    /// Slots that ended by then are of no interest.
    pub since: UnixMillis,
}

/// The windows of five minutes in which slots of phases ended that had closed by the tick `upto`, by phase and in their order.
pub async fn windows(
    conn: &mut Connection,
    asked: &[AskedWindows],
    upto: i64,
) -> Result<Vec<(i64, WindowSlots)>, StoreError> {
    let row = |asked: &AskedWindows| [asked.phase_id, asked.known, to_sql(asked.since.0)];
    let mut found = Vec::new();
    for asked in asked.chunks(ASKED_COUNT_MAX) {
        let rows: Vec<_> = asked.iter().map(row).collect();
        let numbers = conn.dialect().json_numbers("$1", &["phase_id", "known", "since"]);
        let join = conn.dialect().join_from_left();
        let sql = format!(
            "SELECT s.phase_id, (s.ends_ms - 1) / {WINDOW_MS} AS number, MIN(s.slot) AS first, MAX(s.slot) AS last
             FROM {numbers} a {join} slots s ON s.phase_id = a.phase_id AND s.slot > a.known AND s.ends_ms > a.since
               AND s.closed_tick <= $2
             GROUP BY s.phase_id, (s.ends_ms - 1) / {WINDOW_MS} ORDER BY s.phase_id, number"
        );
        let query = sql::composed(sql).bind(json!(rows).to_string()).bind(upto);
        for row in query.fetch_all(conn).await? {
            let window = from_sql(row.get("number")?);
            let slots = WindowSlots { window, first: row.get("first")?, last: row.get("last")? };
            found.push((row.get("phase_id")?, slots));
        }
    }
    Ok(found)
}

/// Both arms of a metric over the closed slots of a range.
pub async fn reading(
    conn: &mut Connection,
    phase_id: i64,
    metric: &str,
    range: EnrolmentRange,
) -> Result<Reading, StoreError> {
    let names = names(conn, [phase_id]).await?.remove(&phase_id).unwrap_or_default();
    let number = names.metric_no(metric);
    let metrics: Vec<u8> = [ENROLLED].into_iter().chain(number).collect();
    let bounds = bounds(conn, &[(phase_id, range)], NEWEST).await?.pop().unwrap_or_default();
    let asked = Asked { phase_id, metrics: &metrics, slots: bounds.slots() };
    let sums = sums(conn, &[asked], None).await?.pop().unwrap_or_default();
    Ok(sums.reading(number))
}

/// Counts of one metric, slice and arm of a phase.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Total {
    pub metric: u8,
    pub slice: u8,
    pub arm: Arm,
    pub counts: Counts,
}

/// All sums of a phase.
pub async fn totals(conn: &mut Connection, phase_id: i64) -> Result<Vec<Total>, StoreError> {
    let sql = "SELECT metric, slice, arm, CAST(SUM(units) AS BIGINT) AS units, CAST(SUM(events) AS BIGINT) AS events,
                      CAST(SUM(total_micros) AS BIGINT) AS total_micros
               FROM sums WHERE phase_id = $1 GROUP BY metric, slice, arm ORDER BY metric, slice, arm DESC";
    let rows = sql::query(sql).bind(phase_id).fetch_all(conn).await?;
    let total = |row: &Row| {
        let (metric, slice) = (row.get_number("metric")?, row.get_number("slice")?);
        Ok(Total { metric, slice, arm: arm(row)?, counts: counts(row)? })
    };
    rows.iter().map(total).collect()
}

/// A closed slot with what closed in its steps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SlotCells {
    pub slot: Slot,
    /// The tick at which it closed.
    pub closed_tick: i64,
    /// By step, metric, slice and arm.
    pub cells: Vec<Cell>,
}

/// What was counted in one step of a slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cell {
    pub step: i64,
    pub metric: u8,
    pub slice: u8,
    pub arm: Arm,
    pub counts: Counts,
    /// The tick at which it closed.
    pub closed_tick: i64,
}

/// At most `limit` slots of a phase behind the slot `after`, with their cells.
pub async fn page(
    conn: &mut Connection,
    phase_id: i64,
    after: i64,
    limit: u32,
) -> Result<Vec<SlotCells>, StoreError> {
    let sql = "SELECT slot, starts_ms, ends_ms, closed_tick FROM slots
               WHERE phase_id = $1 AND slot > $2 ORDER BY slot LIMIT $3";
    let rows = sql::query(sql).bind(phase_id).bind(after).bind(limit).fetch_all(conn).await?;
    let mut slots = Vec::with_capacity(rows.len());
    for row in &rows {
        let Some(slot) = slot(row, ["slot", "starts_ms", "ends_ms"])? else { continue };
        slots.push(SlotCells { slot, closed_tick: row.get("closed_tick")?, cells: Vec::new() });
    }
    let Some(last) = slots.last().map(|last| last.slot.slot) else { return Ok(slots) };
    let sql = "SELECT slot, step, metric, slice, arm, units, events, total_micros, closed_tick FROM cells
               WHERE phase_id = $1 AND slot > $2 AND slot <= $3 ORDER BY slot, step, metric, slice, arm DESC";
    let rows = sql::query(sql).bind(phase_id).bind(after).bind(last).fetch_all(conn).await?;
    for row in &rows {
        let slot: i64 = row.get("slot")?;
        let Ok(at) = slots.binary_search_by_key(&slot, |found| found.slot.slot) else { continue };
        let Some(found) = slots.get_mut(at) else { continue };
        found.cells.push(Cell {
            step: row.get("step")?,
            metric: row.get_number("metric")?,
            slice: row.get_number("slice")?,
            arm: arm(row)?,
            counts: counts(row)?,
            closed_tick: row.get("closed_tick")?,
        });
    }
    Ok(slots)
}

/// Units of both arms in the slots of a phase that ended after `since`.
pub async fn units_since(conn: &mut Connection, phase_id: i64, since: UnixMillis) -> Result<u64, StoreError> {
    let sql = "SELECT CAST(COALESCE(SUM(s.units), 0) AS BIGINT) FROM sums s
               WHERE s.phase_id = $1 AND s.metric = $2 AND s.slice = $3 AND s.slot >= COALESCE(
                 (SELECT slot FROM slots WHERE phase_id = $1 AND ends_ms > $4 ORDER BY ends_ms LIMIT 1), $5)";
    let row = sql::query(sql)
        .bind(phase_id)
        .bind(i64::from(ENROLLED))
        .bind(i64::from(EVERYBODY))
        .bind(to_sql(since.0))
        .bind(i64::MAX)
        .fetch_one(conn)
        .await?;
    Ok(from_sql(row.get(0)?))
}

/// What phases did not count, by phase, kind and arm.
pub async fn counters(
    conn: &mut Connection,
    phase_id: i64,
) -> Result<BTreeMap<String, BTreeMap<String, u64>>, StoreError> {
    let sql = "SELECT kind, arm, events FROM phase_counters WHERE phase_id = $1 AND kind <> 'matured' ORDER BY kind, arm";
    let mut found: BTreeMap<String, BTreeMap<String, u64>> = BTreeMap::new();
    for row in sql::query(sql).bind(phase_id).fetch_all(conn).await? {
        let by_arm = found.entry(row.get("kind")?).or_default();
        by_arm.insert(arm(&row)?.as_str().to_owned(), from_sql(row.get("events")?));
    }
    Ok(found)
}

/// Who sent the events of an arm, for each of several metrics of phases, in their order.
pub async fn origins(conn: &mut Connection, asked: &[(i64, u8, Arm)]) -> Result<Vec<Origins>, StoreError> {
    let mut all = vec![(BTreeSet::new(), BTreeSet::new()); asked.len()];
    let row = |(at, (phase_id, metric, arm)): (usize, &(i64, u8, Arm))| {
        [to_sql(at as u64), *phase_id, i64::from(*metric), arm_no(*arm)]
    };
    let rows: Vec<_> = asked.iter().enumerate().map(row).collect();
    for rows in rows.chunks(ASKED_COUNT_MAX) {
        let numbers = conn.dialect().json_numbers("$1", &["at", "phase_id", "metric", "arm"]);
        let join = conn.dialect().join_from_left();
        let sql = format!(
            "SELECT a.at, n.network, n.source FROM {numbers} a {join} networks n
               ON n.phase_id = a.phase_id AND n.metric = a.metric AND n.arm = a.arm"
        );
        for row in sql::composed(sql).bind(json!(rows).to_string()).fetch_all(conn).await? {
            let at = usize::try_from(row.get::<i64>("at")?).unwrap_or(usize::MAX);
            let Some((sources, networks)) = all.get_mut(at) else { continue };
            let found: i64 = row.get("source")?;
            let source = u8::try_from(found).ok().and_then(Source::from_number);
            sources.insert(source.ok_or_else(|| corrupt("networks.source", found))?);
            networks.insert(row.get::<i64>("network")?);
        }
    }
    let origins = |(sources, networks): (BTreeSet<Source>, BTreeSet<i64>)| Origins {
        sources: sources.into_iter().collect(),
        networks: networks.len() as u64,
    };
    Ok(all.into_iter().map(origins).collect())
}

fn counts(row: &Row) -> Result<Counts, StoreError> {
    Ok(Counts {
        units: row.get("units")?,
        events: row.get("events")?,
        total_micros: row.get("total_micros")?,
    })
}

fn arm_no(arm: Arm) -> i64 {
    cell_arm(arm).number().into()
}

/// The column `arm`.
fn arm(row: &Row) -> Result<Arm, StoreError> {
    let found: i64 = row.get("arm")?;
    let arm = [Arm::Control, Arm::Exposed].into_iter().find(|arm| arm_no(*arm) == found);
    arm.ok_or_else(|| corrupt("arm", found))
}

fn corrupt(column: &'static str, found: i64) -> StoreError {
    StoreError::Corrupt { column, found: found.to_string() }
}
