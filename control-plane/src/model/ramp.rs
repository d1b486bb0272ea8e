//! Which buckets each stage of a ramp exposes and reserves as control. Pure: never touches a flag, never decides a stage.
//!
//! Every stage enrols fresh units in both arms: the exposed ones between the stage before and this one, from the bottom
//! of the buckets up, and the control ones of a reserve of its own, from the top down. A unit stays in the arm and in the
//! phase that enrolled it, so a rate never mixes units that met the feature in different stages, and each exposed unit
//! is compared with controls of the same days.

use flagfuse_shared::definition::{Arm, CohortSliceWire};
use flagfuse_shared::flag::compile::percent_to_buckets;
use flagfuse_shared::limits::{BUCKET_COUNT, COHORT_SLICE_COUNT_MAX};

/// Stages of one ramp: an exposed and a control slice each, and a spare factor for what a flag may carry.
pub const STAGE_COUNT_MAX: usize = 10;
const _: () = assert!(2 * STAGE_COUNT_MAX <= COHORT_SLICE_COUNT_MAX);

/// One stage as people write it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Stage {
    /// Share of all units that see the feature in this stage, those of earlier stages included. Percent.
    pub exposed_percent: f64,
    /// Share of all units that this stage reserves as its own control. Percent.
    pub control_percent: f64,
}

/// A ramp that was checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ramp {
    /// Ascending.
    stages: Vec<StageBuckets>,
}

/// First bucket that is no longer exposed, and first bucket of the stage's control reserve, which ends where the one of
/// the stage before begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct StageBuckets {
    exposed_to: u32,
    control_from: u32,
}

/// Why stages are no ramp. Messages name the stage and the limit.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum RampFault {
    /// None, or too many.
    #[error("stages has {count} entries, allowed is 1 to {STAGE_COUNT_MAX}")]
    Count {
        /// Stages found.
        count: usize,
    },
    /// A number that is no share of the buckets.
    #[error("stages[{at}].{field} is {found}, allowed is 0.0001 to 100 in steps of 0.0001")]
    Percent { at: usize, field: &'static str, found: f64 },
    /// A stage that exposes nobody new.
    #[error("stages[{at}].exposed_percent is not above the one of the stage before")]
    NotAscending { at: usize },
    /// Exposed units would meet control units.
    #[error(
        "the last stage exposes {exposed} buckets and all stages reserve {control}, together at most {BUCKET_COUNT}"
    )]
    TooWide {
        /// Buckets exposed in the end.
        exposed: u32,
        /// Buckets reserved by all stages.
        control: u32,
    },
}

/// What the arms are served.
#[derive(Debug, Clone, Copy)]
pub struct Variations<'v> {
    /// To the exposed units.
    pub treatment: &'v str,
    /// To the control units.
    pub control: &'v str,
}

impl Ramp {
    /// Checks stages; the first fault found is returned.
    pub fn new(stages: &[Stage]) -> Result<Self, RampFault> {
        if stages.is_empty() || stages.len() > STAGE_COUNT_MAX {
            return Err(RampFault::Count { count: stages.len() });
        }
        let (mut exposed_to, mut reserved) = (0, 0);
        let mut checked = Vec::with_capacity(stages.len());
        for (at, stage) in stages.iter().enumerate() {
            let next = buckets(at, "exposed_percent", stage.exposed_percent)?;
            if next <= exposed_to {
                return Err(RampFault::NotAscending { at });
            }
            exposed_to = next;
            // At most 10 stages of at most 1,000,000 buckets each.
            reserved += buckets(at, "control_percent", stage.control_percent)?;
            checked.push(StageBuckets { exposed_to, control_from: BUCKET_COUNT.saturating_sub(reserved) });
        }
        if exposed_to.saturating_add(reserved) > BUCKET_COUNT {
            return Err(RampFault::TooWide { exposed: exposed_to, control: reserved });
        }
        Ok(Self { stages: checked })
    }

