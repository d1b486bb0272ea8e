//! `cargo xtask attack`: what somebody tries who has the publishable client key and nothing else, each on a fresh stack,
//! and how long a kill switch takes meanwhile. One file per attack; each says by rules whether it got through.

mod backdating;
mod crowd;
mod events;
mod ground;
mod hoarding;
mod kills;
mod lies;
mod probing;
mod verdicts;
mod witness;

use std::path::Path;

use anyhow::{Result, bail};

pub(crate) use self::ground::{
    Accounts, ENVIRONMENT, Ground, PROJECT, Scene, TARGET, Terms, accounts, flag_path, put_watched,
};
pub(crate) use self::kills::{KILL_LIMIT, Kills, fuses_to_kill};
use crate::figure::{Metric, Report, Target};
use crate::stack::build;
use crate::tools::progress;

/// A trip has to be answered within this time, whatever goes on.
const KILL_MS_MAX: f64 = 250.0;

/// One rule and what was found.
#[derive(Debug, Clone)]
pub(crate) struct Finding {
    rule: &'static str,
    found: String,
    holds: bool,
}

impl Finding {
    fn new(rule: &'static str, found: impl ToString, holds: bool) -> Self {
        Self { rule, found: found.to_string(), holds }
    }
}

/// What an attack came to.
#[derive(Debug, Default)]
pub(crate) struct Found {
    kills: Kills,
    findings: Vec<Finding>,
    figures: Vec<Metric>,
}

/// An attack by name.
struct Attack {
    name: &'static str,
    /// Name of its figure of the kill switch.
    metric: &'static str,
    run: fn(&Scene<'_>) -> Result<Found>,
}

const ATTACKS: [Attack; 5] = [
    Attack { name: "backdating", metric: "kill_p99_ms_backdating", run: backdating::run },
    Attack { name: "verdicts", metric: "kill_p99_ms_verdicts", run: verdicts::run },
    Attack { name: "lies", metric: "kill_p99_ms_lies", run: lies::run },
    Attack { name: "probing", metric: "kill_p99_ms_probing", run: probing::run },
    Attack { name: "hoarding", metric: "kill_p99_ms_hoarding", run: hoarding::run },
];

/// Runs the attacks of these names, or all, and prints a table of each; an error when a rule is broken.
pub fn attack(root: &Path, names: &[String]) -> Result<()> {
    let broken = broken_count(&all(root, names)?);
    if broken > 0 {
        bail!("{broken} rules are broken");
    }
    Ok(())
}

/// The same as a benchmark.
pub(crate) fn measure(root: &Path, names: &[String]) -> Result<Report> {
    let found = all(root, names)?;
    let mut together = Kills::default();
    let mut metrics = Vec::new();
    for (attack, found) in &found {
        metrics
            .push(Metric::new(attack.metric, found.kills.p99_ms(), "ms").with(Target::AtMost(KILL_MS_MAX)));
        metrics.extend(found.figures.iter().cloned());
        together.add(&found.kills);
    }
    metrics.push(Metric::new("kill_p99_ms", together.p99_ms(), "ms").with(Target::AtMost(KILL_MS_MAX)));
    #[expect(clippy::cast_precision_loss, reason = "a handful")]
    let broken = broken_count(&found) as f64;
    metrics.push(Metric::new("broken_rules", broken, "rules").with(Target::Exactly(0.0)));
    Ok(Report { runs: together.count(), metrics })
}

fn all(root: &Path, names: &[String]) -> Result<Vec<(&'static Attack, Found)>> {
    let known = || ATTACKS.iter().map(|attack| attack.name).collect::<Vec<_>>().join(", ");
    if let Some(unknown) = names.iter().find(|name| ATTACKS.iter().all(|attack| attack.name != *name)) {
        bail!("unknown attack {unknown:?}; known: {}", known());
    }
    let built = build(root)?;
    let mut all = Vec::new();
    for attack in
        ATTACKS.iter().filter(|attack| names.is_empty() || names.iter().any(|name| name == attack.name))
    {
        progress(&format!("attack: {}", attack.name));
        let scene = Scene { root, built: &built, name: attack.name };
        let mut found = (attack.run)(&scene)?;
        let p99_ms = found.kills.p99_ms();
        found.findings.insert(
            0,
            Finding::new(
                "99 of 100 kills are answered within 250 ms",
                found.kills.told(),
                p99_ms <= KILL_MS_MAX,
            ),
        );
        tell(attack, &found);
        all.push((attack, found));
    }
    Ok(all)
}

fn broken_count(found: &[(&'static Attack, Found)]) -> usize {
    found.iter().flat_map(|(_, found)| &found.findings).filter(|finding| !finding.holds).count()
}

#[expect(clippy::print_stdout, reason = "this is the command's result")]
fn tell(attack: &Attack, found: &Found) {
    println!("\n{}", attack.name);
    for Finding { rule, found, holds } in &found.findings {
        let word = if *holds { "holds " } else { "BROKEN" };
        println!("  {word}  {rule}: {found}");
    }
}
