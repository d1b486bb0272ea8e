//! What the database says of a time in which two control planes died: each move of a fuse exists once, with one entry in the audit
//! trail, one version and one notice, and one verdict where the engine decided it; and each verdict is what its cells say.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use flagfuse_shared::ids::SnapshotVersion;
use serde_json::Value;

use super::crowd::Watched;
use super::planes::Planes;
use crate::attack::{ENVIRONMENT, PROJECT};
use crate::output::output;
use crate::plane::set_database;
use crate::postgres::Postgres;

/// How long the verdicts of one flag may take to be made again.
const REPLAY_LIMIT: Duration = Duration::from_mins(10);
/// Two engines that look at the same time may write in the other order; no verdict is older than this against one before it.
const DISORDER_MS: u64 = 10_000;
/// Rules of which so many are shown.
const SHOWN: usize = 20;

/// What was proved.
#[derive(Debug, Default)]
pub struct Proof {
    /// What contradicts it, each in a sentence; nothing where all is well.
    pub broken: Vec<String>,
    /// Control planes that were killed.
    pub deaths: u64,
    /// Events that were acknowledged.
    pub events: u64,
    /// Moves that the engine decided.
    pub by_engine: u64,
    /// Moves that a person decided.
    pub by_hand: u64,
    /// Of the engine's moves: fuses that opened.
    pub trips: u64,
    /// Fuses that were tried again.
    pub probes: u64,
    /// Fuses that closed.
    pub closes: u64,
    /// Steps of ramps.
    pub advances: u64,
    /// Versions of the environment.
    pub versions: u64,
    /// Verdicts that were made again and have the same bits.
    pub replayed: u64,
}

/// A move of a fuse, as the audit trail has it.
#[derive(Debug, Clone, PartialEq)]
struct Move {
    is_engine: bool,
    at_ms: u64,
    /// `None` of a step of a ramp.
    circuits: Option<(String, String)>,
    /// The phase that began with it, or went on.
    phase: u64,
}

/// A verdict as it is written.
#[derive(Debug, Clone, PartialEq)]
struct Said {
    at_ms: u64,
    phase: u64,
    decision: String,
    /// Of the fuse that it was decided on.
    revision: u64,
}

/// Where a fuse stands in the end.
#[derive(Debug, Clone, PartialEq)]
struct Stand {
    revision: u64,
    circuit: String,
    phase: u64,
    /// How many phases its flag has had.
    phases: u64,
}

/// All there is of a flag.
#[derive(Debug, Clone, Default)]
struct Life {
    moves: Vec<Move>,
    verdicts: Vec<Said>,
    /// Kind and time of each notice.
    notices: Vec<(String, u64)>,
    stand: Option<Stand>,
}

impl Move {
    /// The word of the verdict that decides it.
    fn decision(&self) -> &'static str {
        match self.circuits.as_ref().map(|(_, to)| to.as_str()) {
            None => "advance",
            Some("OPEN") => "trip",
            Some("HALF_OPEN") => "half_open",
            Some(_) => "close",
        }
    }

    /// The kind of the notice that it leaves; `None` of one that stays in its circuit.
    fn notice(&self) -> Option<&'static str> {
        let (from, to) = self.circuits.as_ref()?;
        match to.as_str() {
            _ if from == to => None,
            "OPEN" => Some("fuse.open"),
            "HALF_OPEN" => Some("fuse.half_open"),
            _ => Some("fuse.closed"),
        }
    }
}

impl Proof {
    /// Reads the database of control planes that do not run any more. `first_revisions` are those at which each fuse began.
    pub(super) fn read(
        server: &Postgres,
        url: &str,
        first_revisions: &BTreeMap<String, u64>,
    ) -> Result<Self> {
        let mut proof = Self::default();
        for (flag, life) in lives(server, url)? {
            let first = first_revisions.get(&flag).with_context(|| format!("{flag} is nobody's"))?;
            let broken = life.broken(*first).into_iter().map(|rule| format!("{flag}: {rule}"));
            proof.broken.extend(broken);
            proof.count(&life);
        }
        proof.versions(server, url)?;
        Ok(proof)
    }

    fn count(&mut self, life: &Life) {
        for step in &life.moves {
            if !step.is_engine {
                self.by_hand += 1;
                continue;
            }
            self.by_engine += 1;
            let place = match step.decision() {
                "advance" => &mut self.advances,
                "trip" => &mut self.trips,
                "half_open" => &mut self.probes,
                _ => &mut self.closes,
            };
            *place += 1;
        }
    }

