//! Quarantined events once more, after what was wrong is mended: first whether they would pass now, then through the same
//! checks and the same dedupe as any event. What they count as becomes known now, so they touch no closed cell.

use axum::body::Bytes;
use flagfuse_shared::contract::beacon::{IngestBatch, SourceMark};
use flagfuse_shared::contract::fault::QuarantineCode;
use flagfuse_shared::digest::Digest;
use flagfuse_shared::ids::{Scope, UnixMillis};
use serde::Serialize;
use serde_json::value::RawValue;

use super::error::IngestError;
use super::resolve::What;
use super::{Answered, Ingestion, read_all, resolve};
use crate::store::quarantine_groups::WaitingEvent;

/// Under this name, with that of the place, the control plane delivers to itself.
const BUFFER_ID: &str = "replay";
/// Numbers that batches of one millisecond have.
const NUMBERS_A_MILLISECOND: u64 = 1_000;

/// A batch in format 2 with one request an event.
#[expect(clippy::struct_field_names, reason = "the names in JSON")]
#[derive(Serialize)]
struct Batch<'e> {
    format: u32,
    buffer_id: String,
    batch_seq: u64,
    tenant: &'e str,
    project: &'e str,
    environment: &'e str,
    region: &'static str,
    rests: bool,
    requests: Vec<Request<'e>>,
}

#[derive(Serialize)]
struct Request<'e> {
    received_ms: UnixMillis,
    sent_ms: Option<UnixMillis>,
    source: SourceMark,
    network: u32,
    is_bot: bool,
    sdk: &'e str,
    events: [Box<RawValue>; 1],
}

/// One event's bytes, if they are JSON; what was cut off is none.
fn request(event: &WaitingEvent) -> Option<Request<'_>> {
    let raw = RawValue::from_string(event.raw.clone()).ok()?;
    // Whoever vouched for it then does so now.
    let mark = SourceMark::ALL.into_iter().find(|mark| mark.as_str() == event.source);
    Some(Request {
        received_ms: event.received_ms,
        sent_ms: event.sent_ms,
        source: mark.unwrap_or(SourceMark::None),
        network: u32::try_from(event.network).unwrap_or_default(),
        is_bot: event.is_bot,
        sdk: &event.sdk,
        events: [raw],
    })
}

/// Batches are named in a tenant; those of one place may have the number of another's.
fn buffer_id(scope: &Scope) -> String {
    let place = Digest::of(scope.to_string().as_bytes()).to_string();
    format!("{BUFFER_ID}-{}", place.get(..16).unwrap_or_default())
}

fn body(scope: &Scope, events: &[&WaitingEvent], now: UnixMillis) -> Bytes {
    // No two replays of one millisecond begin with the same event.
    let first = events.first().map_or(0, |event| event.quarantine_id.unsigned_abs());
    let batch = Batch {
        format: flagfuse_shared::contract::beacon::FORMAT,
        buffer_id: buffer_id(scope),
        batch_seq: now.0 * NUMBERS_A_MILLISECOND + first % NUMBERS_A_MILLISECOND,
        tenant: scope.tenant.as_str(),
        project: scope.project.as_str(),
        environment: scope.environment.as_str(),
        region: "",
        rests: true,
        requests: events.iter().filter_map(|event| request(event)).collect(),
    };
    serde_json::to_vec(&batch).unwrap_or_default().into()
}

impl Ingestion {
    /// The code with which each event would be refused now; `None` for those that would pass. What is beyond what its key may
    /// enrol passes for who asks for that code `named`: nothing was wrong with it but that there was so much.
    pub async fn rehearse(
        &self,
        scope: &Scope,
        events: &[WaitingEvent],
        named: Option<&str>,
    ) -> Result<Vec<Option<String>>, IngestError> {
        let is_held = |event: &WaitingEvent| {
            event.code == QuarantineCode::RateLimited.as_str() && named != Some(event.code.as_str())
        };
        let is_out = |event: &WaitingEvent| is_held(event) || request(event).is_none();
        let mut codes: Vec<Option<String>> =
            events.iter().map(|event| is_out(event).then(|| event.code.clone())).collect();
        let readable: Vec<&WaitingEvent> =
            events.iter().zip(&codes).filter(|(_, code)| code.is_none()).map(|(event, _)| event).collect();
        let body = body(scope, &readable, self.shared.surroundings.clock.now());
        let batch = IngestBatch::parse(&body)?;
        let partition = self.partition(scope);
        let (events, names) = read_all(&batch);
        partition.context.prepare(&names).await?;
        let refused: Option<Vec<Option<String>>> = partition.context.known(|catalogue| {
            if !catalogue.has(&names) {
                return None;
            }
            let resolver = self.resolver(&scope.tenant, &batch.head, catalogue);
            let code = |event| {
                let What::Refused(fault, _) = resolve(&resolver, &body, event).what else { return None };
                Some(fault.code.as_str().to_owned())
            };
            Some(events.into_iter().enumerate().map(code).collect())
        });
        let refused = refused.ok_or(IngestError::Opening)?;
        let readable = codes.iter_mut().filter(|code| code.is_none());
        readable.zip(refused).for_each(|(code, refused)| *code = refused);
        Ok(codes)
    }

    /// Counts events that [`Self::rehearse`] let pass, and notes in the same transaction that they are: what was counted
    /// before counts nothing, whoever asks for it at the same time.
    pub async fn replay(&self, scope: &Scope, events: &[&WaitingEvent]) -> Result<Answered, IngestError> {
        let now = self.shared.surroundings.clock.now();
        let replays = events.iter().map(|event| (event.quarantine_id, event.code.clone())).collect();
        let counted = self.count(&scope.tenant, body(scope, events, now), replays, false).await;
        counted.map(|(answered, _)| answered)
    }
}
