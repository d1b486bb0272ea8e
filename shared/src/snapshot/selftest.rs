//! The self-test: questions inside the payload whose answers signer and readers have to agree on.

use std::fmt::Write as _;

use crate::context::Context;
use crate::definition::FlagWire;
use crate::digest::Digest;
use crate::environment::Environment;
use crate::evaluate::{Evaluator, Question};
use crate::ids::{FlagKey, Unit, UnixMillis};
use crate::limits::SELFTEST_COUNT_MAX;

/// When the questions are asked: signer and readers have to agree on it, whatever their clocks say.
const SELFTEST_TIME: UnixMillis = UnixMillis(1_800_000_000_000);

/// One question of the self-test: this flag, asked by this unit with no other attribute.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SelftestQuestion {
    pub(super) flag: FlagKey,
    pub(super) unit: Unit,
}

/// Two units for each of some flags spread over the whole list.
pub(super) fn questions(flags: &[&FlagWire]) -> Vec<SelftestQuestion> {
    let flag_step = flags.len().div_ceil(SELFTEST_COUNT_MAX / 2).max(1);
    let keys = flags.iter().step_by(flag_step).filter_map(|flag| FlagKey::parse(&flag.key).ok());
    let ask =
        |flag: &FlagKey, unit| Some(SelftestQuestion { flag: flag.clone(), unit: Unit::parse(unit).ok()? });
    keys.flat_map(|key| [ask(&key, "selftest-1"), ask(&key, "selftest-2")]).flatten().collect()
}

/// Digest over the answers to the self-test: `flag NUL unit NUL variation NUL reason LF` for each question.
pub(crate) fn selftest_digest(environment: &Environment, questions: &[SelftestQuestion]) -> Digest {
    let mut transcript = String::new();
    for question in questions {
        let context = Context::for_unit(question.unit.as_str());
        let asked = Question::new(&context, SELFTEST_TIME);
        let (variation, reason) = match Evaluator::new(environment, asked).flag(question.flag.as_str()) {
            Ok(resolution) => {
                (resolution.variation.map_or("", |v| v.key().as_str()), resolution.reason.as_str())
            }
            Err(_) => ("", "ERROR"),
        };
        // Writing to a String cannot fail.
        let _ = writeln!(transcript, "{}\0{}\0{variation}\0{reason}", question.flag, question.unit);
    }
    Digest::of(transcript.as_bytes())
}