    /// The slices of the stage that follows those whose phases are `earlier`, in the order of the stages; `None` behind
    /// the last one. The running stage's own slices carry no phase: they belong to the cohort's.
    pub fn slices(&self, earlier: &[u32], variations: Variations<'_>) -> Option<Vec<CohortSliceWire>> {
        let running = self.stages.get(..=earlier.len())?;
        let phases = || earlier.iter().copied().map(Some).chain([None]);
        let slice = |from, to, variation: &str, arm, phase| CohortSliceWire {
            from,
            to,
            variation: variation.to_owned(),
            arm,
            phase,
        };
        let exposed_from = [0].into_iter().chain(running.iter().map(|stage| stage.exposed_to));
        let exposed = exposed_from.zip(running).zip(phases()).map(|((from, stage), phase)| {
            slice(from, stage.exposed_to, variations.treatment, Arm::Exposed, phase)
        });
        let control_to = [BUCKET_COUNT].into_iter().chain(running.iter().map(|stage| stage.control_from));
        let control = control_to.zip(running).zip(phases()).map(|((to, stage), phase)| {
            slice(stage.control_from, to, variations.control, Arm::Control, phase)
        });
        // Reserves grow downwards, slices are written upwards.
        let control: Vec<CohortSliceWire> = control.collect();
        Some(exposed.chain(control.into_iter().rev()).collect())
    }
}