    /// Each version is of one change, none is missing, and nothing is signed that no change has brought about.
    fn versions(&mut self, server: &Postgres, url: &str) -> Result<()> {
        let texts =
            |sql: &str| -> Result<Vec<String>> { Ok(serde_json::from_value(rows(server, url, sql)?)?) };
        let told = texts(
            "SELECT COALESCE(json_agg(CAST(detail AS json) ->> 'version'), '[]') FROM audit
             WHERE environment IS NOT NULL AND CAST(detail AS json) ->> 'version' IS NOT NULL",
        )?;
        // The newest ones are kept.
        let signed = texts("SELECT COALESCE(json_agg(epoch || '.' || seq), '[]') FROM snapshots")?;
        self.versions = told.len() as u64;
        self.broken.extend(contradictions(&told, &signed));
        Ok(())
    }

    /// Makes every verdict again, by the program itself.
    pub(super) fn replay(&mut self, planes: &Planes, flags: &[Watched]) -> Result<()> {
        let (program, data_dir, database_url) = planes.place();
        for Watched { flag, .. } in flags {
            let mut command = Command::new(program);
            command.args(["fuse", "replay", "--project", PROJECT, "--environment", ENVIRONMENT]);
            command.args(["--flag", flag, "--json", "--data"]).arg(data_dir);
            set_database(&mut command, database_url);
            let found = output("flagfuse fuse replay", &mut command, REPLAY_LIMIT)?;
            let said: Value = serde_json::from_slice(&found.stdout)
                .with_context(|| format!("{flag}: {}", String::from_utf8_lossy(&found.stderr)))?;
            let list = |name: &str| said[name].as_array().cloned().unwrap_or_default();
            let same = said["same"].as_u64().context("no number of verdicts that are the same")?;
            self.replayed += same;
            for verdict in list("differing").into_iter().chain(list("impossible")) {
                self.broken.push(format!("{flag}: a verdict is not what its cells say: {verdict}"));
            }
            ensure!(
                same > 0 || !list("differing").is_empty(),
                "{flag} has no verdict that could be made again"
            );
        }
        Ok(())
    }

    /// What was found, in a few sentences.
    pub fn told(&self) -> String {
        format!(
            "{} deaths of control planes under {} events: the engines moved fuses {} times ({} trips, {} probes, {} closed, {} \
             steps of ramps) and people {} times, in {} versions; {} verdicts have the same bits",
            self.deaths,
            self.events,
            self.by_engine,
            self.trips,
            self.probes,
            self.closes,
            self.advances,
            self.by_hand,
            self.versions,
            self.replayed
        )
    }

    /// An error that names the rules which are broken.
    pub fn require(&self) -> Result<()> {
        if self.broken.is_empty() {
            return Ok(());
        }
        let shown: Vec<&str> = self.broken.iter().take(SHOWN).map(String::as_str).collect();
        bail!("{} rules are broken:\n{}", self.broken.len(), shown.join("\n"))
    }
}

/// What contradicts that each of the versions that changes were told of is there once, from the first on without a gap, and that
/// those which are signed are among them.
fn contradictions(told: &[String], signed: &[String]) -> Vec<String> {
    let mut broken = Vec::new();
    let once: BTreeSet<&String> = told.iter().collect();
    if once.len() != told.len() {
        broken.push(format!("{} versions are of {} changes", once.len(), told.len()));
    }
    for version in signed.iter().filter(|version| !once.contains(version)) {
        broken.push(format!("no change was told of version {version}, which is signed"));
    }
    let parsed = once.iter().filter_map(|version| SnapshotVersion::parse(version));
    let mut parsed: Vec<SnapshotVersion> = parsed.collect();
    parsed.sort_unstable();
    for pair in parsed.windows(2) {
        let [one, next] = pair else { continue };
        if one.epoch == next.epoch && next.seq != one.seq + 1 {
            broken.push(format!("nothing is between the versions {one} and {next}"));
        }
    }
    broken
}

impl Life {
    /// What contradicts it.
    fn broken(&self, first_revision: u64) -> Vec<String> {
        let mut broken = Vec::new();
        match &self.stand {
            None => broken.push("it has no fuse".to_owned()),
            Some(stand) => self.moves_are_whole(stand, first_revision, &mut broken),
        }
        let mut told: Vec<_> =
            self.moves.iter().filter_map(|step| Some((step.notice()?.to_owned(), step.at_ms))).collect();
        let mut heard = self.notices.clone();
        told.sort();
        heard.sort();
        if told != heard {
            broken.push(format!("{} notices of {} moves between circuits", heard.len(), told.len()));
        }
        self.verdicts_are_whole(&mut broken);
        broken
    }

