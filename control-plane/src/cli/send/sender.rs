//! One of the tasks that send: a batch at a time, again and again until it is taken, or nothing can come of it.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use axum::body::Bytes;
use flagfuse_control_plane::random::jitter_ms;
use flagfuse_shared::strict;
use serde::Deserialize;
use tokio::sync::{Mutex, mpsc};
use tokio::time::timeout;

use super::super::with_causes;
use super::connection::{Answer, Connection};
use super::cut::Batch;
use super::reject::Reject;
use super::retry::{Next, next, pause};
use super::shared::{Leave, Shared};
use super::tally::Answered;

/// A batch to send.
pub(super) struct Piece {
    pub(super) batch: Batch,
    pub(super) leave: Leave,
}

/// A batch that is taken.
pub(super) struct Sent {
    /// Without its body.
    pub(super) batch: Batch,
    pub(super) answered: Answered,
    _leave: Leave,
}

/// What the control plane answers, see `EventsAnswer` of the API.
#[derive(Deserialize)]
struct Said {
    accepted: u64,
    duplicate: u64,
    quarantined: Vec<Unusable>,
}

#[derive(Deserialize)]
struct Unusable {
    index: usize,
    code: String,
    field: Option<String>,
    reason: String,
}

/// Sends until there is nothing more, or it is to stop.
pub(super) async fn run(
    shared: Arc<Shared>,
    pieces: Arc<Mutex<mpsc::Receiver<Piece>>>,
    results: mpsc::Sender<anyhow::Result<Sent>>,
) {
    let mut connection = Connection::new(Arc::clone(&shared.target));
    while !shared.has_stopped() {
        let piece = pieces.lock().await.recv().await;
        let Some(Piece { mut batch, leave }) = piece else { return };
        let answered = match deliver(&shared, &mut connection, &batch).await {
            Ok(Some(answered)) => answered,
            Ok(None) => return,
            Err(error) => {
                shared.stop.send_replace(true);
                let _nobody_listens = results.send(Err(error)).await;
                return;
            }
        };
        batch.body = Bytes::new();
        if results.send(Ok(Sent { batch, answered, _leave: leave })).await.is_err() {
            return;
        }
    }
}

/// What came of a batch; nothing where it was to stop before it was taken.
async fn deliver(
    shared: &Shared,
    connection: &mut Connection,
    batch: &Batch,
) -> anyhow::Result<Option<Answered>> {
    if batch.numbers.is_empty() {
        return Ok(Some(Answered::default()));
    }
    let mut stop = shared.stop.subscribe();
    let mut failed = 0;
    while !shared.has_stopped() {
        let (why, asked) = match connection.post(batch.body.clone()).await {
            Ok(answer) => match next(answer.status, answer.retry_after.as_deref()) {
                Next::Taken => {
                    shared.note_taken();
                    return read(&answer, batch).map(Some);
                }
                Next::Stop => bail!("{}", refusal(&answer, batch)),
                Next::Again(asked) => {
                    // Whoever is too busy has not begun.
                    if !matches!(answer.status, 429 | 503) {
                        shared.is_touched.store(true, Ordering::SeqCst);
                    }
                    (problem(&answer), asked)
                }
            },
            Err(unanswered) => {
                if unanswered.was_sent {
                    shared.is_touched.store(true, Ordering::SeqCst);
                }
                (with_causes(&unanswered.error), Duration::ZERO)
            }
        };
        failed += 1;
        shared.note_trouble(&why)?;
        let _is_to_stop = timeout(pause(failed, asked, jitter_ms), stop.wait_for(|stop| *stop)).await;
    }
    Ok(None)
}

