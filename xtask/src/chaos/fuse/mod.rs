//! Two control planes on one PostgreSQL look at the same fuses under real events, and die by SIGKILL at random moments, also both at
//! once. Fuses trip, are tried again, close and climb their ramps meanwhile, some by themselves and some by a person's hand. Behind
//! it the database itself has to prove that everything happened once.

mod crowd;
mod planes;
mod proof;

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use self::crowd::{Crowd, Kind, Watched};
use self::planes::{Chance, Planes};
use super::recount::recount;
use crate::bench::publish;
use crate::figure::{Metric, Report, Target};
use crate::postgres::{Binaries, Postgres};
use crate::stack::{build_control_plane, release_control_plane};
use crate::tools::progress;
use crate::traffic::now_ms;
use crate::wait::eventually;

pub use self::proof::Proof;

/// How long it lasts.
const MINUTES: u64 = 10;
/// Fuses of each kind.
const FLAGS: Flags = Flags { failing: 8, healing: 3, climbing: 3 };
/// How long each fuse may take to move once nobody dies any more, on a machine that does much else.
const PATIENCE: Duration = Duration::from_mins(3);

/// How many flags of each kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Flags {
    /// The feature fails whenever anybody sees it.
    pub failing: usize,
    /// It fails where the fuse is closed, and works in a probe.
    pub healing: usize,
    /// It works, and climbs its ramp again and again.
    pub climbing: usize,
}

/// What is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Terms {
    /// For how long control planes die.
    pub length: Duration,
    /// What they watch meanwhile.
    pub flags: Flags,
    /// Of what is drawn: who dies when.
    pub seed: u64,
}

/// What the command line says.
#[derive(Debug, PartialEq, Eq)]
struct Options {
    minutes: u64,
    seed: Option<u64>,
    /// With the programs of a debug build, which are compiled already where somebody tests.
    is_debug: bool,
}

impl Options {
    fn parse(arguments: &[String]) -> Result<Self> {
        let mut options = Self { minutes: MINUTES, seed: None, is_debug: false };
        let mut rest = arguments.iter();
        while let Some(argument) = rest.next() {
            let mut number = || {
                let text = rest.next().with_context(|| format!("{argument} needs a number"))?;
                text.parse().with_context(|| format!("{argument} is {text:?}, which is no number"))
            };
            match argument.as_str() {
                "--debug" => options.is_debug = true,
                "--minutes" => options.minutes = number()?,
                "--seed" => options.seed = Some(number()?),
                unknown => bail!("unknown option {unknown}; known: --minutes N, --seed N, --debug"),
            }
        }
        ensure!(
            (1..=600).contains(&options.minutes),
            "--minutes is {}, allowed is 1 to 600",
            options.minutes
        );
        Ok(options)
    }
}

pub(super) fn run(root: &Path, arguments: &[String]) -> Result<()> {
    let options = Options::parse(arguments)?;
    let program = if options.is_debug { build_control_plane(root)? } else { release_control_plane(root)? };
    let server = Postgres::start(&Binaries::find().context("no PostgreSQL is installed")?)?;
    let folder = root.join("target/chaos-fuse");
    let seed = options.seed.unwrap_or_else(now_ms);
    let terms = Terms { length: Duration::from_secs(60 * options.minutes), flags: FLAGS, seed };
    progress(&format!("{} minutes, seed {seed}", options.minutes));
    let database_url = server.fresh_database("chaos_fuse")?;
    let proof = ordeal(&program, &server, &database_url, &folder, &terms)?;
    // Nobody writes any more.
    recount(root, &folder.join("control-plane"), Some(&database_url), options.is_debug)?;
    progress(&proof.told());
    let count = |name, count: u64| Metric::new(name, float(count), "");
    let metrics = vec![
        Metric::new("broken_rules", float(proof.broken.len() as u64), "").with(Target::Exactly(0.0)),
        count("plane_deaths", proof.deaths),
        count("events", proof.events),
        count("moves_by_engine", proof.by_engine),
        count("moves_by_hand", proof.by_hand),
        count("trips", proof.trips),
        count("probes", proof.probes),
        count("closed_by_engine", proof.closes),
        count("advances", proof.advances),
        count("versions", proof.versions),
        count("verdicts_replayed", proof.replayed),
    ];
    publish(root, "chaos-fuse", &Report { runs: 1, metrics })?;
    proof.require()
}

