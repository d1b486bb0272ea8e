//! What an answer says beside what was asked for: what is allowed and may not have been meant, and who will not see it.

use flagfuse_shared::definition::FlagWire;
use flagfuse_shared::ids::{Scope, UnixMillis};
use flagfuse_shared::snapshot::AutoExposure;
use flagfuse_shared::unleash::export::left_out;

use crate::error::ApiError;
use crate::model::policy::Policy;
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
    let fields = [
        ("exposure_percent", policy.exposure_percent),
        ("control_percent", policy.control_percent),
        ("half_open_percent", policy.half_open_percent),
    ];
    fields.into_iter().filter_map(|(field, share)| small(field, share)).collect()
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
    use super::*;

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
