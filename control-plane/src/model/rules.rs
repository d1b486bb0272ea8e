//! What a phase counts under its policy. Pure.

use std::collections::BTreeMap;

use flagfuse_cells::{
    Arm as CellArm, Counting, Matching, MetricRules, PhaseId, PhaseRules, SliceRules, SliceSet, Window,
};
use flagfuse_shared::definition::{Arm, DimensionWire};
use flagfuse_shared::ids::UnixMillis;
use flagfuse_shared::slices::SliceCodes;

use super::metric::{LATENCY_METRIC, OTHER_METRIC, RETURN_METRIC};
use super::policy::{OutcomeWindow, Policy};

/// An arm as cells have it.
pub const fn cell_arm(arm: Arm) -> CellArm {
    match arm {
        Arm::Exposed => CellArm::Exposed,
        Arm::Control => CellArm::Control,
    }
}

/// Edges of the bins of a phase's value metrics, by name, where there is a history to take them from.
pub type Edges = BTreeMap<String, Vec<i64>>;

/// Everything that a phase under `policy` counts: coming back, what the policy names, and all other outcomes in one metric,
/// since clients may make up as many names as they like. `edges` are frozen with it.
pub fn rules(phase: PhaseId, started_ms: UnixMillis, policy: &Policy, edges: &Edges) -> PhaseRules {
    let coming_back = MetricRules {
        name: RETURN_METRIC.to_owned(),
        matching: Matching::AnyOf(policy.activities()),
        window: window(policy.window(RETURN_METRIC)),
        counting: Counting::First,
    };
    // A guardrail on one of the values counts as these do, within its own window.
    let named = policy.guardrails.iter().filter(|guardrail| guardrail.metric != RETURN_METRIC);
    let named = named.filter(|guardrail| !policy.values.contains(&guardrail.metric));
    let named = named.map(|guardrail| MetricRules {
        name: guardrail.metric.clone(),
        matching: Matching::Named(guardrail.metric.clone()),
        window: window(guardrail.window()),
        counting: if guardrail.metric == LATENCY_METRIC { Counting::Sample } else { Counting::First },
    });
    let values = policy.values.iter().map(|name| MetricRules {
        name: name.clone(),
        matching: Matching::Named(name.clone()),
        window: window(policy.window(name)),
        counting: Counting::Sum { edges: edges.get(name).cloned() },
    });
    let names = policy.guardrails.iter().map(|guardrail| guardrail.metric.clone());
    let is_guarded = |name: &&String| policy.guardrails.iter().any(|guardrail| guardrail.metric == **name);
    let names = names.chain(policy.values.iter().filter(|name| !is_guarded(name)).cloned());
    let names = names.filter(|name| name != RETURN_METRIC).chain([RETURN_METRIC.to_owned()]);
    let other = MetricRules {
        name: OTHER_METRIC.to_owned(),
        matching: Matching::NoneOf(names.collect()),
        window: window(policy.window(OTHER_METRIC)),
        counting: Counting::First,
    };
    PhaseRules {
        phase,
        started_ms: started_ms.0,
        grace_ms: policy.grace_s * 1_000,
        metrics: [coming_back].into_iter().chain(named).chain(values).chain([other]).collect(),
        slices: policy.slices.iter().flat_map(slices).collect(),
        outcomes_from: policy.outcomes_from,
    }
}

/// The number of a phase's first declared slice: 0 is everybody, 1 the bots.
const FIRST_SLICE: usize = 2;

/// The slices of a dimension: its values, and all others together.
fn slices(dimension: &DimensionWire) -> impl Iterator<Item = SliceRules> {
    let DimensionWire { attribute, values } = dimension;
    let values = values.iter().map(|value| Some(value.clone())).chain([None]);
    values.map(|value| SliceRules { dimension: attribute.clone(), value })
}

/// The slices of a phase under `policy` that an answer's codes name. Dimensions of which it says nothing, and codes that mean
/// nothing, are the rest.
pub fn slice_set(policy: &Policy, codes: SliceCodes) -> SliceSet {
    let (mut set, mut first) = (SliceSet::default(), FIRST_SLICE);
    let codes = codes.iter().map(usize::from).chain(std::iter::repeat(0));
    for ((place, dimension), code) in set.0.iter_mut().zip(&policy.slices).zip(codes) {
        let count = dimension.values.len();
        let at = code.checked_sub(1).filter(|at| *at < count).unwrap_or(count);
        *place = u8::try_from(first + at).unwrap_or_default();
        first += count + 1;
    }
    set
}

