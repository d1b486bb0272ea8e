//! What a flag serves, in plain words: one or a few short sentences for lists and pages. Pure; decides nothing, and says what the
//! definition says, not what any one asker gets.

use std::collections::BTreeMap;

use flagfuse_shared::definition::{Arm, CohortWire, FlagWire, RuleWire, TargetWire};
use flagfuse_shared::limits::BUCKET_COUNT;

use super::circuit::Circuit;
use super::metric::{ERROR_METRIC, LATENCY_METRIC, RETURN_METRIC};
use super::policy::Policy;
use crate::figures::{count, grouped, percent};

/// Things that are named one by one; of more it is said how many they are.
const NAMED_COUNT_MAX: usize = 3;

/// A fuse that watches the flag.
#[derive(Debug, Clone, Copy)]
pub struct Watched<'f> {
    pub circuit: Circuit,
    pub policy: &'f Policy,
}

/// What the flag serves: `12 named users get "on"; 2 rules come first; everyone else gets "off".`
pub fn sentence(flag: &FlagWire, fuse: Option<Watched<'_>>) -> String {
    if !flag.enabled {
        return format!("Off: everyone gets {}.", variation(flag.off_variation.as_deref()));
    }
    let mut sentences = vec![served(flag)];
    sentences.extend(narrowed(flag));
    sentences.extend(fuse.map(watching));
    sentences.join(" ")
}

/// Who gets what, in the order in which it is decided.
fn served(flag: &FlagWire) -> String {
    let mut clauses: Vec<String> = named(&flag.targets).into_iter().collect();
    let catch_all = flag.rules.iter().position(is_for_everybody);
    let before = catch_all.unwrap_or(flag.rules.len());
    if before > 0 {
        let verb = if before == 1 { "comes" } else { "come" };
        clauses.push(format!("{} {verb} first", count(before as u64, "rule")));
    }
    let rest = match catch_all.and_then(|at| flag.rules.get(at)) {
        Some(rule) => vec![format!("{} gets {}", everyone(&clauses), split(rule))],
        None => shared(flag, &clauses),
    };
    let is_long = rest.len() > 1 && before > 0;
    let rest = format!("{}{}", if is_long { "then " } else { "" }, rest.join(", "));
    clauses.push(rest);
    capitalised(&format!("{}.", clauses.join("; ")))
}

/// What those get whom no name and no rule is about.
fn shared(flag: &FlagWire, clauses: &[String]) -> Vec<String> {
    let default = variation(flag.default_variation.as_deref());
    let Some(cohort) = &flag.cohort else { return vec![format!("{} gets {default}", everyone(clauses))] };
    let mut shares: Vec<String> = Vec::new();
    for (name, width) in widths(cohort, Arm::Exposed) {
        shares.push(format!("{} see {}", share(width), variation(Some(&name))));
    }
    let control: u32 = widths(cohort, Arm::Control).values().sum();
    if control > 0 {
        shares.push(format!("{} are kept as control", share(control)));
    }
    let taken: u32 = cohort.slices.iter().map(|slice| slice.to.saturating_sub(slice.from)).sum();
    if shares.is_empty() {
        shares.push(format!("{} gets {default}", everyone(clauses)));
    } else if taken < BUCKET_COUNT {
        shares.push(format!("everyone else gets {default}"));
    }
    shares
}

/// Buckets of an arm by what they get.
fn widths(cohort: &CohortWire, arm: Arm) -> BTreeMap<String, u32> {
    let mut widths = BTreeMap::new();
    for slice in cohort.slices.iter().filter(|slice| slice.arm == arm && slice.to > slice.from) {
        *widths.entry(slice.variation.clone()).or_default() += slice.to - slice.from;
    }
    widths
}

fn share(buckets: u32) -> String {
    percent(f64::from(buckets) / f64::from(BUCKET_COUNT))
}