/// Lets two control planes watch fuses and die, and then proves what came of it; they do not run any more when it returns. An error
/// is a failure of the ordeal itself: what the database contradicts is in the proof.
pub fn ordeal(
    program: &Path,
    server: &Postgres,
    database_url: &str,
    folder: &Path,
    terms: &Terms,
) -> Result<Proof> {
    let planes = Planes::start(program, database_url, folder)?;
    let flags = watched(terms.flags);
    let first_revisions = crowd::put_all(&planes, &flags)?;
    let stop = AtomicBool::new(false);
    let mut chance = Chance(terms.seed);
    let (deaths, events) = thread::scope(|scope| {
        // Two crowds, each with a buffer of its own, and half of the flags.
        let crowds: Vec<_> = [0, 1]
            .into_iter()
            .map(|at| {
                let own: Vec<Watched> = flags.iter().skip(at).step_by(2).cloned().collect();
                let mut crowd = Crowd::new(&planes, at, own);
                let stop = &stop;
                scope.spawn(move || crowd.run(stop))
            })
            .collect();
        let died = planes.die_for(terms.length, &mut chance, &stop);
        let settled = died.and_then(|deaths| {
            all_move_again(&planes, server, database_url, &flags)?;
            Ok(deaths)
        });
        stop.store(true, Ordering::SeqCst);
        let mut events = 0;
        for crowd in crowds {
            events += crowd.join().map_err(|_| anyhow::anyhow!("a crowd panicked"))??;
        }
        Ok::<_, anyhow::Error>((settled?, events))
    })?;
    planes.end();
    let mut proof = Proof::read(server, database_url, &first_revisions)?;
    (proof.deaths, proof.events) = (deaths, events);
    proof.replay(&planes, &flags)?;
    Ok(proof)
}

/// None is stuck: each fuse of a feature that fails or climbs moves again once nobody dies any more, and each of the others is looked
/// at.
fn all_move_again(planes: &Planes, server: &Postgres, database_url: &str, flags: &[Watched]) -> Result<()> {
    let since = server.run(database_url, "SELECT COALESCE(MAX(audit_id), 0) FROM audit")?;
    let verdicts_since = server.run(database_url, "SELECT COALESCE(MAX(verdict_id), 0) FROM verdicts")?;
    let began = Instant::now();
    for watched in flags {
        let left = PATIENCE.saturating_sub(began.elapsed()).max(Duration::from_secs(1));
        let flag = &watched.flag;
        let sql = match watched.kind {
            Kind::Failing | Kind::Climbing => format!(
                "SELECT COUNT(*) FROM audit WHERE subject = '{flag}' AND audit_id > {since}
                 AND actor = 'fuse' AND action IN ('fuse.transition', 'fuse.advance')"
            ),
            Kind::Healing => {
                format!(
                    "SELECT COUNT(*) FROM verdicts WHERE flag = '{flag}' AND verdict_id > {verdicts_since}"
                )
            }
        };
        eventually(&format!("the fuse of {flag} moves, or is looked at"), left, || {
            let found = server.run(database_url, &sql)?;
            thread::sleep(Duration::from_millis(200));
            ensure!(found != "0", "it is stuck; {}", planes.log_tails());
            Ok(())
        })?;
    }
    Ok(())
}

fn watched(flags: Flags) -> Vec<Watched> {
    let kinds = [
        (Kind::Failing, flags.failing, "failing"),
        (Kind::Healing, flags.healing, "healing"),
        (Kind::Climbing, flags.climbing, "climbing"),
    ];
    let all = kinds.into_iter().flat_map(|(kind, count, name)| {
        (0..count).map(move |at| Watched { flag: format!("{name}-{at}"), kind })
    });
    all.collect()
}

#[expect(clippy::cast_precision_loss, reason = "some million")]
const fn float(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_say_for_how_long_and_with_which_chance() {
        let parsed =
            |text: &str| Options::parse(&text.split_whitespace().map(str::to_owned).collect::<Vec<_>>());
        assert_eq!(parsed("").unwrap(), Options { minutes: 10, seed: None, is_debug: false });
        let some = parsed("--minutes 2 --seed 7 --debug").unwrap();
        assert_eq!(some, Options { minutes: 2, seed: Some(7), is_debug: true });
        for (wrong, said) in
            [("--minutes", "needs a number"), ("--minutes 0", "allowed is 1"), ("--fast", "--fast")]
        {
            let error = format!("{:#}", parsed(wrong).unwrap_err());
            assert!(error.contains(said), "{wrong:?}: {error}");
        }
    }
}