    /// From circuit to circuit and from phase to phase, as many as the fuse's revision rose.
    fn moves_are_whole(&self, stand: &Stand, first_revision: u64, broken: &mut Vec<String>) {
        let rose = stand.revision.saturating_sub(first_revision);
        if rose != self.moves.len() as u64 {
            broken
                .push(format!("its revision rose by {rose}, the audit trail has {} moves", self.moves.len()));
        }
        let (mut circuit, mut phase) = ("CLOSED", 1);
        for step in &self.moves {
            let (from, to) = step
                .circuits
                .as_ref()
                .map_or(("CLOSED", "CLOSED"), |(from, to)| (from.as_str(), to.as_str()));
            if from != circuit {
                broken.push(format!("it was {circuit} and moved from {from} at {}", step.at_ms));
            }
            // A probe of a ramp that closes goes on in its phase.
            let goes_on = step.phase == phase && (from, to) == ("HALF_OPEN", "CLOSED");
            if step.phase != phase + 1 && !goes_on {
                broken.push(format!("phase {} follows {phase} at {}", step.phase, step.at_ms));
            }
            (circuit, phase) = (to, step.phase);
        }
        if (circuit, phase, phase) != (stand.circuit.as_str(), stand.phase, stand.phases) {
            broken.push(format!("it moved to {circuit} in phase {phase} and stands as {stand:?}"));
        }
    }

    /// One for each move of the engine's and none without a move, in the order of the fuse's revisions.
    fn verdicts_are_whole(&self, broken: &mut Vec<String>) {
        let mut before = 1;
        let mut moves = Vec::new();
        for step in &self.moves {
            if step.is_engine {
                moves.push((step.decision(), before, step.at_ms));
            }
            before = step.phase;
        }
        let is_moving = |said: &&Said| !matches!(said.decision.as_str(), "continue" | "hold");
        let moving = self.verdicts.iter().filter(is_moving);
        let moving: Vec<_> = moving.map(|said| (said.decision.as_str(), said.phase, said.at_ms)).collect();
        if moves != moving {
            broken.push(format!("the engine's moves are {moves:?}, its verdicts that move {moving:?}"));
        }
        for pair in self.verdicts.windows(2) {
            let [one, next] = pair else { continue };
            let is_left = is_moving(&one) && next.revision <= one.revision;
            if next.revision < one.revision || is_left || next.at_ms + DISORDER_MS < one.at_ms {
                broken.push(format!("verdicts are out of order: {one:?}, then {next:?}"));
            }
        }
    }
}

/// What a statement answers as one JSON value.
fn rows(server: &Postgres, url: &str, sql: &str) -> Result<Value> {
    let said = server.run(url, sql)?;
    serde_json::from_str(&said).with_context(|| format!("{sql} answers {said}"))
}

fn list(server: &Postgres, url: &str, sql: &str) -> Result<Vec<Value>> {
    rows(server, url, sql)?.as_array().cloned().context("rows are a list")
}

