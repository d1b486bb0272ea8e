//! What an answer says beside what was asked for: what is allowed and may not have been meant, and who will not see it.

use flagfuse_cells::schedule::matures;
use flagfuse_shared::definition::FlagWire;
use flagfuse_shared::ids::{Scope, UnixMillis};
use flagfuse_shared::snapshot::AutoExposure;
use flagfuse_shared::unleash::export::left_out;
use flagfuse_stats::certificate::{Certificates, margins};

use crate::error::ApiError;
use crate::figures::{percent, span};
use crate::model::evidence::harm;
use crate::model::policy::{Advance, Policy};
use crate::store::scopes::EnvironmentRow;
use crate::store::{Connection, buffers, flags, parts};

/// Notes about a flag as it was written.
pub(super) fn of_flag(wire: &FlagWire) -> Vec<String> {
    let shares = wire.rules.iter().enumerate().filter_map(|(at, rule)| {
        let share = rule.percentage?;
        small(&format!("rules[{at}].percentage"), share)
    });
    shares.collect()
}

/// Notes about a policy as it was written.
pub(super) fn of_policy(policy: &Policy) -> Vec<String> {
    let Some(ramp) = &policy.ramp else {
        let fields = [
            ("exposure_percent", policy.exposure_percent),
            ("control_percent", policy.control_percent),
            ("half_open_percent", policy.half_open_percent),
        ];
        return fields.into_iter().filter_map(|(field, share)| small(field, share)).collect();
    };
    let stages = ramp.stages.iter().enumerate().flat_map(|(at, stage)| {
        let field = |name: &str| format!("ramp.stages[{at}].{name}");
        [
            small(&field("exposed_percent"), stage.exposed_percent),
            small(&field("control_percent"), stage.control_percent),
        ]
    });
    stages.flatten().chain(of_ramp(policy)).collect()
}

/// What keeps a ramp by risk from its last stage, or for long.
fn of_ramp(policy: &Policy) -> Vec<String> {
    const LONG_MS: u64 = 24 * 3_600_000;
    let Some(ramp) = policy.ramp.as_ref().filter(|ramp| ramp.advance == Advance::Risk) else {
        return Vec::new();
    };
    let exposed = 1.0 - ramp.hold_back_percent / 100.0;
    let mut notes = Vec::new();
    for guardrail in policy.guardrails.iter().filter(|guardrail| !ramp.exempt.contains(&guardrail.metric)) {
        let (metric, Ok(harm)) = (&guardrail.metric, harm(guardrail)) else { continue };
        let budget = ramp.harm_budget.unwrap_or_else(|| harm.theta());
        let [.., smallest] = margins(harm.direction());
        let needed = Certificates::needed(harm.direction(), budget, exposed).unwrap_or(smallest);
        if needed < smallest {
            notes.push(format!(
                "ramp: the last stage asks for a harm of {metric} of {} to be excluded, and {} is the smallest that can be: a \
                 person opens it, or take a larger harm_budget, exempt, or advance by power",
                percent(needed),
                percent(smallest),
            ));
        }
        let matures_ms = matures(guardrail.window().within_ms);
        if matures_ms > LONG_MS {
            notes.push(format!(
                "ramp: {metric} is read {} after a unit enrolled, for which each stage waits unless exempt names it",
                span(matures_ms)
            ));
        }
    }
    notes
}

/// Whom a fuse with this policy would have to take at their word.
pub(super) async fn unguarded(
    conn: &mut Connection,
    environment: &EnvironmentRow,
    policy: &Policy,
    now: UnixMillis,
) -> Result<Vec<String>, ApiError> {
    let open = buffers::regions_without_tickets(conn, &environment.scope, now).await?;
    let mut notes = Vec::new();
    if !open.is_empty() && policy.outcomes_from.is_anybody() {
        notes.push(format!(
            "unguarded: edges in {} have no secret for tickets, so whoever has a client key reports outcomes of any unit; \
             set FLAGFUSE_TICKET_SECRETS there, or count outcomes_from \"server\" alone",
            open.join(", ")
        ));
    }
    if !open.is_empty() && !policy.units.is_any() {
        notes.push(format!(
            "unguarded: units is \"signed\", and edges in {} have no secret for tickets, so what clients report that they \
             were shown enrols nobody: set FLAGFUSE_TICKET_SECRETS there",
            open.join(", ")
        ));
    }
    if environment.settings.auto_exposure == AutoExposure::Off {
        notes.push(
            "unguarded: auto_exposure is \"off\", so no edge records whom it shows the feature, and a unit enrols only \
             where its client says so"
                .to_owned(),
        );
    }
    Ok(notes)
}

/// Whoever thinks in fractions writes 0.1 for a tenth.
fn small(field: &str, share: f64) -> Option<String> {
    let is_small = share > 0.0 && share < 1.0;
    is_small.then(|| {
        let meant = (share * 100_000.0).round() / 1_000.0;
        format!("{field} is {share}, which is {share} % and not {meant} %: it goes from 0 to 100")
    })
}

/// Why Unleash's SDKs answer `false` for a flag, where they do.
pub(super) async fn unleash_sdk(
    conn: &mut Connection,
    scope: &Scope,
    wire: &FlagWire,
) -> Result<Option<String>, ApiError> {
    let shared = parts::environment_parts(conn, scope).await?;
    let mut prerequisites = Vec::new();
    for prerequisite in &wire.prerequisites {
        prerequisites.extend(flags::flag(conn, scope, &prerequisite.flag).await?.map(|row| row.wire));
    }
    let reason = left_out(wire, &prerequisites, &shared);
    Ok(reason.map(|reason| format!("left out: {reason}")))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn a_ramp_that_waits_for_long_or_for_ever_is_noted() {
        let notes = |ramp: Value| {
            let policy = json!({
                "mode": "anytime", "treatment_variation": "on", "control_variation": "off", "ramp": ramp, "guardrails": [
                    { "metric": "error", "direction": "increase_is_harm", "threshold": 0.02 },
                    { "metric": "return", "direction": "decrease_is_harm", "threshold": -0.1 },
                ],
            });
            of_policy(&Policy::parse(policy).unwrap())
        };
        let found = notes(json!({}));
        assert!(
            found[0].contains("a harm of error of 2.1 % to be excluded, and 5 % is the smallest"),
            "{found:?}"
        );
        assert!(found[1].starts_with("ramp: return is read 8 d after"), "{found:?}");
        assert_eq!(notes(json!({ "harm_budget": 0.1, "exempt": ["return"] })), [""; 0]);
        assert_eq!(notes(json!({ "advance": "time" })), [""; 0]);
    }

    #[test]
    fn shares_below_one_percent_are_noted_and_others_are_not() {
        let said = small("rules[0].percentage", 0.1).unwrap();
        assert_eq!(said, "rules[0].percentage is 0.1, which is 0.1 % and not 10 %: it goes from 0 to 100");
        assert!(small("f", 0.07).unwrap().contains("0.07 % and not 7 %"));
        for plain in [0.0, 1.0, 50.0, 100.0] {
            assert_eq!(small("f", plain), None, "{plain}");
        }
    }
}
