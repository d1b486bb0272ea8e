//! Time to say what a change does to decisions. Run it with `cargo bench --package flagfuse-inspect`.
#![expect(
    clippy::expect_used,
    clippy::print_stdout,
    reason = "a measuring program, for people at a terminal"
)]

#[expect(dead_code, reason = "shared with the other benchmarks, which use all of it")]
#[path = "../../../shared/benches/workload/mod.rs"]
mod workload;

use std::hint::black_box;
use std::time::Instant;

use flagfuse_inspect::diff::{Side, diff};
use flagfuse_shared::definition::HoldoutWire;
use flagfuse_shared::ids::UnixMillis;
use flagfuse_shared::snapshot::payload::Content;

const ROUND_COUNT: usize = 9;
const NOW: UnixMillis = UnixMillis(1_800_000_000_000);

fn side(content: &Content) -> Side<'_> {
    Side::new(&content.flags, &content.shared)
}

#[expect(clippy::disallowed_methods, reason = "a measuring program reads the clock")]
fn measure(name: &str, old: &Content, new: &Content) {
    let mut rounds: Vec<f64> = (0..ROUND_COUNT)
        .map(|_| {
            let start = Instant::now();
            black_box(diff(&side(old), &side(new), NOW).expect("two sound environments"));
            start.elapsed().as_secs_f64() * 1e3
        })
        .collect();
    rounds.sort_by(f64::total_cmp);
    let found = diff(&side(old), &side(new), NOW).expect("two sound environments");
    let (reached, changed) = (found.flags.len(), found.flags.iter().filter(|flag| flag.changed > 0).count());
    let median_ms = rounds.get(ROUND_COUNT / 2).copied().unwrap_or_default();
    println!("{name}: {reached} flags reached, {changed} changed, {median_ms:.2} ms");
}

fn main() {
    for count in [1_000, 5_000] {
        let old = workload::content(count);
        measure(&format!("{count} flags, none changed"), &old, &old);
        for at in [count / 2, count / 2 + 1, count / 2 + 2] {
            let mut new = old.clone();
            let flag = new.flags.get_mut(at).expect("a flag");
            flag.rules.clear();
            flag.enabled = true;
            measure(&format!("{count} flags, {} without its rules", flag.key.clone()), &old, &new);
        }
        let mut new = old.clone();
        let holdout = HoldoutWire { percentage: 10.0, salt: "holdout".to_owned(), bucket_by: None };
        new.shared.holdout = Some(holdout);
        measure(&format!("{count} flags, a holdout"), &old, &new);
    }
}
