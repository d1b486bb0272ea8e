//! `cargo xtask attack`: what somebody tries who has the publishable client key and nothing else, each on a fresh stack,
//! and how long a kill switch takes meanwhile. One file per attack; each says by rules whether it got through.

mod backdating;
mod crowd;
mod events;
mod flood;
mod forging;
mod ground;
mod hoarding;
mod kills;
mod lies;
mod probing;
mod verdicts;
mod witness;

use std::path::Path;

use anyhow::{Context, Result, bail};

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

const ATTACKS: [Attack; 7] = [
    Attack { name: "backdating", metric: "kill_p99_ms_backdating", run: backdating::run },
    Attack { name: "verdicts", metric: "kill_p99_ms_verdicts", run: verdicts::run },
    Attack { name: "lies", metric: "kill_p99_ms_lies", run: lies::run },
    Attack { name: "probing", metric: "kill_p99_ms_probing", run: probing::run },
    Attack { name: "forging", metric: "kill_p99_ms_forging", run: forging::run },
    Attack { name: "flood", metric: "kill_p99_ms_flood", run: flood::run },
    Attack { name: "hoarding", metric: "kill_p99_ms_hoarding", run: hoarding::run },
];

/// Which attacks, and how much of them.
#[derive(Debug, PartialEq, Eq)]
struct Options {
    /// All when there are none.
    names: Vec<String>,
    flood_len: u64,
}

impl Options {
    fn parse(arguments: &[String]) -> Result<Self> {
        let mut options = Self { names: Vec::new(), flood_len: ground::FLOOD_LEN };
        let known = || ATTACKS.iter().map(|attack| attack.name).collect::<Vec<_>>().join(", ");
        let mut rest = arguments.iter();
        while let Some(argument) = rest.next() {
            if argument == "--megabytes" {
                let count = rest.next().context("--megabytes needs a number")?;
                let count: u64 =
                    count.parse().with_context(|| format!("--megabytes is {count:?}, which is no number"))?;
                options.flood_len = count.saturating_mul(1_000_000);
            } else if ATTACKS.iter().any(|attack| attack.name == argument) {
                options.names.push(argument.clone());
            } else {
                bail!("unknown attack {argument:?}; known: {}, and --megabytes N for the flood", known());
            }
        }
        Ok(options)
    }
}

/// Runs the attacks of these names, or all, and prints a table of each; an error when a rule is broken.
pub fn attack(root: &Path, arguments: &[String]) -> Result<()> {
    let broken = broken_count(&all(root, arguments)?);
    if broken > 0 {
        bail!("{broken} rules are broken");
    }
    Ok(())
}

/// The same as a benchmark.
pub(crate) fn measure(root: &Path, arguments: &[String]) -> Result<Report> {
    let found = all(root, arguments)?;
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

fn all(root: &Path, arguments: &[String]) -> Result<Vec<(&'static Attack, Found)>> {
    let Options { names, flood_len } = Options::parse(arguments)?;
    let built = build(root)?;
    let mut all = Vec::new();
    for attack in
        ATTACKS.iter().filter(|attack| names.is_empty() || names.iter().any(|name| name == attack.name))
    {
        progress(&format!("attack: {}", attack.name));
        let scene = Scene { flood_len, ..Scene::of(root, &built, attack.name) };
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_name_attacks_and_how_large_the_flood_is() {
        let parsed =
            |text: &str| Options::parse(&text.split_whitespace().map(str::to_owned).collect::<Vec<_>>());
        assert_eq!(parsed("").unwrap(), Options { names: Vec::new(), flood_len: 500_000_000 });
        let small = parsed("flood --megabytes 20 lies").unwrap();
        assert_eq!((small.names.join(" ").as_str(), small.flood_len), ("flood lies", 20_000_000));
        for (wrong, said) in [
            ("--megabytes", "needs a number"),
            ("--megabytes x", "\"x\""),
            ("fire", "known: backdating, verdicts, lies, probing, forging, flood, hoarding"),
        ] {
            let error = format!("{:#}", parsed(wrong).unwrap_err());
            assert!(error.contains(said), "{wrong:?}: {error}");
        }
    }
}
