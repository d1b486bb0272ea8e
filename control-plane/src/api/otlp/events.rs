//! What was found in an export request → events as servers send them, in batches.

use axum::body::Bytes;
use flagfuse_otlp::{Evaluation, Export, Found, Ignored, Refusal, What};
use flagfuse_shared::ids::Scope;
use flagfuse_shared::limits::{
    ADMIN_BODY_LEN_MAX, BATCH_EVENT_COUNT_MAX, EVENT_LEN_MAX, OTLP_EVENTS_LEN_MAX,
};

use crate::api::ApiState;
use crate::api::forward::Passport;
use crate::api::server_events::{UnusableEvent, counted};
use crate::error::{ApiError, Code};
use crate::ingest::{ServerEvents, Standing};

/// Bytes of the events of one batch: another control plane takes its body as that of a server.
const BATCH_LEN_MAX: usize = ADMIN_BODY_LEN_MAX - EVENT_LEN_MAX;

/// An event, and the span, log record or data point that it is of.
pub(super) struct ItemEvent {
    item: u64,
    json: String,
}

/// What becomes of a request.
pub(super) struct Translated {
    pub(super) events: Vec<ItemEvent>,
    pub(super) ignored: Ignored,
    /// With their items.
    pub(super) refused: Vec<(u64, Refusal)>,
}

/// An item of which something could not be used.
pub(super) struct Unusable {
    pub(super) item: u64,
    pub(super) event: UnusableEvent,
}

/// Makes events, with the phases that evaluations belong to.
pub(super) async fn translate(
    state: &ApiState,
    scope: &Scope,
    export: Export<'static>,
) -> Result<Translated, ApiError> {
    let Export { found, mut ignored, .. } = export;
    let evaluations: Vec<&Evaluation<'_>> = found
        .iter()
        .filter_map(|found| match &found.what {
            What::Evaluation(evaluation) => Some(evaluation),
            What::Outcome(_) | What::Refused(_) => None,
        })
        .collect();
    let mut standings = state.ingestion.standings(scope, &evaluations).await?.into_iter();
    let (mut events, mut refused, mut len) = (Vec::new(), Vec::new(), 0);
    for Found { item, what } in &found {
        let json = match what {
            What::Evaluation(evaluation) => match standings.next() {
                Some(Standing::AsItIs) | None => evaluation.event(None),
                Some(Standing::In(phase)) => evaluation.event(Some(phase)),
                Some(Standing::Ignored(reason)) => {
                    ignored.add(reason);
                    continue;
                }
            },
            What::Outcome(outcome) => outcome.event(),
            What::Refused(refusal) => {
                refused.push((*item, *refusal));
                continue;
            }
        };
        len += json.len();
        if len > OTLP_EVENTS_LEN_MAX {
            let detail = format!(
                "the events of the body take more than the limit of {OTLP_EVENTS_LEN_MAX} bytes: send smaller batches"
            );
            return Err(ApiError::new(Code::TooLarge, detail));
        }
        events.push(ItemEvent { item: *item, json });
    }
    Ok(Translated { events, ignored, refused })
}

/// Counts events, batch by batch; the same events make the same batches. Tells those that could not be used.
pub(super) async fn count(
    state: &ApiState,
    scope: &Scope,
    (sdk, events): (&str, &[ItemEvent]),
    passport: &Passport,
) -> Result<Vec<Unusable>, ApiError> {
    let mut unusable = Vec::new();
    let mut rest = events;
    while !rest.is_empty() {
        let (batch, later) = rest.split_at(fitting(rest));
        rest = later;
        let events = ServerEvents::of_events(sdk.to_owned(), batch.iter().map(|event| event.json.as_str()));
        let body = || Bytes::from(events.body());
        let answer = counted(state, scope, &events, passport.with_json(), body).await?;
        for event in answer.quarantined {
            let at = usize::try_from(event.index).ok().and_then(|index| batch.get(index));
            unusable.extend(at.map(|ItemEvent { item, .. }| Unusable { item: *item, event }));
        }
    }
    Ok(unusable)
}

/// How many events make a batch, one at least.
fn fitting(events: &[ItemEvent]) -> usize {
    let mut len = 0;
    let fits = |event: &&ItemEvent| {
        len += event.json.len() + 1;
        len <= BATCH_LEN_MAX
    };
    events.iter().take(BATCH_EVENT_COUNT_MAX).take_while(fits).count().max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn events(count: usize, len: usize) -> Vec<ItemEvent> {
        (0..count).map(|item| ItemEvent { item: item as u64, json: "x".repeat(len) }).collect()
    }

    #[test]
    fn batches_have_as_many_events_as_fit() {
        assert_eq!(fitting(&events(5_000, 10)), BATCH_EVENT_COUNT_MAX);
        assert_eq!(fitting(&events(7, 10)), 7);
        assert_eq!(fitting(&events(500, 4_095)), BATCH_LEN_MAX / EVENT_LEN_MAX);
        assert_eq!(fitting(&events(2, 2 * BATCH_LEN_MAX)), 1);
    }
}
