//! Time from the bytes of a snapshot's payload to flags that can be evaluated. Run it with
//! `cargo bench --package flagfuse-shared --bench codec`.
#![expect(
    clippy::expect_used,
    clippy::print_stdout,
    reason = "a measuring program, for people at a terminal"
)]

mod workload;

use std::hint::black_box;
use std::time::Instant;

use flagfuse_shared::definition::FlagWire;
use flagfuse_shared::flag::{Flag, compile};
use flagfuse_shared::snapshot::payload::{CODEC, Content, Decoded, decode, encode};

const ROUND_COUNT: usize = 9;
const ROUND_LOAD_COUNT: u32 = 10;

/// Milliseconds that this thread has computed for, as Linux counts them, so that busy neighbours count less; elsewhere
/// those that went by since `start`.
fn busy_ms(start: Instant) -> f64 {
    let counted = std::fs::read_to_string("/proc/thread-self/schedstat").ok();
    let busy_ns = counted.and_then(|text| text.split(' ').next()?.parse::<f64>().ok());
    busy_ns.map_or_else(|| start.elapsed().as_secs_f64() * 1e3, |ns| ns / 1e6)
}

/// Milliseconds of one call, without the time to drop what it made: the median of some rounds, after one that warms up.
#[expect(clippy::disallowed_methods, reason = "a measuring program reads the clock")]
fn median_ms<T>(mut call: impl FnMut() -> T) -> f64 {
    let clock = Instant::now();
    let mut rounds: Vec<f64> = (0..=ROUND_COUNT)
        .map(|_| {
            let start_ms = busy_ms(clock);
            let made: Vec<T> = (0..ROUND_LOAD_COUNT).map(|_| call()).collect();
            let spent_ms = busy_ms(clock) - start_ms;
            black_box(made);
            spent_ms / f64::from(ROUND_LOAD_COUNT)
        })
        .skip(1)
        .collect();
    rounds.sort_by(f64::total_cmp);
    rounds.get(ROUND_COUNT / 2).copied().unwrap_or_default()
}

fn compile_all(flags: &[FlagWire]) -> Vec<Flag> {
    flags.iter().map(|flag| compile(flag).expect("a sound flag")).collect()
}

fn load(bytes: &[u8]) -> Decoded {
    decode(black_box(bytes), CODEC).expect("a payload")
}

fn measure(name: &str, content: &Content) {
    let compile_ms = median_ms(|| compile_all(&content.flags));
    println!("{name}: compiling alone takes {compile_ms:.3} ms");
    let records = match encode(content) {
        Ok(records) => records,
        Err(fault) => return println!("  {fault}"),
    };
    let load_ms = median_ms(|| load(&records));
    println!("  {CODEC:?}: {} bytes, loads in {load_ms:.3} ms", records.len());
}

fn main() {
    measure("1,000 flags", &workload::content(1_000));
    measure("5,000 flags", &workload::content(5_000));
    measure("900 flags with 200 rules each", &workload::content_of_rules(900, 200));
    measure("5,000 flags with 200 rules each", &workload::content_of_rules(5_000, 200));
}
