//! Why an event is refused: a code for programs, and for people the field and a sentence. Names no unit.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::ids::UnixMillis;
use crate::strict::Fault;

/// What people who send seconds are told, and nobody else: a clock that is wrong by less than this, read as seconds.
const SECONDS_AGE_MS_MAX: f64 = 366.0 * 24.0 * 3_600_000.0;

/// Why an event is quarantined; stable words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum QuarantineCode {
    /// No JSON.
    BadJson,
    /// A field is missing, comes twice or has the wrong type.
    BadSchema,
    /// The flag does not exist.
    UnknownFlag,
    /// The environment does not exist.
    UnknownEnvironment,
    /// There is no unit.
    UnitMissing,
    /// Older than the horizon of the dedupe.
    TooOld,
    /// Dated ahead.
    Future,
    /// The same id came before with other content.
    IdConflict,
    /// Longer than the limit.
    Oversize,
    /// The claimed variation is not what this unit gets in that phase.
    VariantMismatch,
    /// An exposure that is dated before the phase it names, or that claims its first seconds long after them.
    TooEarly,
    /// The unit has done more on that day than any unit may.
    UnitFlood,
    /// It could not be applied, again and again, though nothing is wrong with it: a fault of ours.
    Unprocessable,
    /// Usage beyond what any client can have counted.
    ImplausibleCount,
    /// An exposure beyond what its key and network may enrol in a minute.
    RateLimited,
}

impl QuarantineCode {
    /// The word in JSON and SQL.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::BadJson => "bad_json",
            Self::BadSchema => "bad_schema",
            Self::UnknownFlag => "unknown_flag",
            Self::UnknownEnvironment => "unknown_environment",
            Self::UnitMissing => "unit_missing",
            Self::TooOld => "too_old",
            Self::Future => "future",
            Self::IdConflict => "id_conflict",
            Self::Oversize => "oversize",
            Self::VariantMismatch => "variant_mismatch",
            Self::TooEarly => "too_early",
            Self::UnitFlood => "unit_flood",
            Self::Unprocessable => "unprocessable",
            Self::ImplausibleCount => "implausible_count",
            Self::RateLimited => "rate_limited",
        }
    }
}

/// Why an event cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, thiserror::Error)]
#[error("{reason}")]
pub struct EventFault {
    /// Stable word.
    pub code: QuarantineCode,
    /// Which field, when it is about one.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub field: String,
    /// A sentence that names the limit.
    pub reason: String,
}

impl EventFault {
    /// About the event as a whole.
    pub fn of(code: QuarantineCode, reason: impl Into<String>) -> Self {
        Self { code, field: String::new(), reason: reason.into() }
    }

    /// About a field that is missing or malformed.
    pub fn in_field(field: impl Into<String>, reason: impl Into<String>) -> Self {
        Self::of(QuarantineCode::BadSchema, reason).with_field(field)
    }

    /// The same about a field.
    #[must_use]
    pub fn with_field(self, field: impl Into<String>) -> Self {
        Self { field: field.into(), ..self }
    }

    /// With a likelier explanation of a wrong `occurred_ms`, where there is one.
    #[must_use]
    pub(super) fn in_seconds(self, explanation: Option<&str>) -> Self {
        match explanation.filter(|_| self.field == "occurred_ms") {
            Some(reason) => Self { reason: reason.to_owned(), ..self },
            None => self,
        }
    }
}

impl From<Fault> for EventFault {
    fn from(fault: Fault) -> Self {
        let reason = fault.of("the event");
        match fault {
            Fault::NotJson { .. } => Self::of(QuarantineCode::BadJson, reason),
            Fault::DuplicateKey { .. } => Self::of(QuarantineCode::BadSchema, reason),
            Fault::Shape(misfit) if misfit.is_missing() => Self::in_field(
                misfit.field(),
                format!("{reason}: every event has an id, a type and occurred_ms"),
            ),
            Fault::Shape(misfit) => Self::in_field(misfit.field(), reason),
        }
    }
}

/// A sentence for a time that is near `received` when it is read as seconds.
pub(super) fn looks_like_seconds(written: Option<&Value>, received: UnixMillis) -> Option<String> {
    let written = written?;
    are_seconds(written.as_f64()?, received).then(|| {
        format!(
            "occurred_ms is {written}: looks like seconds, expected milliseconds since 1970, such as {}",
            received.0
        )
    })
}