/// Everything that there is of each flag under a fuse, in its order.
fn lives(server: &Postgres, url: &str) -> Result<BTreeMap<String, Life>> {
    let mut lives: BTreeMap<String, Life> = BTreeMap::new();
    let text = |row: &Value, name: &str| row[name].as_str().unwrap_or_default().to_owned();
    let number = |row: &Value, name: &str| row[name].as_u64().with_context(|| format!("no {name} in {row}"));
    let stands = "SELECT COALESCE(json_agg(json_build_object('flag', f.flag, 'revision', f.revision, 'circuit', f.circuit,
           'phase', p.phase, 'phases', (SELECT COUNT(*) FROM phases a WHERE a.flag = f.flag))), '[]')
         FROM fuses f JOIN phases p ON p.phase_id = f.phase_id";
    for row in list(server, url, stands)? {
        let stand = Stand {
            revision: number(&row, "revision")?,
            circuit: text(&row, "circuit"),
            phase: number(&row, "phase")?,
            phases: number(&row, "phases")?,
        };
        lives.entry(text(&row, "flag")).or_default().stand = Some(stand);
    }
    let moves = "SELECT COALESCE(json_agg(json_build_object('flag', subject, 'actor', actor, 'at_ms', at_ms,
           'from', d ->> 'from', 'to', d ->> 'to', 'phase', d -> 'phase') ORDER BY audit_id), '[]')
         FROM (SELECT *, CAST(detail AS json) AS d FROM audit WHERE action IN ('fuse.transition', 'fuse.advance')) a";
    for row in list(server, url, moves)? {
        let circuits = row["from"].as_str().zip(row["to"].as_str());
        let step = Move {
            is_engine: row["actor"] == "fuse",
            at_ms: number(&row, "at_ms")?,
            circuits: circuits.map(|(from, to)| (from.to_owned(), to.to_owned())),
            phase: number(&row, "phase")?,
        };
        lives.entry(text(&row, "flag")).or_default().moves.push(step);
    }
    let verdicts = "SELECT COALESCE(json_agg(json_build_object('flag', flag, 'at_ms', at_ms, 'phase', phase, 'decision', decision,
           'revision', CAST(basis AS json) -> 'fuse' -> 'revision') ORDER BY verdict_id), '[]') FROM verdicts";
    for row in list(server, url, verdicts)? {
        let said = Said {
            at_ms: number(&row, "at_ms")?,
            phase: number(&row, "phase")?,
            decision: text(&row, "decision"),
            revision: number(&row, "revision")?,
        };
        lives.entry(text(&row, "flag")).or_default().verdicts.push(said);
    }
    let notices = "SELECT COALESCE(json_agg(json_build_object('flag', subject, 'kind', kind, 'at_ms', at_ms) ORDER BY notice_id), '[]')
         FROM notices WHERE kind LIKE 'fuse.%'";
    for row in list(server, url, notices)? {
        let notice = (text(&row, "kind"), number(&row, "at_ms")?);
        lives.entry(text(&row, "flag")).or_default().notices.push(notice);
    }
    Ok(lives)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(is_engine: bool, circuits: Option<(&str, &str)>, phase: u64, at_ms: u64) -> Move {
        let circuits = circuits.map(|(from, to)| (from.to_owned(), to.to_owned()));
        Move { is_engine, at_ms, circuits, phase }
    }

    fn said(decision: &str, phase: u64, revision: u64, at_ms: u64) -> Said {
        Said { at_ms, phase, decision: decision.to_owned(), revision }
    }

    /// Trips, is tried again, closes in its phase, climbs.
    fn life() -> Life {
        let notice = |kind: &str, at_ms| (kind.to_owned(), at_ms);
        Life {
            moves: vec![
                step(true, Some(("CLOSED", "OPEN")), 2, 10),
                step(false, Some(("OPEN", "HALF_OPEN")), 3, 20),
                step(true, Some(("HALF_OPEN", "CLOSED")), 3, 30),
                step(true, None, 4, 40),
            ],
            verdicts: vec![
                said("continue", 1, 7, 5),
                said("trip", 1, 7, 10),
                said("hold", 2, 8, 15),
                said("close", 3, 9, 30),
                said("advance", 3, 10, 40),
                said("continue", 4, 11, 50),
            ],
            notices: vec![notice("fuse.open", 10), notice("fuse.half_open", 20), notice("fuse.closed", 30)],
            stand: Some(Stand { revision: 11, circuit: "CLOSED".to_owned(), phase: 4, phases: 4 }),
        }
    }

    #[test]
    fn a_life_in_which_everything_happened_once_breaks_no_rule() {
        assert_eq!(life().broken(7), [""; 0]);
    }

    #[test]
    fn versions_are_there_once_and_without_a_gap() {
        let all = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(contradictions(&all("1.2 1.1 1.3 2.9"), &all("1.3 2.9")), [""; 0]);
        for (told, signed, said) in [
            ("1.1 1.2 1.2", "1.2", "2 versions are of 3 changes"),
            ("1.1 1.2", "1.3", "told of version 1.3"),
            ("1.1 1.3", "1.1", "between the versions 1.1 and 1.3"),
        ] {
            let broken = contradictions(&all(told), &all(signed)).join("; ");
            assert!(broken.contains(said), "{broken}");
        }
    }

    #[test]
    fn whatever_happened_twice_or_without_the_other_is_found() {
        /// What spoils a life.
        type Spoil<'s> = &'s dyn Fn(&mut Life);
        let rows: [(&str, Spoil<'_>); 9] = [
            ("revision rose", &|life| {
                life.moves.pop();
                life.verdicts.remove(4);
                life.stand.as_mut().unwrap().phase = 3;
                life.stand.as_mut().unwrap().phases = 3;
            }),
            ("moved from CLOSED", &|life| life.moves.insert(1, life.moves[0].clone())),
            ("phase 5 follows", &|life| life.moves[3].phase = 5),
            ("stands as", &|life| life.stand.as_mut().unwrap().phases = 5),
            ("2 notices of 3", &|life| drop(life.notices.pop())),
            ("4 notices of 3", &|life| life.notices.push(life.notices[0].clone())),
            ("its verdicts that move", &|life| drop(life.verdicts.remove(1))),
            ("its verdicts that move", &|life| life.verdicts.insert(1, life.verdicts[1].clone())),
            ("out of order", &|life| life.verdicts.insert(2, life.verdicts[0].clone())),
        ];
        for (said, change) in rows {
            let mut life = life();
            change(&mut life);
            let broken = life.broken(7).join("\n");
            assert!(broken.contains(said), "{said}: {broken}");
        }
    }
}
