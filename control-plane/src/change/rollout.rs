//! Contracts, baselines, and the way of a roll-out: it is validated, and then promoted or rolled back. Whoever comes too late
//! is refused with the state, and the audit trail has that too.

use flagfuse_shared::ids::{FlagKey, Scope};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

use super::action::Action;
use super::effect::{Effect, Publication};
use super::error::ChangeError;
use super::fuse::Transition;
use super::kinds::{Decider, RolloutStep};
use super::resource::Resource;
use super::together;
use super::writing::Writing;
use crate::model::circuit::{Circuit, Hand, Rollout};
use crate::model::contract::{Baseline, Contract, Judged, is_counted};
use crate::store::contracts::{self, ContractPart};
use crate::store::fuses::FuseRow;
use crate::store::validations::{self, Ended};
use crate::store::{flags, fuses};

/// The note of a step that came too late.
const REFUSED: &str = "refused";

/// Takes a step of a flag's roll-out.
pub(super) async fn take(
    writing: &mut Writing<'_>,
    scope: Scope,
    flag: &FlagKey,
    step: RolloutStep,
) -> Result<Vec<Effect>, ChangeError> {
    writing.require_environment(&scope).await?;
    writing.require_flag(&scope, flag).await?;
    match step {
        RolloutStep::PutContract(contract) => put_contract(writing, scope, flag, *contract).await,
        RolloutStep::DeleteContract => delete_contract(writing, scope, flag).await,
        RolloutStep::PutBaseline(baseline) => {
            put_version(writing, scope, flag, ContractPart::Baseline, &*baseline).await
        }
        RolloutStep::Validate { restart } => validate(writing, scope, flag, restart).await,
        RolloutStep::Promote { of, rules, reason } => {
            promote(writing, scope, flag, Word { of, rules, reason }).await
        }
        RolloutStep::RollBack { of, rules, reason } => {
            roll_back(writing, scope, flag, Word { of, rules, reason }).await
        }
    }
}

/// What a promotion or a roll-back is made with.
struct Word {
    /// The validation that decided it; `None` of a person.
    of: Option<i64>,
    rules: Vec<Judged>,
    reason: String,
}

async fn put_contract(
    writing: &mut Writing<'_>,
    scope: Scope,
    flag: &FlagKey,
    contract: Contract,
) -> Result<Vec<Effect>, ChangeError> {
    let mut there = Vec::new();
    for member in &contract.group {
        if flags::flag(writing.conn, &scope, member).await?.is_some() {
            there.push(member.as_str());
        }
    }
    contract.check_group(flag.as_str(), |member| there.contains(&member))?;
    put_version(writing, scope, flag, ContractPart::Contract, &contract).await
}

/// Another version of what a flag has; none where it is as it was.
async fn put_version<T: Serialize + DeserializeOwned + PartialEq>(
    writing: &mut Writing<'_>,
    scope: Scope,
    flag: &FlagKey,
    part: ContractPart,
    body: &T,
) -> Result<Vec<Effect>, ChangeError> {
    let stored = contracts::newest::<T>(writing.conn, &scope, part, flag.as_str()).await?;
    if stored.is_some_and(|stored| stored.body == *body) {
        return Ok(Vec::new());
    }
    let by = (writing.actor.name.as_str(), writing.now);
    let version = contracts::add(writing.conn, &scope, (part, flag.as_str()), Some(body), by).await?;
    let (action, detail) = match part {
        ContractPart::Contract => {
            (Action::PutContract, json!({ "contract": body, "contract_version": version }))
        }
        ContractPart::Baseline => {
            (Action::PutBaseline, json!({ "baseline": body, "baseline_version": version }))
        }
    };
    Ok(vec![told(action, scope, flag, detail, Some(version))])
}