/// Whether a number is a time near `received` when it is read as seconds.
pub(super) fn are_seconds(number: f64, received: UnixMillis) -> bool {
    #[expect(clippy::cast_precision_loss, reason = "a time of this century has 41 bits")]
    let away_ms = (number * 1_000.0 - received.0 as f64).abs();
    away_ms <= SECONDS_AGE_MS_MAX
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::beacon::parse_event;
    use super::*;

    const NOW: UnixMillis = UnixMillis(1_800_000_000_000);

    fn fault(event: &Value) -> (&'static str, String, String) {
        let fault = parse_event(&event.to_string(), NOW, None).unwrap_err();
        (fault.code.as_str(), fault.field, fault.reason)
    }

    fn outcome() -> Value {
        json!({ "id": "e", "type": "outcome", "unit": "u", "occurred_ms": NOW, "metric": "conversion" })
    }

    #[test]
    fn a_refusal_names_its_field_and_what_is_allowed() {
        let with = |name: &str, value: Value| {
            let mut event = outcome();
            event[name] = value;
            event
        };
        let without = |name: &str| {
            let mut event = outcome();
            event.as_object_mut().unwrap().remove(name);
            event
        };
        for (event, code, field, said) in [
            (json!([]), "bad_schema", "", "the event must be an object, but is an array"),
            (without("id"), "bad_schema", "id", "id is missing"),
            (with("id", json!("")), "bad_schema", "id", "id has 0 bytes, allowed are 1 to 64"),
            (without("unit"), "unit_missing", "unit", "unit is missing: it says who did it"),
            (without("type"), "bad_schema", "type", "type is missing"),
            (
                with("type", json!("outcom")),
                "bad_schema",
                "type",
                r#"type must be "exposure", "outcome", "usage" or "link", but is the string "outcom"; did you mean "outcome"?"#,
            ),
            (with("type", json!(7)), "bad_schema", "type", r#"or "link", but is 7"#),
            (
                without("metric"),
                "bad_schema",
                "metric",
                r#"metric is missing: every event of type "outcome" names one"#,
            ),
            (
                with("metric", json!("Buy now")),
                "bad_schema",
                "metric",
                "metric key has the character 'B'; allowed: a-z",
            ),
            (
                with("value", json!("7")),
                "bad_schema",
                "value",
                r#"value must be a number, but is the string "7""#,
            ),
            (without("occurred_ms"), "bad_schema", "occurred_ms", "occurred_ms is missing"),
            (
                with("occurred_ms", json!(1_800_000_000)),
                "too_old",
                "occurred_ms",
                "occurred_ms is 1800000000: looks like seconds, expected milliseconds since 1970, such as 1800000000000",
            ),
            (with("occurred_ms", json!(1_799_999_999.25)), "bad_schema", "occurred_ms", "looks like seconds"),
            (with("occurred_ms", json!(1)), "too_old", "occurred_ms", "the limit is 1209600000 ms (14 days)"),
            (
                with("occurred_ms", json!(NOW.0 + 300_001)),
                "future",
                "occurred_ms",
                "300001 ms after the edge's clock, the limit is 300000 ms",
            ),
        ] {
            let (found, at, reason) = fault(&event);
            assert_eq!((found, at.as_str()), (code, field), "{reason}");
            assert!(reason.contains(said), "{reason}");
            assert!(!reason.contains("invalid type") && !reason.contains("variant"), "{reason}");
        }
    }

    #[test]
    fn seconds_are_told_also_where_the_batch_was_sent_in_seconds() {
        let mut event = outcome();
        event["occurred_ms"] = json!(1_800_000_000);
        let fault = parse_event(&event.to_string(), NOW, Some(UnixMillis(1_800_000_002))).unwrap_err();
        assert_eq!((fault.code.as_str(), fault.field.as_str()), ("too_old", "occurred_ms"));
        assert!(fault.reason.contains("looks like seconds"), "{}", fault.reason);
    }

    #[test]
    fn seconds_are_told_from_times_that_are_old() {
        let year_s = 366 * 24 * 3_600;
        for (ms, is_seconds) in [
            (NOW.0 / 1_000 - year_s, true),
            (NOW.0 / 1_000 - year_s - 1, false),
            (NOW.0 / 1_000 + year_s, true),
            (NOW.0 / 1_000 + year_s + 1, false),
        ] {
            assert_eq!(looks_like_seconds(Some(&json!(ms)), NOW).is_some(), is_seconds, "{ms}");
        }
    }
}
