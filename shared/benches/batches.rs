//! Events a second and core from the bytes of a batch to checked events. Run it with
//! `cargo bench --package flagfuse-shared --bench batches`.
#![expect(
    clippy::expect_used,
    clippy::print_stdout,
    reason = "a measuring program, for people at a terminal"
)]

use std::hint::black_box;
use std::time::Instant;

use flagfuse_shared::contract::beacon::{IngestBatch, Recorded, exposure_group, exposures};
use flagfuse_shared::ids::{SnapshotVersion, UnixMillis};

const NOW: UnixMillis = UnixMillis(1_800_000_000_000);
const EVENT_COUNT: usize = 2_000;
const ROUND_COUNT: usize = 200;

/// Nanoseconds that this thread has computed for, as Linux counts them, so that busy neighbours count less; elsewhere those
/// that went by since `start`.
fn busy_ns(start: Instant) -> f64 {
    let counted = std::fs::read_to_string("/proc/thread-self/schedstat").ok();
    let busy = counted.and_then(|text| text.split(' ').next()?.parse::<f64>().ok());
    busy.unwrap_or_else(|| start.elapsed().as_secs_f64() * 1e9)
}

fn batch(format: u32, list: &str, items: &str) -> String {
    let format = if format == 1 { String::new() } else { format!("\"format\":{format},") };
    format!(
        "{{{format}\"buffer_id\":\"0123456789abcdef0123456789abcdef\",\"batch_seq\":7,\"tenant\":\"t\",\"project\":\"p\",\
         \"environment\":\"e\",\"region\":\"weur\",\"{list}\":[{items}]}}"
    )
}

fn outcome(at: usize) -> String {
    format!(
        "{{\"id\":\"01912345-6789-7abc-8def-{at:012}\",\"type\":\"outcome\",\"unit\":\"user-{at:08}\",\
         \"metric\":\"conversion\",\"occurred_ms\":{}}}",
        NOW.0 - 1_000
    )
}

fn recorded() -> String {
    let version = SnapshotVersion { epoch: 1, seq: 42 };
    let group = exposure_group("new-checkout", 3, version);
    let units: Vec<(String, usize)> = (0..EVENT_COUNT).map(|at| (format!("\"user-{at:08}\""), at)).collect();
    let recorded: Vec<Recorded<'_>> = units
        .iter()
        .map(|(unit, at)| Recorded {
            received_ms: NOW,
            group: &group,
            variation: if at % 2 == 0 { "\"on\"" } else { "\"off\"" },
            unit,
            network: 3_123_456_789,
            is_bot: false,
            is_limited: false,
            slices: "",
        })
        .collect();
    exposures(&recorded)
}

#[expect(clippy::disallowed_methods, reason = "a measuring program reads the clock")]
#[expect(clippy::cast_precision_loss, reason = "small numbers")]
fn measure(name: &str, body: &str, is_checked: bool) {
    let clock = Instant::now();
    // All rounds at once: some kernels count in steps of milliseconds.
    let start = busy_ns(clock);
    for _ in 0..ROUND_COUNT {
        let batch = IngestBatch::parse(black_box(body.as_bytes())).expect("a batch");
        for arrival in batch.arrivals() {
            if is_checked {
                black_box(arrival.event(String::new).expect("a sound event"));
            } else {
                black_box(arrival);
            }
        }
    }
    let ns = (busy_ns(clock) - start) / (EVENT_COUNT * ROUND_COUNT) as f64;
    let (bytes, million) = (body.len() as f64 / EVENT_COUNT as f64, 1e3 / ns);
    println!("{name}: {bytes:.0} bytes and {ns:.0} ns an event, {million:.2} million a second");
}

fn main() {
    let outcomes: Vec<String> = (0..EVENT_COUNT).map(outcome).collect();
    let older = |raw: &String| format!("{{\"received_ms\":{},\"sent_ms\":{},\"raw\":{raw}}}", NOW.0, NOW.0);
    let older: Vec<String> = outcomes.iter().map(older).collect();
    let head = format!(
        "\"received_ms\":{},\"sent_ms\":{},\"source\":\"ticket\",\"network\":3123456789",
        NOW.0, NOW.0
    );
    let requests = |count: usize| {
        let of = |some: &[String]| format!("{{{head},\"events\":[{}]}}", some.join(","));
        outcomes.chunks(count).map(of).collect::<Vec<_>>().join(",")
    };
    measure("outcomes, format 1", &batch(1, "events", &older.join(",")), true);
    measure("outcomes, format 2, one a request", &batch(2, "requests", &requests(1)), true);
    measure("outcomes, format 2, ten a request", &batch(2, "requests", &requests(10)), true);
    measure("edge exposures, format 2, as events", &batch(2, "requests", &recorded()), true);
    measure("edge exposures, format 2, as arrivals", &batch(2, "requests", &recorded()), false);
}