/// Who gets something by name; nothing where nobody does.
fn named(targets: &[TargetWire]) -> Option<String> {
    let mut counts: Vec<((&str, Option<&str>), u64)> = Vec::new();
    for target in targets.iter().filter(|target| !target.units.is_empty()) {
        let key = (target.variation.as_str(), target.attribute.as_deref());
        match counts.iter_mut().find(|(own, _)| *own == key) {
            Some((_, count)) => *count += target.units.len() as u64,
            None => counts.push((key, target.units.len() as u64)),
        }
    }
    let all: u64 = counts.iter().map(|(_, count)| count).sum();
    if counts.len() > NAMED_COUNT_MAX {
        return Some(format!("{} named users get variations of their own", grouped(all)));
    }
    let told = counts.iter().map(|((name, attribute), units)| {
        let who = match attribute {
            None => count(*units, "named user"),
            Some(attribute) => format!("{} of `{attribute}`", count(*units, "value")),
        };
        let verb = if *units == 1 { "gets" } else { "get" };
        format!("{who} {verb} {}", variation(Some(name)))
    });
    let told: Vec<String> = told.collect();
    (!told.is_empty()).then(|| listed(&told))
}

/// A rule that leaves nothing to what follows it.
fn is_for_everybody(rule: &RuleWire) -> bool {
    let is_whole = rule.percentage.is_none_or(|percentage| percentage >= 100.0);
    let has_gate = rule.unleash.as_ref().is_some_and(|lane| lane.gate.is_some());
    rule.conditions.is_empty() && rule.schedule.is_none() && is_whole && !has_gate
}

/// What a rule serves.
fn split(rule: &RuleWire) -> String {
    let parts: Vec<_> = rule.split.iter().filter(|part| part.weight > 0).collect();
    let sum: u64 = parts.iter().map(|part| u64::from(part.weight)).sum();
    match parts.as_slice() {
        [only] => variation(Some(&only.variation)),
        parts if parts.len() <= NAMED_COUNT_MAX => {
            #[expect(clippy::cast_precision_loss, reason = "the sum of weights is bounded by a million")]
            let told = parts.iter().map(|part| {
                format!(
                    "{} ({})",
                    variation(Some(&part.variation)),
                    percent(f64::from(part.weight) / sum as f64)
                )
            });
            listed_by("or", &told.collect::<Vec<_>>())
        }
        parts => format!("one of {}", count(parts.len() as u64, "variation")),
    }
}

/// What keeps the flag from being on for everybody at any time.
fn narrowed(flag: &FlagWire) -> Vec<String> {
    let mut sentences = Vec::new();
    if let Some(layer) = &flag.layer {
        let part = share(layer.to.saturating_sub(layer.from));
        sentences.push(format!("Only its {part} of the layer `{}` take part.", layer.key));
    }
    match flag.prerequisites.as_slice() {
        [] => {}
        [only] => sentences.push(format!("It depends on the flag `{}`.", only.flag)),
        several => sentences.push(format!("It depends on {}.", count(several.len() as u64, "other flag"))),
    }
    sentences.extend(flag.schedule.map(|_| "A schedule says when it is on.".to_owned()));
    sentences
}

fn watching(Watched { circuit, policy }: Watched<'_>) -> String {
    let feature = variation(Some(&policy.treatment_variation));
    let metrics: Vec<String> = policy.guardrails.iter().map(|guardrail| metric(&guardrail.metric)).collect();
    let metrics = if metrics.len() > NAMED_COUNT_MAX {
        count(metrics.len() as u64, "metric")
    } else {
        listed(&metrics)
    };
    match circuit {
        Circuit::Closed => format!("A closed fuse watches {metrics}."),
        Circuit::Open => format!("An open fuse keeps {feature} from everyone."),
        Circuit::HalfOpen => format!("A half-open fuse tries {feature} again and watches {metrics}."),
    }
}