async fn delete_contract(
    writing: &mut Writing<'_>,
    scope: Scope,
    flag: &FlagKey,
) -> Result<Vec<Effect>, ChangeError> {
    let part = (ContractPart::Contract, flag.as_str());
    if contracts::newest::<Contract>(writing.conn, &scope, part.0, part.1).await?.is_none() {
        return Err(ChangeError::Unknown { what: Resource::Contract, key: flag.to_string() });
    }
    let by = (writing.actor.name.as_str(), writing.now);
    let version = contracts::add::<Contract>(writing.conn, &scope, part, None, by).await?;
    let detail = json!({ "contract_version": version });
    Ok(vec![told(Action::DeleteContract, scope, flag, detail, None)])
}

/// Begins a validation against the versions in force. One that runs goes on, and what is promoted stays so, unless another
/// one is asked for.
async fn validate(
    writing: &mut Writing<'_>,
    scope: Scope,
    flag: &FlagKey,
    restart: bool,
) -> Result<Vec<Effect>, ChangeError> {
    let fuse = writing.require_fuse(&scope, flag).await?;
    if matches!(fuse.rollout, Rollout::Pending | Rollout::RolledBack) {
        return Ok(vec![refused(scope, flag, "validate", &fuse)]);
    }
    let running = validations::running(writing.conn, &scope, flag.as_str()).await?;
    if !restart && (running.is_some() || fuse.rollout == Rollout::Promoted) {
        return Ok(Vec::new());
    }
    let contract = contracts::newest::<Contract>(writing.conn, &scope, ContractPart::Contract, flag.as_str());
    let unknown = || ChangeError::Unknown { what: Resource::Contract, key: flag.to_string() };
    let contract = contract.await?.ok_or_else(unknown)?;
    let baseline = contracts::newest::<Baseline>(writing.conn, &scope, ContractPart::Baseline, flag.as_str());
    let baseline = baseline.await?;
    check_measurable(&fuse, &contract.body, baseline.as_ref().map(|row| &row.body))?;
    let versions = (contract.version, baseline.map(|row| row.version));
    validations::end(writing.conn, &scope, flag.as_str(), (Ended::Replaced, &[]), writing.now).await?;
    let begun = validations::begin(writing.conn, &scope, flag.as_str(), versions, writing.now).await?;
    fuses::set_rollout(writing.conn, &scope, flag.as_str(), Rollout::Validating).await?;
    let detail = json!({
        "validation": begun, "contract_version": versions.0, "baseline_version": versions.1,
        "contract": contract.body, "from": fuse.rollout,
    });
    Ok(vec![told(Action::Validate, scope, flag, detail, Some(fuse.revision))])
}

/// A validation that could never come to an end does not begin.
fn check_measurable(
    fuse: &FuseRow,
    contract: &Contract,
    baseline: Option<&Baseline>,
) -> Result<(), ChangeError> {
    if let Some(metric) = contract.metrics().into_iter().find(|metric| !is_counted(&fuse.policy, metric)) {
        let why = format!("no guardrail of the flag's fuse counts {metric:?}: add one to its policy");
        return Err(ChangeError::NotMeasurable { why });
    }
    match contract.lacks(baseline) {
        Some(field) => {
            let why = format!("{field} compares with a baseline that does not say: PUT …/baseline first");
            Err(ChangeError::NotMeasurable { why })
        }
        None => Ok(()),
    }
}

async fn promote(
    writing: &mut Writing<'_>,
    scope: Scope,
    flag: &FlagKey,
    word: Word,
) -> Result<Vec<Effect>, ChangeError> {
    let fuse = writing.require_fuse(&scope, flag).await?;
    if is_overtaken(writing, &scope, flag, word.of).await? || fuse.rollout == Rollout::Promoted {
        return Ok(Vec::new());
    }
    // A probe shows the feature to a few only: it closes first. A contract waits for that, a person is told.
    if fuse.rollout != Rollout::Validating || fuse.circuit != Circuit::Closed {
        return Ok(match word.of {
            Some(_) => Vec::new(),
            None => vec![refused(scope, flag, "promote", &fuse)],
        });
    }
    let ended = (Ended::Promoted, &*word.rules);
    validations::end(writing.conn, &scope, flag.as_str(), ended, writing.now).await?;
    fuses::set_rollout(writing.conn, &scope, flag.as_str(), Rollout::Promoted).await?;
    let detail = json!({
        "from": fuse.rollout, "to": Rollout::Promoted, "reason": reason(&word, "manual_promote", "contract_met"),
        "validation": word.of, "given": word.reason, "rules": word.rules,
    });
    Ok(vec![told(Action::Promote, scope, flag, detail, Some(fuse.revision))])
}

