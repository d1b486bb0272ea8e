//! What one change made of many things, for its one entry in the audit trail. Never changes anything.

use super::environment::{Environment, Touched};
use super::flag::definition;
use crate::model::changed_fields::ChangedPart;
use crate::model::field_diff::member;
use crate::store::parts::Part;

/// Each thing that was touched, under its pointer: `/flags/checkout`, `/segments/beta`, `/holdout`.
pub(super) fn changed<'e>(
    before: &'e Environment,
    after: &'e Environment,
    touched: &'e [Touched<'e>],
) -> impl Iterator<Item = ChangedPart> + 'e {
    touched.iter().map(move |touched| {
        let part = |list: &str, part: Part, key: &str| ChangedPart {
            pointer: member(list, key),
            before: before.part(part, key),
            after: after.part(part, key),
        };
        match touched {
            Touched::Flag(key) => ChangedPart {
                pointer: member("/flags", key),
                before: before.flags.get(key).map(definition),
                after: after.flags.get(key).map(definition),
            },
            Touched::Segment(key) => part("/segments", Part::Segment, key),
            Touched::Layer(key) => part("/layers", Part::Layer, key),
            Touched::Holdout => ChangedPart { pointer: "/holdout".to_owned(), ..part("", Part::Holdout, "") },
        }
    })
}
