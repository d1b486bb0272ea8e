//! Writes what a tick closes: slots, their cells, the sums of these, spreads, networks and counters. Nothing of it is ever
//! written again, which the database itself sees to.

use flagfuse_cells::{CellRow, Closed, NetworkRow, SlotRow, SpreadRow, SumRow};

use super::rows::Rows;
use super::sql::Value;
use super::{Connection, StoreError, json_text, sql, to_sql};

/// Slots whose newest step is written by one statement: there are as many as are young, and each would be a way to the server.
const CLOSED_COUNT: usize = 1_000;

/// Writes all that a tick of a partition closed.
pub async fn write(conn: &mut Connection, partition_id: i64, closed: &Closed) -> Result<(), StoreError> {
    let tick = to_sql(closed.tick);
    let head = "INSERT INTO slots (phase_id, slot, starts_ms, ends_ms, closed_tick)";
    Rows::of(closed.slots.iter().map(|row| slot(row, tick))).write(conn, head, "").await?;
    let head = "INSERT INTO cells (phase_id, slot, step, metric, slice, arm, units, events, total_micros, closed_tick,
                                   partition_id)";
    Rows::of(closed.cells.iter().map(|row| cell(row, tick, partition_id))).write(conn, head, "").await?;
    close_steps(conn, closed).await?;
    let head = "INSERT INTO sums (phase_id, metric, slice, slot, arm, units, events, total_micros)";
    let tail = "ON CONFLICT (phase_id, metric, slice, slot, arm) DO UPDATE SET
                  units = sums.units + excluded.units, events = sums.events + excluded.events,
                  total_micros = CASE
                    WHEN excluded.total_micros > 0 AND sums.total_micros > 9223372036854775807 - excluded.total_micros
                    THEN 9223372036854775807
                    WHEN excluded.total_micros < 0 AND sums.total_micros < -9223372036854775807 - excluded.total_micros
                    THEN -9223372036854775807
                    ELSE sums.total_micros + excluded.total_micros END";
    Rows::of(closed.sums().iter().map(sum)).write(conn, head, tail).await?;
    let head =
        "INSERT INTO spreads (phase_id, slot, metric, slice, arm, bin, units, closed_tick, partition_id)";
    Rows::of(closed.spreads.iter().map(|row| spread(row, tick, partition_id))).write(conn, head, "").await?;
    let head = "INSERT INTO networks (phase_id, metric, arm, network, source)";
    let tail = "ON CONFLICT (phase_id, metric, arm, network, source) DO NOTHING";
    Rows::of(closed.networks.iter().map(network)).write(conn, head, tail).await?;
    super::partitions::add_dropped(conn, partition_id, closed.waiting_dropped).await?;
    let counters = closed.counters.iter();
    let counters: Vec<_> =
        counters.map(|row| ((row.phase.0, row.arm.number(), row.counter.as_str()), row.events)).collect();
    super::phase_counters::add(conn, &counters).await?;
    let of_slots: Vec<_> =
        counters.into_iter().filter(|((.., kind), _)| super::misses::is_of_slots(kind)).collect();
    super::misses::add(conn, partition_id, closed.tick, &of_slots).await
}

/// From here on the database takes no cell of these steps.
async fn close_steps(conn: &mut Connection, closed: &Closed) -> Result<(), StoreError> {
    // Cells are in the order of phase, slot and step: the last one of a slot is of its newest step.
    let of_slots = closed.cells.chunk_by(|one, next| (one.phase, one.slot) == (next.phase, next.slot));
    let newest = of_slots.filter_map(<[CellRow]>::last);
    let newest: Vec<_> = newest.map(|row| [row.phase.0, row.slot.into(), row.step.into()]).collect();
    for newest in newest.chunks(CLOSED_COUNT) {
        let numbers = conn.dialect().json_numbers("$1", &["phase_id", "slot", "step"]);
        let sql = format!(
            "UPDATE slots SET closed_step = newest.step FROM {numbers} newest
             WHERE slots.phase_id = newest.phase_id AND slots.slot = newest.slot"
        );
        sql::composed(sql).bind(json_text(&newest)).execute(&mut *conn).await?;
    }
    Ok(())
}

fn slot(row: &SlotRow, tick: i64) -> [Value<'static>; 5] {
    let SlotRow { phase, slot, starts_ms, ends_ms } = *row;
    [phase.0.into(), slot.into(), to_sql(starts_ms).into(), to_sql(ends_ms).into(), tick.into()]
}

fn cell(row: &CellRow, tick: i64, partition_id: i64) -> [Value<'static>; 11] {
    let CellRow { phase, slot, step, metric, slice, arm, units, events, total_micros } = *row;
    [
        phase.0.into(),
        slot.into(),
        i64::from(step).into(),
        i64::from(metric.0).into(),
        i64::from(slice.0).into(),
        i64::from(arm.number()).into(),
        to_sql(units).into(),
        to_sql(events).into(),
        total_micros.into(),
        tick.into(),
        partition_id.into(),
    ]
}

fn sum(row: &SumRow) -> [Value<'static>; 8] {
    let SumRow { phase, metric, slice, slot, arm, units, events, total_micros } = *row;
    [
        phase.0.into(),
        i64::from(metric.0).into(),
        i64::from(slice.0).into(),
        slot.into(),
        i64::from(arm.number()).into(),
        to_sql(units).into(),
        to_sql(events).into(),
        total_micros.into(),
    ]
}

fn spread(row: &SpreadRow, tick: i64, partition_id: i64) -> [Value<'static>; 9] {
    let SpreadRow { phase, slot, metric, slice, arm, bin, units } = *row;
    [
        phase.0.into(),
        slot.into(),
        i64::from(metric.0).into(),
        i64::from(slice.0).into(),
        i64::from(arm.number()).into(),
        i64::from(bin).into(),
        to_sql(units).into(),
        tick.into(),
        partition_id.into(),
    ]
}

fn network(row: &NetworkRow) -> [Value<'static>; 5] {
    let NetworkRow { phase, metric, arm, network, source } = *row;
    [
        phase.0.into(),
        i64::from(metric.0).into(),
        i64::from(arm.number()).into(),
        i64::from(network).into(),
        i64::from(source.number()).into(),
    ]
}