const fn window(OutcomeWindow { after_ms, within_ms }: OutcomeWindow) -> Window {
    Window { after_ms, within_ms }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn codes_name_the_slices_that_the_rules_list() {
        let policy = Policy::parse(json!({
            "mode": "classic", "treatment_variation": "on", "control_variation": "off",
            "exposure_percent": 10, "control_percent": 10, "outcomes_from": "server",
            "slices": [{ "attribute": "device", "values": ["mobile", "desktop"] },
                       { "attribute": "country", "values": ["NP"] }],
            "guardrails": [{ "metric": "error", "direction": "increase_is_harm", "threshold": 0.5 }],
        }))
        .unwrap();
        let rules = rules(PhaseId(7), UnixMillis(5), &policy, &Edges::new());
        rules.check().unwrap();
        assert!(!rules.outcomes_from.is_anybody());
        let named = |codes: &str| -> Vec<String> {
            let set = slice_set(&policy, SliceCodes::parse(codes).unwrap());
            let numbers = set.0.into_iter().filter(|number| *number > 0).map(usize::from);
            let slices = numbers.map(|number| &rules.slices[number - FIRST_SLICE]);
            slices.map(|slice| format!("{}={:?}", slice.dimension, slice.value)).collect()
        };
        for (codes, device, country) in [
            ("1.0", r#"Some("mobile")"#, "None"),
            ("2.1", r#"Some("desktop")"#, r#"Some("NP")"#),
            ("0.1", "None", r#"Some("NP")"#),
            ("", "None", "None"),
            ("3.20.1.1", "None", "None"),
        ] {
            assert_eq!(named(codes), [format!("device={device}"), format!("country={country}")], "{codes}");
        }
    }

    #[test]
    fn a_phase_counts_coming_back_what_its_policy_names_and_the_rest_together() {
        let policy = Policy::parse(json!({
            "mode": "classic", "treatment_variation": "on", "control_variation": "off",
            "exposure_percent": 10, "control_percent": 10, "grace_s": 7, "values": ["items", "revenue"],
            "guardrails": [
                { "metric": "conversion", "direction": "decrease_is_harm", "threshold": -0.5, "within_s": 60 },
                { "metric": "latency_ms", "direction": "increase_is_harm", "threshold": 0.5 },
            ],
        }))
        .unwrap();
        let edges: Vec<i64> = (1..=63).collect();
        let history = Edges::from([("revenue".to_owned(), edges.clone()), ("gone".to_owned(), Vec::new())]);
        let rules = rules(PhaseId(7), UnixMillis(5), &policy, &history);
        assert_eq!((rules.phase, rules.started_ms, rules.grace_ms), (PhaseId(7), 5, 7_000));
        rules.check().unwrap();
        let found: Vec<_> = rules.metrics.iter().map(|metric| (&*metric.name, &metric.counting)).collect();
        let (first, sample) = (&Counting::First, &Counting::Sample);
        let (anew, frozen) = (&Counting::Sum { edges: None }, &Counting::Sum { edges: Some(edges) });
        let expected = [
            ("return", first),
            ("conversion", first),
            ("latency_ms", sample),
            ("items", anew),
            ("revenue", frozen),
            ("other", first),
        ];
        assert_eq!(found, expected);
        assert_eq!(rules.metrics[0].matching, Matching::AnyOf(vec!["session".into()]));
        assert_eq!(rules.metrics[1].window, Window { after_ms: 0, within_ms: 60_000 });
        assert_eq!(rules.metrics[4].window, Window { after_ms: 0, within_ms: 86_400_000 });
        let named = ["conversion", "latency_ms", "items", "revenue", "return"].map(str::to_owned).to_vec();
        assert_eq!(rules.metrics[5].matching, Matching::NoneOf(named));
    }

    #[test]
    fn a_guardrail_on_one_of_the_values_counts_it_once_within_its_own_window() {
        let policy = Policy::parse(json!({
            "mode": "anytime", "treatment_variation": "on", "control_variation": "off",
            "exposure_percent": 10, "control_percent": 10, "values": ["revenue"],
            "guardrails": [{ "metric": "revenue", "direction": "decrease_is_harm", "threshold": -0.2, "within_s": 60 }],
        }))
        .unwrap();
        let rules = rules(PhaseId(7), UnixMillis(5), &policy, &Edges::new());
        rules.check().unwrap();
        let found: Vec<_> =
            rules.metrics.iter().map(|metric| (&*metric.name, metric.window.within_ms)).collect();
        assert_eq!(found, [("return", 604_800_000), ("revenue", 60_000), ("other", 86_400_000)]);
        assert_eq!(rules.metrics[1].counting, Counting::Sum { edges: None });
        let named = ["revenue", "return"].map(str::to_owned).to_vec();
        assert_eq!(rules.metrics[2].matching, Matching::NoneOf(named));
    }
}
