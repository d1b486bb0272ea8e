//! How one flag decides, step by step.

use std::borrow::Cow;

use super::{
    Assignment, EvaluationError, EvaluationResult, Evaluator, Freshness, HoldoutBucket, KnownVariation, Lane,
    Observer, Passage, Question, Reason, Resolution, Step,
};
use crate::bucket::{Bucket, unleash_bucket_under};
use crate::condition::Condition;
use crate::context::{AttributeName, Context, UnitSource, scalar_text};
use crate::definition::{HoldoutRole, OnStale};
use crate::flag::{
    Flag, Gate, Guards, LayerShare, Power, Prerequisite, Rule, Shares, Split, Stickiness, UnleashGate,
    UnleashSplit, VariationIndex,
};
use crate::ids::VariationKey;
use crate::limits::BUCKET_COUNT;
use crate::segment::Membership;

impl<'s> Evaluator<'s, '_> {
    #[inline]
    pub(super) fn resolve(&self, flag: &'s Flag, observer: &mut impl Observer) -> EvaluationResult<'s> {
        if flag.power == Power::Off {
            observer.saw(Step::Off);
            return Ok(served(flag, flag.off, Reason::Disabled));
        }
        let decided = match &flag.guards {
            Some(guards) => self.before_holdout(flag, guards, observer),
            None => self.when_stale(flag, observer),
        };
        if let Some(answer) = decided {
            return Ok(answer);
        }
        if self.environment.holdout.is_some()
            && flag.holdout == HoldoutRole::Member
            && self.is_held_out(observer)
        {
            return Ok(served(flag, flag.default, Reason::Split));
        }
        if let Some(share) = flag.guards.as_ref().and_then(|guards| guards.layer.as_ref())
            && self.is_outside(share, observer)?
        {
            return Ok(served(flag, flag.default, Reason::Split));
        }
        for rule in &flag.rules {
            if let Some(answer) = self.apply_rule(flag, rule, observer)? {
                return Ok(answer);
            }
        }
        self.without_rule(flag, observer)
    }

    /// Schedule, staleness, prerequisites, targets. `None` when none of them decides.
    fn before_holdout(
        &self,
        flag: &'s Flag,
        guards: &'s Guards,
        observer: &mut impl Observer,
    ) -> Option<Resolution<'s>> {
        if let Some(schedule) = guards.schedule {
            let passage = Passage::of(schedule.holds(self.question.now));
            observer.saw(Step::Schedule(passage));
            if passage == Passage::Stopped {
                return Some(served(flag, flag.off, Reason::Disabled));
            }
        }
        if let Some(answer) = self.when_stale(flag, observer) {
            return Some(answer);
        }
        for prerequisite in &guards.prerequisites {
            if !self.is_met(prerequisite, observer) {
                return Some(served(flag, flag.off, Reason::Disabled));
            }
        }
        if !guards.targets.is_empty() {
            let target = guards.targets.iter().find_map(|list| list.variation(self.question.context));
            observer.saw(Step::Target { variation: target.and_then(|index| name(flag, index)) });
            if let Some(index) = target {
                let permitted = permitted(flag, index, observer);
                return Some(served(flag, Some(permitted), Reason::TargetingMatch));
            }
        }
        None
    }

    /// `None` when the snapshot is fresh, or the flag goes on as if it were.
    #[inline]
    fn when_stale(&self, flag: &'s Flag, observer: &mut impl Observer) -> Option<Resolution<'s>> {
        if self.question.freshness == Freshness::Fresh {
            return None;
        }
        let index = match flag.on_stale {
            OnStale::Keep => return None,
            OnStale::Default => flag.default,
            OnStale::Off => flag.off,
        };
        observer.saw(Step::Stale(flag.on_stale));
        Some(served(flag, index, Reason::Stale))
    }

    /// A flag that is itself malformed or has no answer for the asker is no met prerequisite.
    fn is_met(&self, prerequisite: &'s Prerequisite, observer: &mut impl Observer) -> bool {
        let Some(link) = prerequisite.link else { return false };
        let known = self.prerequisites.get_or_init(|| {
            self.environment.flags.iter().map(|_| std::cell::Cell::new(KnownVariation::NotYet)).collect()
        });
        let other = self.environment.flags.get(link.flag_at).and_then(|(_, flag)| flag.as_ref().ok());
        let (Some(cell), Some(other)) = (known.get(link.flag_at), other) else { return false };
        if cell.get() == KnownVariation::NotYet {
            observer.saw(Step::PrerequisiteBegins { flag: other });
            // Cycles were refused when the environment was compiled, so this ends; generic observers would not.
            let variation = self.resolve_dyn(other, observer).ok().and_then(|answer| answer.variation);
            let at = variation
                .and_then(|variation| other.variations.iter().position(|v| std::ptr::eq(v, variation)));
            cell.set(
                at.and_then(|at| u8::try_from(at).ok())
                    .map_or(KnownVariation::Nothing, KnownVariation::Variation),
            );
        }
        let (passage, served) = match cell.get() {
            KnownVariation::Variation(at) => {
                let wanted = 1_u64.checked_shl(at.into()).unwrap_or(0) & link.variations != 0;
                (Passage::of(wanted), name(other, VariationIndex(at)))
            }
            KnownVariation::NotYet | KnownVariation::Nothing => (Passage::Stopped, None),
        };
        observer.saw(Step::Prerequisite { flag: &prerequisite.key, served, passage });
        passage == Passage::Passed
    }

    /// One instance for every kind of observer.
    #[inline(never)]
    fn resolve_dyn(&self, flag: &'s Flag, mut observer: &mut dyn Observer) -> EvaluationResult<'s> {
        self.resolve(flag, &mut observer)
    }

    fn is_held_out(&self, observer: &mut impl Observer) -> bool {
        let Some(holdout) = &self.environment.holdout else { return false };
        let bucket = match self.holdout.get() {
            HoldoutBucket::Unknown => holdout
                .source
                .unit(self.question.context)
                .map(|unit| Bucket::under(holdout.salt, &unit).get()),
            HoldoutBucket::Without => None,
            HoldoutBucket::In(bucket) => Some(bucket),
        };
        self.holdout.set(bucket.map_or(HoldoutBucket::Without, HoldoutBucket::In));
        let is_held_out = bucket.is_some_and(|bucket| bucket < holdout.below);
        observer.saw(Step::Holdout { bucket, below: holdout.below, passage: Passage::of(!is_held_out) });
        is_held_out
    }

    fn is_outside(
        &self,
        share: &'s LayerShare,
        observer: &mut impl Observer,
    ) -> Result<bool, EvaluationError<'s>> {
        let bucket = Bucket::under(share.salt, &unit(&share.source, self.question.context)?).get();
        let passage = Passage::of((share.from..share.to).contains(&bucket));
        let (from, to) = (share.from, share.to);
        observer.saw(Step::Layer { layer: &share.layer, bucket, from, to, passage });
        Ok(passage == Passage::Stopped)
    }

    /// `None` when the rule does not apply.
    #[inline]
    fn apply_rule(
        &self,
        flag: &'s Flag,
        rule: &'s Rule,
        observer: &mut impl Observer,
    ) -> Result<Option<Resolution<'s>>, EvaluationError<'s>> {
        observer.saw(Step::Rule { key: &rule.key });
        if let Some(schedule) = &rule.schedule {
            let passage = Passage::of(schedule.holds(self.question.now));
            observer.saw(Step::RuleSchedule(passage));
            if passage == Passage::Stopped {
                return Ok(None);
            }
        }
        let Question { context, now, .. } = self.question;
        for (at, condition) in rule.conditions.iter().enumerate() {
            let passage = if observer.is_watching() {
                self.holds_watched(at, condition, observer)
            } else {
                Passage::of(condition.holds(context, now, |segment| self.is_in(segment)))
            };
            if passage == Passage::Stopped {
                return Ok(None);
            }
        }
        if !self.passes(flag, &rule.gate, observer)? {
            return Ok(None);
        }
        let wanted = match &rule.split {
            Split::One(index) => *index,
            Split::Native(shares) => {
                let unit = unit(&flag.bucket_by, context)?;
                native_share(flag, shares, &unit, observer)
            }
            Split::Unleash(split) => self.unleash_share(flag, split, observer),
        };
        let index = permitted(flag, wanted, observer);
        Ok(Some(Resolution { decider: Some(rule), ..served(flag, Some(index), rule.reason()) }))
    }

    /// Tells a condition and the segments that it asked for.
    fn holds_watched(&self, at: usize, condition: &Condition, observer: &mut impl Observer) -> Passage {
        let Question { context, now, .. } = self.question;
        let is_in = |segment| self.is_in(segment);
        let mut segments = condition.segments().to_vec();
        segments.retain(|index| !self.is_known(*index));
        let passage = Passage::of(condition.holds(context, now, is_in));
        let found = context.value(condition.attribute());
        observer.saw(Step::Condition { at, condition, found, passage });
        for index in condition.segments().iter().filter(|index| self.is_known(**index)) {
            let Some(segment) = self.environment.segments.get(usize::from(index.0)) else { continue };
            let membership = segment.membership(context, now, &is_in);
            observer.saw(Step::Segment { key: &segment.key, membership });
            let is_told = !segments.contains(index)
                || matches!(membership, Membership::Excluded | Membership::Included);
            for (rule, conditions) in segment.rules().iter().enumerate().filter(|_| !is_told) {
                for (at, condition) in conditions.iter().enumerate() {
                    let passage = Passage::of(condition.holds(context, now, is_in));
                    let found = context.value(condition.attribute());
                    observer.saw(Step::SegmentCondition { rule, at, found, passage });
                    if passage == Passage::Stopped {
                        break;
                    }
                }
                if membership == Membership::Rule(rule) {
                    break;
                }
            }
        }
        passage
    }

    #[inline]
    fn passes(
        &self,
        flag: &'s Flag,
        gate: &'s Gate,
        observer: &mut impl Observer,
    ) -> Result<bool, EvaluationError<'s>> {
        let (lane, bucket, threshold, passed) = match gate {
            Gate::Open => return Ok(true),
            Gate::Native(below) => match flag.bucket_by.unit(self.question.context) {
                Some(unit) => {
                    let bucket = Bucket::under(flag.gate_salt, &unit).get();
                    (Lane::Native, Some(bucket), *below, bucket < *below)
                }
                // Everybody and nobody are the same with a unit and without.
                None if matches!(*below, 0 | BUCKET_COUNT) => (Lane::Native, None, *below, *below > 0),
                None => return Err(without_unit(&flag.bucket_by)),
            },
            Gate::Unleash(gate) => {
                let bucket = self.unleash_gate_bucket(gate);
                let passed = bucket.is_some_and(|bucket| bucket <= gate.percent);
                (Lane::Unleash, bucket, gate.percent, passed)
            }
        };
        observer.saw(Step::Gate { lane, bucket, threshold, passage: Passage::of(passed) });
        Ok(passed)
    }

    /// `None` when a named attribute is missing: nobody passes then.
    fn unleash_gate_bucket(&self, gate: &UnleashGate) -> Option<u32> {
        const NORMALIZER: u32 = 100;
        match self.sticky(&gate.stickiness) {
            Sticky::Text(text) => Some(unleash_bucket_under(gate.group, &text, NORMALIZER)),
            Sticky::Random => Some(gate.group.random(self.question.random, gate.position) % NORMALIZER + 1),
            Sticky::Missing => None,
        }
    }

    fn unleash_share(
        &self,
        flag: &'s Flag,
        split: &UnleashSplit,
        observer: &mut impl Observer,
    ) -> VariationIndex {
        let weight_sum = split.shares.weight_sum;
        let bucket = match self.sticky(&split.stickiness) {
            Sticky::Text(text) => unleash_bucket_under(split.group, &text, weight_sum),
            Sticky::Random | Sticky::Missing => {
                split.group.random(self.question.random, split.position) % weight_sum.max(1) + 1
            }
        };
        let index = split.shares.at(bucket.saturating_sub(1)).unwrap_or_default();
        if observer.is_watching() {
            let (lane, variation) = (Lane::Unleash, name(flag, index));
            observer.saw(Step::Split { lane, bucket, weight_sum, variation });
        }
        index
    }

    fn sticky(&self, stickiness: &Stickiness) -> Sticky<'_> {
        let context = self.question.context;
        match stickiness {
            Stickiness::Random => Sticky::Random,
            Stickiness::Attribute(UnitSource::TargetingKey) => {
                context.targeting_key().map_or(Sticky::Missing, |text| Sticky::Text(text.into()))
            }
            Stickiness::Attribute(UnitSource::Attribute(name)) => {
                sticky_text(context, name).map_or(Sticky::Missing, Sticky::Text)
            }
            Stickiness::Default(fallbacks) => context
                .targeting_key()
                .map(Cow::Borrowed)
                .or_else(|| fallbacks.iter().find_map(|name| sticky_text(context, name)))
                .map_or(Sticky::Random, Sticky::Text),
        }
    }

    fn without_rule(&self, flag: &'s Flag, observer: &mut impl Observer) -> EvaluationResult<'s> {
        let Some(cohort) = &flag.cohort else {
            observer.saw(Step::Default { variation: flag.default.and_then(|index| name(flag, index)) });
            // Without a variation it is not we who serve the same to everybody.
            let is_static = flag.rules.is_empty() && flag.guards.is_none() && flag.default.is_some();
            let reason = if is_static { Reason::Static } else { Reason::Default };
            return Ok(served(flag, flag.default, reason));
        };
        let bucket = Bucket::under(cohort.salt, &unit(&flag.bucket_by, self.question.context)?);
        let slice = cohort.slice(bucket);
        observer.saw(Step::Cohort { bucket: bucket.get(), slice: slice.and_then(|slice| slice.enrols) });
        Ok(match slice {
            Some(slice) => Resolution {
                assignment: slice.enrols.map(|(arm, phase)| Assignment {
                    arm,
                    phase,
                    slices: cohort.slice_codes(self.question.context),
                }),
                ..served(flag, Some(slice.variation), Reason::Split)
            },
            None => served(flag, flag.default, Reason::Split),
        })
    }
}

