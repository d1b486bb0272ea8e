//! From a seed to a random environment, random askers and every answer they get: the text that has to be the same on
//! every platform. Pure; knows no platform.

mod chance;
mod condition;
mod context;
#[cfg(test)]
mod diffs;
mod environment;
#[cfg(target_arch = "wasm32")]
pub mod exports;
mod flag;
#[cfg(test)]
mod properties;
pub mod signing;
mod words;

use std::fmt::Write as _;

use flagfuse_inspect::explain::explain;
use flagfuse_shared::digest::Digest;
use flagfuse_shared::evaluate::Question;
use flagfuse_shared::ofrep::{Circumstances, Origin, bulk_etag, parse_request, write_answer, write_bulk};
use flagfuse_shared::snapshot::Admitted;

use crate::chance::Chance;
use crate::context::Ask;
use crate::environment::Environment;

/// Flags in the environment of one seed.
pub const FLAG_COUNT: usize = 20;
/// Askers in one seed; each asks about every flag.
pub const CONTEXT_COUNT: usize = 50;

/// The environment of a seed, or why there is none.
pub fn environment(seed: u64) -> Result<Admitted, String> {
    let (flags, shared) = environment::written(&mut Chance::new(seed), &mut String::new());
    environment::admit(flags, shared).map(|environment| environment.admitted)
}

/// Everything that one seed leads to: what cannot be read, each asker's body, each flag's answer and one
/// explanation, line by line.
pub fn transcript(seed: u64) -> String {
    let mut chance = Chance::new(seed);
    let mut out = String::with_capacity(256 * FLAG_COUNT * CONTEXT_COUNT);
    let (flags, shared) = environment::written(&mut chance, &mut out);
    let environment = match environment::admit(flags, shared) {
        Ok(environment) => environment,
        Err(fault) => return out + &fault,
    };
    for at in 0..CONTEXT_COUNT {
        let ask = Ask::draw(&mut chance);
        let _ = writeln!(out, "asker {at}: {} at {:?} {:?} {}", ask.body, ask.now, ask.freshness, ask.chance);
        let unknown = chance.at(FLAG_COUNT + 1);
        answer(&mut out, &environment, &ask, unknown);
    }
    out
}

/// First 16 hexadecimal digits of the transcript's SHA-256.
pub fn digest(seed: u64) -> String {
    let full = Digest::of(transcript(seed).as_bytes()).to_string();
    full[..16].to_owned()
}

/// The digests of `count` seeds from `from` on, one a line.
pub fn digests(from: u64, count: u64) -> String {
    (from..from.saturating_add(count)).map(|seed| digest(seed) + "\n").collect()
}

fn answer(out: &mut String, environment: &Environment, ask: &Ask, single_at: usize) {
    let context = match parse_request(ask.body.as_bytes()) {
        Ok(context) => context,
        Err(error) => {
            let _ = writeln!(out, "{}: {error}", error.code().as_str());
            return;
        }
    };
    let Environment { admitted, opened } = environment;
    let snapshot = &admitted.snapshot;
    let question =
        Question { freshness: ask.freshness, random: ask.chance, ..Question::new(&context, ask.now) };
    let origin = Origin::new(admitted.held.version, &signing::scope());
    for (key, answer) in snapshot.evaluator(question).all() {
        write_answer(out, key.as_str(), &answer, &origin);
        out.push('\n');
    }
    let mut bulk = String::new();
    write_bulk(&mut bulk, snapshot.evaluator(question).all(), &origin);
    let _ = writeln!(out, "{}", Digest::of(bulk.as_bytes()));
    // One flag by itself, which shares nothing with the others, or one that does not exist.
    let keys = environment::flag_keys();
    let key = keys.get(single_at).map_or("missing", String::as_str);
    write_answer(out, key, &snapshot.evaluate(key, question), &origin);
    let _ = write!(out, "\n{}", explain(opened, key, question).to_json());
    let random = if snapshot.may_be_random(&context) { ask.chance } else { 0 };
    let stretch = snapshot.stretch(ask.now);
    let circumstances = Circumstances { freshness: ask.freshness, stretch, random };
    let _ = writeln!(out, "\n{}", bulk_etag(&context, &origin, circumstances));
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn a_seed_always_leads_to_the_same_and_its_neighbour_to_something_else() {
        assert_eq!(transcript(7), transcript(7));
        assert_ne!(digest(7), digest(8));
        assert_eq!(digests(7, 2), format!("{}\n{}\n", digest(7), digest(8)));
    }

    /// A generator that always met the same path would prove little.
    #[test]
    fn every_kind_of_answer_is_frequent() {
        let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
        let kinds = [
            "\"STATIC\"",
            "\"TARGETING_MATCH\"",
            "\"SPLIT\"",
            "\"DISABLED\"",
            "\"DEFAULT\"",
            "\"STALE\"",
            "\"TARGETING_KEY_MISSING\"",
            "\"GENERAL\"",
            "\"FLAG_NOT_FOUND\"",
            "\"arm\":\"exposed\"",
            "\"arm\":\"control\"",
            "\"rule\":\"r1\"",
            "is unreadable",
            "PARSE_ERROR",
            "INVALID_CONTEXT",
        ];
        let text: String = (0..50).map(transcript).collect();
        for kind in kinds {
            counts.insert(kind, text.matches(kind).count());
        }
        println!("{counts:?}");
        assert!(counts.values().all(|count| *count >= 5), "{counts:?}");
    }
}
