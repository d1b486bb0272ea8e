//! Which changes somebody has to hear of, and what they are told. The words are stored, so none is ever renamed.

use serde_json::{Map, Value};

use super::action::Action;
use super::kinds::Actor;
use crate::model::circuit::Circuit;

/// What is told of a change.
#[derive(Debug, PartialEq)]
pub(super) struct Notice {
    pub(super) kind: &'static str,
    /// What the audit trail has of it, and who did it.
    pub(super) body: Value,
}

impl Notice {
    /// What is told of a change with this detail; `None` where nobody waits for it.
    pub(super) fn of(action: Action, detail: &Value, actor: &Actor) -> Option<Self> {
        let kind = match action {
            Action::FuseTransition => moved(detail)?,
            Action::Promote => "rollout.promoted",
            _ => return None,
        };
        let mut body: Map<String, Value> = detail.as_object().cloned().unwrap_or_default();
        // Askers that were compared say nothing to whom a fuse wakes up.
        body.remove("decisions");
        body.insert("actor".to_owned(), Value::from(actor.name.as_str()));
        Some(Self { kind, body: Value::Object(body) })
    }
}

/// Where a fuse went; nothing of one that stayed there, of which only the phase is another one.
fn moved(detail: &Value) -> Option<&'static str> {
    let circuit = |field: &str| detail.get(field).and_then(Value::as_str).and_then(Circuit::parse);
    if detail.get("slices").is_some() {
        return Some("fuse.slice_open");
    }
    let to = circuit("to").filter(|to| circuit("from") != Some(*to))?;
    Some(match to {
        Circuit::Open => "fuse.open",
        Circuit::HalfOpen => "fuse.half_open",
        Circuit::Closed => "fuse.closed",
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::change::testing::scope;

    #[test]
    fn a_notice_says_where_a_fuse_went_and_who_moved_it() {
        let actor = Actor { tenant: scope().tenant, name: "fuse".to_owned() };
        let detail = |from: &str, to: &str| json!({ "from": from, "to": to, "reason": "r", "decisions": {} });
        for (from, to, kind) in [
            ("CLOSED", "OPEN", Some("fuse.open")),
            ("OPEN", "HALF_OPEN", Some("fuse.half_open")),
            ("HALF_OPEN", "CLOSED", Some("fuse.closed")),
            ("CLOSED", "CLOSED", None),
            ("OPEN", "elsewhere", None),
        ] {
            let found = Notice::of(Action::FuseTransition, &detail(from, to), &actor);
            assert_eq!(found.as_ref().map(|notice| notice.kind), kind, "{from} {to}");
            let body = json!({ "from": from, "to": to, "reason": "r", "actor": "fuse" });
            assert!(found.is_none_or(|notice| notice.body == body));
        }
        let mut of_slice = detail("CLOSED", "CLOSED");
        of_slice["slices"] = json!([{ "attribute": "device", "value": "mobile" }]);
        let kind = Notice::of(Action::FuseTransition, &of_slice, &actor).map(|notice| notice.kind);
        assert_eq!(kind, Some("fuse.slice_open"));
        assert_eq!(Notice::of(Action::PutFlag, &detail("CLOSED", "OPEN"), &actor), None);
    }
}