/// A metric as it is spoken of.
fn metric(name: &str) -> String {
    match name {
        ERROR_METRIC => "errors".to_owned(),
        LATENCY_METRIC => "latency".to_owned(),
        RETURN_METRIC => "returns".to_owned(),
        "conversion" => name.to_owned(),
        other => format!("`{other}`"),
    }
}

fn variation(name: Option<&str>) -> String {
    name.map_or_else(|| "the default in the code".to_owned(), |name| format!("`{name}`"))
}

const fn everyone(clauses: &[String]) -> &'static str {
    if clauses.is_empty() { "everyone" } else { "everyone else" }
}

fn listed(words: &[String]) -> String {
    listed_by("and", words)
}

/// `a`, `a and b`, `a, b and c`.
fn listed_by(joint: &str, words: &[String]) -> String {
    match words {
        [] => "nothing".to_owned(),
        [only] => only.clone(),
        [before @ .., last] => format!("{} {joint} {last}", before.join(", ")),
    }
}

fn capitalised(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map(|first| first.to_uppercase().chain(chars).collect()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn flag(patch: &Value) -> FlagWire {
        let mut flag = json!({
            "key": "f", "value_type": "boolean", "default_variation": "off", "off_variation": "off",
            "variations": [{ "key": "on", "value": true }, { "key": "off", "value": false }],
        });
        for (name, value) in patch.as_object().unwrap() {
            flag[name] = value.clone();
        }
        serde_json::from_value(flag).unwrap()
    }

    fn policy(metrics: &[&str]) -> Policy {
        let guardrails = metrics
            .iter()
            .map(|metric| json!({ "metric": metric, "direction": "increase_is_harm", "threshold": 0.5 }));
        serde_json::from_value(json!({
            "mode": "classic", "treatment_variation": "on", "control_variation": "off", "exposure_percent": 5,
            "control_percent": 10, "guardrails": guardrails.collect::<Vec<_>>(),
        }))
        .unwrap()
    }

    fn cohort(exposed: u32, control: u32) -> Value {
        json!({ "phase": 1, "slices": [
            { "from": 0, "to": exposed, "variation": "on", "arm": "exposed" },
            { "from": 1_000_000 - control, "to": 1_000_000, "variation": "off", "arm": "control" },
        ] })
    }

    fn target(variation: &str, count: usize, attribute: Option<&str>) -> Value {
        let units: Vec<String> = (0..count).map(|n| format!("u{n}")).collect();
        json!({ "variation": variation, "units": units, "attribute": attribute })
    }

    fn rule(key: &str, patch: &Value) -> Value {
        let conditions = json!([{ "attribute": "plan", "op": "in", "values": ["pro"] }]);
        let mut rule = json!({ "key": key, "conditions": conditions, "split": [{ "variation": "on" }] });
        for (name, value) in patch.as_object().unwrap() {
            rule[name] = value.clone();
        }
        rule
    }

    #[test]
    fn a_flag_without_a_fuse_is_told_as_it_decides() {
        let ruled = |rules: Value| json!({ "rules": rules });
        let plain = |patch: Value| rule("r", &patch);
        let all = json!({ "conditions": [] });
        let half = json!({ "conditions": [], "split": [{ "variation": "on" }, { "variation": "off", "weight": 3 }] });
        for (patch, expected) in [
            (json!({}), "Everyone gets `off`."),
            (json!({ "enabled": false }), "Off: everyone gets `off`."),
            (
                json!({ "enabled": false, "off_variation": null }),
                "Off: everyone gets the default in the code.",
            ),
            (json!({ "default_variation": null }), "Everyone gets the default in the code."),
            (
                json!({ "targets": [target("on", 1, None)] }),
                "1 named user gets `on`; everyone else gets `off`.",
            ),
            (
                json!({ "targets": [target("on", 1_200, None), target("off", 1, None), target("on", 2, Some("org"))] }),
                "1,200 named users get `on`, 1 named user gets `off` and 2 values of `org` get `on`; everyone else gets `off`.",
            ),
            (json!({ "targets": [target("on", 0, None)] }), "Everyone gets `off`."),
            (ruled(json!([plain(json!({}))])), "1 rule comes first; everyone else gets `off`."),
            (
                ruled(json!([plain(json!({})), rule("s", &json!({ "conditions": [], "percentage": 50 }))])),
                "2 rules come first; everyone else gets `off`.",
            ),
            (ruled(json!([plain(all.clone())])), "Everyone gets `on`."),
            (
                ruled(json!([plain(json!({})), rule("s", &half)])),
                "1 rule comes first; everyone else gets `on` (25 %) or `off` (75 %).",
            ),
            (
                json!({ "rules": [plain(all)], "targets": [target("off", 2, None)] }),
                "2 named users get `off`; everyone else gets `on`.",
            ),
        ] {
            assert_eq!(sentence(&flag(&patch), None), expected, "{patch}");
        }
    }

    #[test]
    fn a_flag_under_a_fuse_says_whom_the_feature_is_shown_to_and_what_is_watched() {
        let watched = json!({
            "targets": [target("on", 12, None)], "rules": [rule("r", &json!({})), rule("s", &json!({}))],
            "cohort": cohort(50_000, 100_000),
        });
        let whole = policy(&["conversion", "error"]);
        let said = |patch: &Value, circuit, policy: &Policy| {
            sentence(&flag(patch), Some(Watched { circuit, policy }))
        };
        assert_eq!(
            said(&watched, Circuit::Closed, &whole),
            "12 named users get `on`; 2 rules come first; then 5 % see `on`, 10 % are kept as control, everyone else gets \
             `off`. A closed fuse watches conversion and errors."
        );
        let last = json!({ "cohort": cohort(900_000, 100_000) });
        assert_eq!(
            said(&last, Circuit::Closed, &policy(&["latency_ms", "return", "orders"])),
            "90 % see `on`, 10 % are kept as control. A closed fuse watches latency, returns and `orders`."
        );
        let open = json!({ "cohort": { "phase": 2, "slices": [] } });
        assert_eq!(
            said(&open, Circuit::Open, &whole),
            "Everyone gets `off`. An open fuse keeps `on` from everyone."
        );
        assert_eq!(
            said(&json!({ "cohort": cohort(500, 0) }), Circuit::HalfOpen, &policy(&["a", "b", "c", "d"])),
            "0.05 % see `on`, everyone else gets `off`. A half-open fuse tries `on` again and watches 4 metrics."
        );
        let off = json!({ "enabled": false, "cohort": cohort(50_000, 100_000) });
        assert_eq!(said(&off, Circuit::Closed, &whole), "Off: everyone gets `off`.");
    }

    #[test]
    fn what_narrows_a_flag_has_a_sentence_of_its_own() {
        let patch = json!({
            "layer": { "key": "home", "from": 0, "to": 200_000 }, "schedule": { "from_ms": 5 },
            "prerequisites": [{ "flag": "pay", "variations": ["on"] }],
        });
        assert_eq!(
            sentence(&flag(&patch), None),
            "Everyone gets `off`. Only its 20 % of the layer `home` take part. It depends on the flag `pay`. A schedule says \
             when it is on."
        );
        let two = json!([{ "flag": "a", "variations": [] }, { "flag": "b", "variations": [] }]);
        let said = sentence(&flag(&json!({ "prerequisites": two })), None);
        assert_eq!(said, "Everyone gets `off`. It depends on 2 other flags.");
        let many = (0..5).map(|n| target(&format!("v{n}"), 2, None)).collect::<Vec<_>>();
        let said = sentence(&flag(&json!({ "targets": many })), None);
        assert_eq!(said, "10 named users get variations of their own; everyone else gets `off`.");
    }
}
