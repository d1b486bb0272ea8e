//! What to do about events that cannot be counted, by the code that they are refused with. Pure.

use flagfuse_shared::contract::fault::QuarantineCode;

/// What to do, in a sentence or two; of a code that nobody knows, where to look.
pub fn remedy(code: &str) -> &'static str {
    let known = serde_json::from_value::<QuarantineCode>(code.into());
    match known {
        Ok(QuarantineCode::BadJson) => "Send each event as one JSON object; the sample shows what arrived.",
        Ok(QuarantineCode::BadSchema) => {
            "Mend the field that is named, or update the SDK; events of the new shape count, these stay as they are."
        }
        Ok(QuarantineCode::UnknownFlag) => {
            "Make the flag, or take it out of the code that sends the events; once it is there, replay them."
        }
        Ok(QuarantineCode::UnknownEnvironment) => {
            "Make the environment, or mend the project and environment that the sender names; then replay the events."
        }
        Ok(QuarantineCode::UnitMissing) => {
            "Send the unit with each event: the targetingKey that the flag was asked with."
        }
        Ok(QuarantineCode::TooOld) => {
            "Deliver events within 14 days; a client whose clock is wrong has to send sent_ms beside them."
        }
        Ok(QuarantineCode::Future) => {
            "Set the sender's clock, or send sent_ms beside the events, so that it is corrected."
        }
        Ok(QuarantineCode::IdConflict) => {
            "Give each event an id of its own; a repeat has to be the same event."
        }
        Ok(QuarantineCode::Oversize) => "Send less with one event: 4 KiB are taken.",
        Ok(QuarantineCode::VariantMismatch) => {
            "Report the variation that was served, with the phase that came with it; do not evaluate a second time."
        }
        Ok(QuarantineCode::TooEarly) => {
            "Report an exposure when the feature is shown, with the phase that came with the answer."
        }
        Ok(QuarantineCode::UnitFlood) => {
            "Look who the unit is: a shared or a test account does more than anybody can. Give each user a unit of its own."
        }
        Ok(QuarantineCode::Unprocessable) => {
            "Nothing is wrong with the events: replay them, and tell us if they are refused again."
        }
        Ok(QuarantineCode::ImplausibleCount) => {
            "Update the SDK that reports usage: no client counts that much."
        }
        Ok(QuarantineCode::RateLimited) => {
            "If the traffic is real, raise enrolments_per_minute of the environment, and replay the events by this code."
        }
        Err(_) => "Look at the reason and the sample.",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_has_a_remedy_of_its_own_in_whole_sentences() {
        let codes = [
            QuarantineCode::BadJson,
            QuarantineCode::BadSchema,
            QuarantineCode::UnknownFlag,
            QuarantineCode::UnknownEnvironment,
            QuarantineCode::UnitMissing,
            QuarantineCode::TooOld,
            QuarantineCode::Future,
            QuarantineCode::IdConflict,
            QuarantineCode::Oversize,
            QuarantineCode::VariantMismatch,
            QuarantineCode::TooEarly,
            QuarantineCode::UnitFlood,
            QuarantineCode::Unprocessable,
            QuarantineCode::ImplausibleCount,
            QuarantineCode::RateLimited,
        ];
        let mut seen = vec![remedy("nobody_knows")];
        for code in codes {
            let words = remedy(code.as_str());
            assert!(words.ends_with('.') && !seen.contains(&words), "{}: {words}", code.as_str());
            seen.push(words);
        }
    }
}