impl Rule {
    /// Why units get what it serves.
    const fn reason(&self) -> Reason {
        match (&self.gate, &self.split) {
            (Gate::Open, Split::One(_)) => Reason::TargetingMatch,
            (Gate::Open | Gate::Native(_) | Gate::Unleash(_), _) => Reason::Split,
        }
    }
}

/// What Unleash would hash.
enum Sticky<'c> {
    Text(Cow<'c, str>),
    Random,
    Missing,
}

fn sticky_text<'c>(context: &'c Context, name: &AttributeName) -> Option<Cow<'c, str>> {
    context.value(name).and_then(scalar_text).filter(|text| !text.is_empty())
}

/// What may be served when `wanted` is wanted: a fuse that is not closed withholds the feature.
#[inline]
fn permitted(flag: &Flag, wanted: VariationIndex, observer: &mut impl Observer) -> VariationIndex {
    let Some(cohort) = &flag.cohort else { return wanted };
    let permitted = cohort.permitted(wanted);
    if permitted != wanted {
        observer.saw(Step::Withheld { wanted: name(flag, wanted), instead: name(flag, permitted) });
    }
    permitted
}

/// The share that holds the unit's bucket when the weights are stretched over all buckets.
fn native_share(flag: &Flag, shares: &Shares, unit: &str, observer: &mut impl Observer) -> VariationIndex {
    let bucket = Bucket::under(flag.split_salt, unit).get();
    // bucket < 1e6 and weight_sum ≤ 1e6: the product stays below 1e12, the quotient below weight_sum.
    let position = u64::from(bucket) * u64::from(shares.weight_sum) / u64::from(BUCKET_COUNT);
    let index = u32::try_from(position).ok().and_then(|position| shares.at(position)).unwrap_or_default();
    if observer.is_watching() {
        let (lane, weight_sum, variation) = (Lane::Native, shares.weight_sum, name(flag, index));
        observer.saw(Step::Split { lane, bucket, weight_sum, variation });
    }
    index
}

fn name(flag: &Flag, index: VariationIndex) -> Option<&VariationKey> {
    flag.variation(index).map(|variation| &variation.key)
}

#[inline]
fn unit<'c, 's>(source: &'s UnitSource, context: &'c Context) -> Result<Cow<'c, str>, EvaluationError<'s>> {
    source.unit(context).ok_or_else(|| without_unit(source))
}

fn without_unit(source: &UnitSource) -> EvaluationError<'_> {
    EvaluationError::TargetingKeyMissing { attribute: source.as_str() }
}

#[inline]
fn served(flag: &Flag, index: Option<VariationIndex>, reason: Reason) -> Resolution<'_> {
    let variation = index.and_then(|index| flag.variation(index));
    Resolution { variation, reason, assignment: None, flag, decider: None }
}
