//! Counts the log of every environment again, with a counter that is slow and obviously right and shares nothing with the one
//! that counted first, and compares every row that was closed. Ends with an error that shows what differs.
//!
//! `cargo run --example recount -- DATA_FOLDER`; the database of `FLAGFUSE_DATABASE_URL` where that is set. Needs logs from
//! their first row on, and an installation that nothing was erased from.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, bail, ensure};
use flagfuse_cells::{Closed, CounterRow, Fact, log};
use flagfuse_cells_testing::oracle::Oracle;
use flagfuse_control_plane::store::address::DatabaseUrl;
use flagfuse_control_plane::store::{Connection, Store, closed, telemetry_log};

/// Rows of a log that are read at once.
const PAGE: u32 = 1_000;

#[expect(clippy::disallowed_methods, reason = "where the database is, is for the environment to say")]
#[expect(clippy::print_stdout, reason = "this is the command's result")]
#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let data = std::env::args().nth(1).context("usage: recount DATA_FOLDER")?;
    let store = match std::env::var("FLAGFUSE_DATABASE_URL") {
        Ok(url) => Store::connect(&DatabaseUrl::parse(&url)?).await?,
        Err(_) => Store::open(&Path::new(&data).join("flagfuse.db")).await?,
    };
    let mut conn = store.read().await?;
    let (mut facts, mut cells) = (0, 0);
    for partition_id in closed::partitions(&mut conn).await? {
        let found = closed::of_partition(&mut conn, partition_id).await?;
        let (expected, count) = count_again(&mut conn, partition_id).await?;
        compare(partition_id, &found, &expected)?;
        facts += count;
        cells += found.cells.len();
    }
    ensure!(facts > 0, "no log has any fact, so nothing was compared");
    println!("{facts} facts were counted again: {cells} cells are as they should be");
    Ok(())
}

/// What the oracle closes, and how many facts it saw.
async fn count_again(conn: &mut Connection, partition_id: i64) -> anyhow::Result<(Closed, usize)> {
    let (mut oracle, mut all, mut seq, mut count) = (Oracle::new(), Sum::default(), 0, 0);
    loop {
        let rows = telemetry_log::after(conn, partition_id, seq, PAGE).await?;
        if rows.is_empty() {
            return Ok((all.closed(), count));
        }
        for row in rows {
            ensure!(row.seq == seq + 1, "row {} of the log of partition {partition_id} is missing", seq + 1);
            seq = row.seq;
            let (known_ms, facts) = log::decode(&row.facts)?;
            for fact in facts {
                count += 1;
                if let Fact::Tick { at_ms } = fact {
                    all.add(oracle.tick(at_ms));
                } else {
                    oracle.apply(&fact, known_ms);
                }
            }
        }
    }
}

/// What many ticks closed.
#[derive(Default)]
struct Sum {
    closed: Closed,
    counters: BTreeMap<CounterRow, u64>,
}

impl Sum {
    fn add(&mut self, closed: Closed) {
        self.closed.tick = self.closed.tick.max(closed.tick);
        self.closed.slots.extend(closed.slots);
        self.closed.cells.extend(closed.cells);
        self.closed.spreads.extend(closed.spreads);
        self.closed.networks.extend(closed.networks);
        for row in closed.counters {
            *self.counters.entry(CounterRow { events: 0, ..row }).or_default() += row.events;
        }
    }

    /// All of it, in the order of the rows' keys.
    fn closed(self) -> Closed {
        let mut all = self.closed;
        all.slots.sort_unstable();
        all.cells.sort_unstable();
        all.spreads.sort_unstable();
        all.networks.sort_unstable();
        all.networks.dedup();
        all.counters = self.counters.into_iter().map(|(row, events)| CounterRow { events, ..row }).collect();
        all
    }
}

fn compare(partition_id: i64, found: &Closed, expected: &Closed) -> anyhow::Result<()> {
    ensure!(
        found.tick == expected.tick,
        "the log ends at tick {}, the cells at {}",
        expected.tick,
        found.tick
    );
    let differences = [
        difference("slots", &found.slots, &expected.slots),
        difference("cells", &found.cells, &expected.cells),
        difference("spreads", &found.spreads, &expected.spreads),
        difference("networks", &found.networks, &expected.networks),
        difference("counters", &found.counters, &expected.counters),
    ];
    let differences: Vec<String> = differences.into_iter().flatten().collect();
    if !differences.is_empty() {
        bail!("partition {partition_id}: {}", differences.join("\n"));
    }
    Ok(())
}

/// The first rows that only one of the two has.
fn difference<R: PartialEq + std::fmt::Debug>(name: &str, found: &[R], expected: &[R]) -> Option<String> {
    if found == expected {
        return None;
    }
    let first = found.iter().zip(expected).position(|(one, other)| one != other);
    let at = first.unwrap_or(found.len().min(expected.len()));
    Some(format!(
        "{name}: {} rows, should be {}; the first difference is row {at}: {:?}, should be {:?}",
        found.len(),
        expected.len(),
        found.get(at),
        expected.get(at)
    ))
}
