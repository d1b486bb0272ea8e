//! Units and where they stand in a flag's cohort, by the code that the edge runs: what anybody finds out who asks it often
//! enough.

use anyhow::{Context as _, Result, bail};
use flagfuse_shared::context::Context;
use flagfuse_shared::definition::Arm;
use flagfuse_shared::evaluate::Question;
use flagfuse_shared::ids::{Scope, UnixMillis};
use flagfuse_shared::snapshot::{Outcome, Snapshot, TrustedRoots, Verified, verify};
use serde_json::json;

use super::ground::{ENVIRONMENT, Ground, PROJECT, environment_path};
use crate::traffic::now_ms;

/// Units that are tried to find members.
const TRY_COUNT_MAX: usize = 1_000_000;

/// One member of a cohort.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Member {
    pub(super) unit: String,
    pub(super) arm: Arm,
    pub(super) variation: String,
    pub(super) phase: u32,
}

/// The environment's newest snapshot.
#[derive(Debug)]
pub(super) struct Crowd(Verified<Snapshot>);

impl Crowd {
    /// Fetches and verifies it.
    pub(super) fn of(ground: &Ground) -> Result<Self> {
        let frame = ground.admin.bytes(&format!("{}/snapshot", environment_path()))?;
        let roots = &ground.stack.secrets().root_public_keys;
        let roots = TrustedRoots::parse(roots.iter().map(String::as_str), 1)?;
        let scope = Scope::parse(&format!("default/{PROJECT}/{ENVIRONMENT}"))?;
        let outcome = verify(&frame, &roots, &scope, None, UnixMillis(now_ms()));
        let outcome = outcome.map_err(|refusal| anyhow::anyhow!("the snapshot is refused: {refusal}"))?;
        let Outcome::Newer(admitted) = outcome else { bail!("nothing is held, so nothing can be the same") };
        Ok(Self(admitted.snapshot))
    }

    /// Where a unit stands in a flag's cohort, if it does.
    pub(super) fn member(&self, flag: &str, unit: &str) -> Result<Option<Member>> {
        let context = Context::from_json(json!({ "targetingKey": unit }))?;
        let question = Question::new(&context, UnixMillis(now_ms()));
        let Ok(resolution) = self.0.evaluator(question).flag(flag) else {
            bail!("flag {flag} cannot be evaluated")
        };
        let (Some(assignment), Some(variation)) = (resolution.assignment, resolution.variation) else {
            return Ok(None);
        };
        Ok(Some(Member {
            unit: unit.to_owned(),
            arm: assignment.arm,
            variation: variation.key().as_str().to_owned(),
            phase: assignment.phase,
        }))
    }

    /// So many members of each arm, exposed and control, named after `series`.
    pub(super) fn members(&self, flag: &str, series: &str, counts: (usize, usize)) -> Result<Vec<Member>> {
        let (mut exposed, mut control) = counts;
        let mut found = Vec::with_capacity(exposed + control);
        for number in 0..TRY_COUNT_MAX {
            if exposed + control == 0 {
                return Ok(found);
            }
            let Some(member) = self.member(flag, &format!("{series}-{number}"))? else { continue };
            let left = match member.arm {
                Arm::Exposed => &mut exposed,
                Arm::Control => &mut control,
            };
            if *left > 0 {
                *left -= 1;
                found.push(member);
            }
        }
        bail!("of {TRY_COUNT_MAX} units, {exposed} exposed and {control} control ones of {flag} are missing")
    }

    /// The first exposed member.
    pub(super) fn exposed(&self, flag: &str, series: &str) -> Result<Member> {
        self.members(flag, series, (1, 0))?.pop().context("no member")
    }
}
