//! Prints what counting costs: facts a second, bytes a unit, ticks, checkpoints and restarts. `cargo run --release -p
//! flagfuse-cells --example measure -- 1 1000000 20000000`; the first number is that of phases, of which each unit is in one.

#![expect(clippy::print_stdout, reason = "printing is what it is for")]
#![expect(clippy::disallowed_methods, reason = "it measures time and takes arguments")]

use std::time::Instant;

use flagfuse_cells::{Fact, Ledger, PhaseId, Restore};
use flagfuse_cells_testing::history::{BEGIN_MS, rules};
use flagfuse_cells_testing::mix::Mix;

const FACTS: usize = 3_000_000;
const A_TICK: usize = 500_000;
/// Enrolments that stand before anybody else has a turn, as in the control plane.
const A_BIT: usize = 4_096;

fn main() {
    let mut numbers = std::env::args().skip(1).filter_map(|number| number.parse().ok());
    let phases = numbers.next().unwrap_or(1);
    for units in numbers {
        measure(phases, units);
    }
}

/// Seconds that this thread has run, where Linux tells: what else the machine does makes less difference then.
fn seconds(begun: Instant) -> f64 {
    let told = std::fs::read_to_string("/proc/thread-self/schedstat").ok();
    let nanos = told.and_then(|told| told.split(' ').next()?.parse::<f64>().ok());
    nanos.map_or_else(|| begun.elapsed().as_secs_f64(), |nanos| nanos / 1e9)
}

/// A tick bit by bit: its milliseconds, those of its longest bit, and the cells that it closes.
fn tick(ledger: &mut Ledger, now: u64, start: Instant) -> (f64, f64, usize) {
    let begun = seconds(start);
    let (mut longest, mut bit) = (0.0_f64, begun);
    let mut told = || {
        let now = seconds(start);
        longest = longest.max(now - std::mem::replace(&mut bit, now));
    };
    let mut ticking = ledger.begin_tick(now);
    told();
    while ledger.settle(&mut ticking, A_BIT) {
        told();
    }
    told();
    let closed = ledger.end_tick(ticking);
    told();
    ((seconds(start) - begun) * 1e3, longest * 1e3, closed.cells.len())
}

fn measure(phases: u64, units: u64) {
    let phases: Vec<PhaseId> = (1..=phases.cast_signed()).map(PhaseId).collect();
    let start = Instant::now();
    let mut ledger = Ledger::new();
    for phase in &phases {
        ledger.apply(&Fact::Phase(Box::new(rules(*phase, BEGIN_MS))), BEGIN_MS);
    }
    let mut now = BEGIN_MS + 60_000;
    let mut mix = Mix::new(phases, now, 1);
    while mix.units() < units {
        mix.set_now(now);
        let count = (units - mix.units()).min(A_TICK as u64);
        for _ in 0..count {
            ledger.apply(&mix.enrol(), now);
        }
        now += 5_000;
        ledger.tick(now);
    }
    let (mut busy, mut ticks) = (0.0, Vec::new());
    for _ in 0..FACTS / A_TICK {
        mix.set_now(now);
        let facts: Vec<Fact> = (0..A_TICK).map(|_| mix.next_fact()).collect();
        let begun = seconds(start);
        for fact in &facts {
            ledger.apply(fact, now);
        }
        now += 5_000;
        let (tick_ms, longest_ms, cells) = tick(&mut ledger, now, start);
        ticks.push((tick_ms, longest_ms, cells));
        busy += seconds(start) - begun;
    }
    let memory = ledger.memory();
    #[expect(clippy::cast_precision_loss, reason = "for people")]
    let rate = FACTS as f64 / busy;
    println!(
        "{units} units: {rate:.0} facts/s, ticks included; {memory:?}, {} bytes a unit",
        memory.bytes_per_unit()
    );
    println!("  ticks of {A_TICK} facts, ms, ms of the longest bit, and cells: {ticks:.1?}");
    let begun = seconds(start);
    let parts = ledger.begin_checkpoint().unwrap_or(0);
    let begin = (seconds(start) - begun) * 1e3;
    let (mut kept, mut longest) = (Vec::new(), 0.0_f64);
    loop {
        let part = seconds(start);
        let Some(bytes) = ledger.next_part() else { break };
        longest = longest.max((seconds(start) - part) * 1e3);
        kept.push(bytes);
    }
    let took = seconds(start) - begun;
    let bytes: usize = kept.iter().map(|part| part.bytes.len()).sum();
    println!(
        "  checkpoint: {parts} parts, {bytes} bytes in {took:.2} s, beginning {begin:.2} ms, longest part {longest:.1} ms"
    );
    let begun = seconds(start);
    let mut restore = Restore::new();
    for part in kept {
        if let Err(error) = restore.part(&part.bytes) {
            println!("  {error}");
        }
    }
    let restored = restore.finish();
    println!(
        "  restart: {:.2} s, equal: {}",
        seconds(start) - begun,
        restored.is_ok_and(|restored| restored == ledger)
    );
}