async fn roll_back(
    writing: &mut Writing<'_>,
    scope: Scope,
    flag: &FlagKey,
    word: Word,
) -> Result<Vec<Effect>, ChangeError> {
    let fuse = writing.require_fuse(&scope, flag).await?;
    // One that the engine opened is taken into a person's hand, as by a trip.
    let is_done = fuse.circuit == Circuit::Open && fuse.hand == Hand::Holds;
    if is_overtaken(writing, &scope, flag, word.of).await? || is_done {
        return Ok(Vec::new());
    }
    if fuse.rollout == Rollout::Promoted {
        return Ok(vec![refused(scope, flag, "rollback", &fuse)]);
    }
    let ended = (Ended::RolledBack, &*word.rules);
    validations::end(writing.conn, &scope, flag.as_str(), ended, writing.now).await?;
    let transition = Transition {
        flag: flag.clone(),
        expected_revision: fuse.revision,
        to: Circuit::Open,
        by: Decider::Person,
        reason: reason(&word, "manual_rollback", "contract_violated").to_owned(),
        evidence: json!({ "given": word.reason, "validation": word.of, "rules": word.rules }),
        is_anew: false,
        verdict: None,
    };
    together::transition(writing, scope, transition).await
}

const fn reason(word: &Word, by_hand: &'static str, by_contract: &'static str) -> &'static str {
    if word.of.is_some() { by_contract } else { by_hand }
}

/// Whether the validation that decided is not the one that runs any more.
async fn is_overtaken(
    writing: &mut Writing<'_>,
    scope: &Scope,
    flag: &FlagKey,
    of: Option<i64>,
) -> Result<bool, ChangeError> {
    let Some(of) = of else { return Ok(false) };
    let running = validations::running(writing.conn, scope, flag.as_str()).await?;
    Ok(running.is_none_or(|running| running.validation_id != of))
}

/// A step that came too late, with the state that stands.
fn refused(scope: Scope, flag: &FlagKey, asked: &str, fuse: &FuseRow) -> Effect {
    let state = json!({ "asked": asked, "rollout": fuse.rollout, "circuit": fuse.circuit });
    let notes = Map::from_iter([(REFUSED.to_owned(), state)]);
    Effect { notes, ..told(Action::RefuseRollout, scope, flag, json!({}), Some(fuse.revision)) }
}

/// What changes no decision, and is written down all the same.
fn told(action: Action, scope: Scope, flag: &FlagKey, detail: Value, revision: Option<u64>) -> Effect {
    let publication = Publication::NotNeeded;
    Effect {
        action,
        subject: flag.to_string(),
        detail,
        scope: Some(scope),
        publication,
        revision,
        notes: Map::new(),
    }
}

/// What a flag that goes leaves behind: nothing is in force for the next one of its name.
pub(super) async fn forget(writing: &mut Writing<'_>, scope: &Scope, flag: &str) -> Result<(), ChangeError> {
    contracts::retire(writing.conn, scope, Some(flag), writing.now).await?;
    forget_validation(writing, scope, flag).await
}

/// The same of a fuse.
pub(super) async fn forget_validation(
    writing: &mut Writing<'_>,
    scope: &Scope,
    flag: &str,
) -> Result<(), ChangeError> {
    validations::end(writing.conn, scope, flag, (Ended::Gone, &[]), writing.now).await?;
    Ok(())
}