/// Reads what is said of a batch; every event of it has to be accounted for.
fn read(answer: &Answer, batch: &Batch) -> anyhow::Result<Answered> {
    let said: Said = strict::from_slice(&answer.body)
        .map_err(|fault| anyhow::anyhow!("the answer is none of a control plane: {}", fault.of("it")))?;
    let Said { accepted, duplicate, quarantined } = said;
    let count = |count: usize| count as u64;
    let told = accepted.saturating_add(duplicate).saturating_add(count(quarantined.len()));
    ensure!(
        told == count(batch.numbers.len()),
        "the answer accounts for {told} events, {} were sent",
        batch.numbers.len()
    );
    let quarantined = quarantined.into_iter().map(|Unusable { index, code, field, reason }| {
        let line = batch.numbers.get(index).copied();
        let line = line.with_context(|| format!("the answer names event {index}, which was not sent"))?;
        Ok(Reject { line, code, field, reason })
    });
    Ok(Answered { accepted, duplicate, quarantined: quarantined.collect::<anyhow::Result<_>>()? })
}

/// Why nothing can come of a batch.
fn refusal(answer: &Answer, batch: &Batch) -> String {
    let first = batch.numbers.first().copied().unwrap_or_default();
    let last = batch.numbers.last().copied().unwrap_or_default();
    let hint = match answer.status {
        401 => "; the token is to be one of kind server, in --token-file FILE or FLAGFUSE_TOKEN",
        413 => "; a proxy may allow less than a control plane, see --batch",
        _ => "",
    };
    format!("lines {first} to {last} are refused: {}{hint}", problem(answer))
}

/// An answer that is none to a batch, in words.
fn problem(answer: &Answer) -> String {
    let status = answer.status;
    if let Some(location) = &answer.location {
        return format!("status {status}, which leads to {location:?}: say that --url");
    }
    let value = strict::parse(&answer.body).unwrap_or_default();
    let text = |name: &str| value.get(name).and_then(serde_json::Value::as_str);
    match (text("code"), text("detail")) {
        (Some(code), Some(detail)) => format!("status {status} {code}: {detail}"),
        _ => format!("status {status}"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::cut::Place;
    use super::*;

    fn batch() -> Batch {
        Batch {
            number: 0,
            until: Place::default(),
            lines: 4,
            blank: 1,
            body: Bytes::from_static(b"1\n2\n3\n"),
            numbers: vec![11, 13, 14],
            unsent: Vec::new(),
        }
    }

    fn answer(status: u16, body: &serde_json::Value) -> Answer {
        Answer { status, retry_after: None, location: None, body: body.to_string().into() }
    }

    #[test]
    fn an_answer_accounts_for_every_event_and_names_lines() {
        let bad = json!({ "index": 1, "code": "bad_schema", "field": "id", "reason": "id is missing" });
        let found =
            read(&answer(200, &json!({ "accepted": 1, "duplicate": 1, "quarantined": [bad] })), &batch());
        let found = found.unwrap();
        assert_eq!((found.accepted, found.duplicate), (1, 1));
        assert_eq!(found.quarantined[0].told(), "line 13: bad_schema: id is missing");
        for (body, said) in [
            (
                json!({ "accepted": 2, "duplicate": 0, "quarantined": [] }),
                "accounts for 2 events, 3 were sent",
            ),
            (
                json!({ "accepted": 2, "duplicate": 0, "quarantined": [{ "index": 3, "code": "", "reason": "" }] }),
                "names event 3",
            ),
            (json!({ "welcome": true }), "the answer is none of a control plane"),
            (json!([]), "the answer is none of a control plane"),
        ] {
            let error = read(&answer(200, &body), &batch()).unwrap_err().to_string();
            assert!(error.contains(said), "{error}");
        }
    }

    #[test]
    fn a_refusal_says_what_was_refused_and_why() {
        let problem = json!({ "code": "forbidden", "detail": "a client key cannot do this" });
        assert_eq!(
            refusal(&answer(403, &problem), &batch()),
            "lines 11 to 14 are refused: status 403 forbidden: a client key cannot do this"
        );
        assert!(refusal(&answer(401, &json!({})), &batch()).ends_with("or FLAGFUSE_TOKEN"));
        assert!(refusal(&answer(413, &json!("<html>")), &batch()).contains("status 413; a proxy"));
        let moved = Answer { location: Some("https://flags.example/".to_owned()), ..answer(301, &json!({})) };
        assert!(refusal(&moved, &batch()).contains("leads to \"https://flags.example/\""));
    }
}