fn buckets(at: usize, field: &'static str, percent: f64) -> Result<u32, RampFault> {
    match percent_to_buckets(field, percent) {
        Ok(buckets) if buckets > 0 => Ok(buckets),
        Ok(_) | Err(_) => Err(RampFault::Percent { at, field, found: percent }),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use flagfuse_shared::flag::compile;
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    const VARIATIONS: Variations<'_> = Variations { treatment: "on", control: "off" };

    fn ramp(stages: &[(f64, f64)]) -> Result<Ramp, RampFault> {
        let stage =
            |&(exposed_percent, control_percent): &(f64, f64)| Stage { exposed_percent, control_percent };
        Ramp::new(&stages.iter().map(stage).collect::<Vec<_>>())
    }

    /// The split that `1, 5, 10, 25, 50 %` with controls of `4, 12, 10, 15, 9 %` means.
    #[test]
    fn a_ramp_enrols_fresh_units_in_both_arms_at_every_stage() {
        let ramp = ramp(&[(1.0, 4.0), (5.0, 12.0), (10.0, 10.0), (25.0, 15.0), (50.0, 9.0)]).unwrap();
        let rows = |earlier: &[u32]| -> Vec<(u32, u32, Arm, Option<u32>)> {
            let slices = ramp.slices(earlier, VARIATIONS).unwrap();
            slices.into_iter().map(|slice| (slice.from, slice.to, slice.arm, slice.phase)).collect()
        };
        assert_eq!(rows(&[]), [(0, 10_000, Arm::Exposed, None), (960_000, 1_000_000, Arm::Control, None)]);
        assert_eq!(
            rows(&[3, 4]),
            [
                (0, 10_000, Arm::Exposed, Some(3)),
                (10_000, 50_000, Arm::Exposed, Some(4)),
                (50_000, 100_000, Arm::Exposed, None),
                (740_000, 840_000, Arm::Control, None),
                (840_000, 960_000, Arm::Control, Some(4)),
                (960_000, 1_000_000, Arm::Control, Some(3)),
            ]
        );
        let last = rows(&[1, 2, 3, 4]);
        assert_eq!((last[4].1, last[5].0), (500_000, 500_000), "everybody is in an arm");
        assert_eq!(ramp.slices(&[1, 2, 3, 4, 5], VARIATIONS), None);
    }

    #[test]
    fn stages_that_are_no_ramp_are_refused() {
        let eleven: Vec<(f64, f64)> = (1..=11).map(|n| (f64::from(n), 1.0)).collect();
        let rows = [
            (vec![], "0 entries"),
            (eleven, "11 entries"),
            (vec![(0.0, 1.0)], "stages[0].exposed_percent is 0"),
            (vec![(1.0, 1.0), (5.0, 0.0)], "stages[1].control_percent is 0"),
            (vec![(1.0, 0.000_05)], "stages[0].control_percent"),
            (vec![(f64::NAN, 1.0)], "NaN"),
            (vec![(5.0, 1.0), (5.0, 1.0)], "stages[1].exposed_percent"),
            (vec![(5.0, 50.0), (40.0, 10.0001)], "exposes 400000 buckets and all stages reserve 600001"),
        ];
        for (stages, words) in rows {
            let fault = ramp(&stages).unwrap_err().to_string();
            assert!(fault.contains(words), "{fault}");
        }
        assert!(ramp(&[(5.0, 50.0), (40.0, 10.0)]).is_ok());
    }

    /// Ramps of any shape, in buckets: what each stage adds to both ends.
    fn ramps() -> impl Strategy<Value = (Ramp, Vec<u32>)> {
        let sizes = prop::collection::vec((1_u32..60_000, 1_u32..40_000), 1..=STAGE_COUNT_MAX);
        let phases = prop::collection::btree_set(1_u32..1_000, STAGE_COUNT_MAX);
        (sizes, phases).prop_map(|(sizes, phases)| {
            let mut exposed = 0;
            let stages: Vec<(f64, f64)> = sizes
                .iter()
                .map(|&(more, control)| {
                    exposed += more;
                    (f64::from(exposed) / 10_000.0, f64::from(control) / 10_000.0)
                })
                .collect();
            (ramp(&stages).unwrap(), phases.into_iter().collect())
        })
    }

    /// Arm and phase of a bucket; the running stage's own phase is `running`.
    fn place(slices: &[CohortSliceWire], bucket: u32, running: u32) -> Option<(Arm, u32)> {
        let slice = slices.iter().find(|slice| (slice.from..slice.to).contains(&bucket))?;
        Some((slice.arm, slice.phase.unwrap_or(running)))
    }

    proptest! {
        #[test]
        fn nobody_leaves_an_arm_or_a_phase_and_every_stage_has_fresh_units((ramp, phases) in ramps()) {
            let all: Vec<Vec<CohortSliceWire>> = (0..ramp.stages.len())
                .map(|at| ramp.slices(&phases[..at], VARIATIONS).unwrap())
                .collect();
            // A bucket on each side of every edge stands for its whole range.
            let edges = all.iter().flatten().flat_map(|slice| [slice.from, slice.to, slice.to - 1]);
            let buckets: BTreeSet<u32> = edges.chain(edges_below(&all)).filter(|b| *b < BUCKET_COUNT).collect();
            for (at, slices) in all.iter().enumerate() {
                for arm in [Arm::Exposed, Arm::Control] {
                    let fresh = slices.iter().filter(|slice| slice.arm == arm && slice.phase.is_none()).count();
                    prop_assert_eq!(fresh, 1, "stage {} has fresh {:?} units", at, arm);
                }
                for bucket in &buckets {
                    let now = place(slices, *bucket, phases[at]);
                    if let Some((_, phase)) = now {
                        let earlier = all.iter().take(at).enumerate();
                        for (before, slices) in earlier {
                            let then = place(slices, *bucket, phases[before]);
                            let is_enrolled = phases[..=before].contains(&phase);
                            prop_assert_eq!(then, if is_enrolled { now } else { None });
                        }
                    } else {
                        prop_assert!(all[..at].iter().all(|slices| place(slices, *bucket, 0).is_none()));
                    }
                }
            }
        }

        #[test]
        fn every_stage_is_a_cohort_that_compiles((ramp, phases) in ramps()) {
            for at in 0..ramp.stages.len() {
                let slices = ramp.slices(&phases[..at], VARIATIONS).unwrap();
                let wire = serde_json::from_value(json!({
                    "key": "f", "value_type": "boolean", "default_variation": "off",
                    "variations": [{ "key": "on", "value": true }, { "key": "off", "value": false }],
                    "cohort": { "phase": phases[at], "slices": slices },
                })).unwrap();
                prop_assert!(compile(&wire).is_ok());
            }
        }
    }

    fn edges_below(all: &[Vec<CohortSliceWire>]) -> impl Iterator<Item = u32> {
        all.iter().flatten().filter_map(|slice| slice.from.checked_sub(1))
    }
}
