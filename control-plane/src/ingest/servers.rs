//! What a customer's server sends with a secret key, as a batch: named by what it holds, so that the same again is a repeat.

use flagfuse_shared::contract::beacon::{BatchError, ClientBatch, FORMAT};
use flagfuse_shared::digest::{Digest, hex};
use flagfuse_shared::ids::{Scope, UnixMillis};
use flagfuse_shared::limits::BATCH_EVENT_COUNT_MAX;
use flagfuse_shared::strict;
use serde_json::json;
use serde_json::value::RawValue;

/// Whether a line is JSON, and one value alone. Whatever is inside is for the event to answer for.
pub fn is_event(line: &str) -> bool {
    strict::list(&format!("[{line}]")).is_some_and(|values| values.len() == 1)
}

/// Events of a request, unread: each answers for itself.
#[derive(Debug)]
pub struct ServerEvents<'b> {
    /// The server's clock when it sent them, if it said so.
    sent_ms: Option<UnixMillis>,
    /// The program that sent them, if it said so.
    sdk: Option<String>,
    /// Each a JSON value.
    events: Vec<&'b str>,
}

impl<'b> ServerEvents<'b> {
    /// Reads `{"sent_ms": …, "events": […]}`.
    pub fn of_json(body: &'b [u8]) -> Result<Self, BatchError> {
        let ClientBatch { sent_ms, sdk, events, .. } =
            ClientBatch::parse_within(body, BATCH_EVENT_COUNT_MAX)?;
        Ok(Self { sent_ms, sdk, events: events.into_iter().map(RawValue::get).collect() })
    }

    /// Reads one event a line; empty lines are none.
    pub fn of_lines(body: &'b [u8]) -> Result<Self, BatchError> {
        let shape = |detail: String| BatchError::Shape { detail };
        let text = std::str::from_utf8(body).map_err(|error| {
            let line = body.iter().take(error.valid_up_to()).filter(|byte| **byte == b'\n').count() + 1;
            shape(format!("line {line} is not UTF-8"))
        })?;
        let lines = (1..).zip(text.lines()).filter(|(_, line)| !line.trim().is_empty());
        let mut events = Vec::new();
        for (number, line) in lines {
            if !is_event(line) {
                return Err(shape(format!("line {number} is not JSON: one event a line is expected")));
            }
            events.push(line.trim());
        }
        let (count, count_max) = (events.len(), BATCH_EVENT_COUNT_MAX);
        if count > count_max {
            return Err(BatchError::TooMany { count, count_max });
        }
        Ok(Self { sent_ms: None, sdk: None, events })
    }

    /// Of these, each of which is JSON; `sdk` is the program that sent them. There are no more than fit a batch.
    pub fn of_events(sdk: String, events: impl IntoIterator<Item = &'b str>) -> Self {
        Self { sent_ms: None, sdk: Some(sdk), events: events.into_iter().collect() }
    }

    /// The body that they could have come in.
    pub fn body(&self) -> String {
        let mut head = json!({ "sent_ms": self.sent_ms, "sdk": self.sdk }).to_string();
        head.pop();
        format!("{head},\"events\":[{}]}}", self.events.join(","))
    }

    /// How many there are.
    pub const fn count(&self) -> usize {
        self.events.len()
    }

    /// A batch of them for an environment, received now.
    pub(super) fn batch(&self, scope: &Scope, received_ms: UnixMillis) -> String {
        let buffer = Digest::of(format!("events of servers\n{scope}").as_bytes());
        let buffer_id = hex(buffer.as_bytes().first_chunk::<16>().map_or(&[][..], |half| half));
        let content = Digest::of(self.events.join("\n").as_bytes());
        let number = content.as_bytes().first_chunk::<8>().map_or(0, |half| u64::from_le_bytes(*half));
        // A number that the database can hold, and never that of a word.
        let batch_seq = number >> 1 | 1;
        let mut head = json!({
            "format": FORMAT, "buffer_id": buffer_id, "batch_seq": batch_seq, "region": "", "tenant": scope.tenant,
            "project": scope.project, "environment": scope.environment, "rests": true,
        })
        .to_string();
        let mut request = json!({ "received_ms": received_ms, "source": "server", "sent_ms": self.sent_ms, "sdk": self.sdk })
            .to_string();
        head.pop();
        request.pop();
        format!("{head},\"requests\":[{request},\"events\":[{}]}}]}}", self.events.join(","))
    }
}

#[cfg(test)]
mod tests {
    use flagfuse_shared::contract::beacon::{IngestBatch, SourceMark};

    use super::*;

    const NOW: UnixMillis = UnixMillis(1_800_000_000_000);

    fn scope() -> Scope {
        Scope::parse("t/p/e").unwrap()
    }

    #[test]
    fn both_spellings_are_the_same_batch_and_other_events_another_one() {
        let lines = b"{\"id\":\"1\"}\r\n\n  {\"id\":\"2\",\"id\":\"2\"}\n";
        let object = br#"{"events":[{"id":"1"},{"id":"2","id":"2"}]}"#;
        let later =
            br#"{"sent_ms":1800000000000,"sdk":"server/1","events":[{"id":"1"},{"id":"2","id":"2"}]}"#;
        let other = br#"{"events":[{"id":"1"}]}"#;
        let of = |events: &ServerEvents<'_>| {
            let body = events.batch(&scope(), NOW);
            let batch = IngestBatch::parse(body.as_bytes()).unwrap();
            assert!(batch.arrivals().all(|arrival| arrival.source == SourceMark::Server));
            assert!(!batch.is_word_only() && batch.head.rests);
            (batch.head.buffer_id.clone(), batch.head.batch_seq, batch.event_count())
        };
        let named = of(&ServerEvents::of_lines(lines).unwrap());
        assert_eq!(named, of(&ServerEvents::of_json(object).unwrap()));
        assert_eq!(named, of(&ServerEvents::of_json(later).unwrap()));
        assert_ne!(named.1, of(&ServerEvents::of_json(other).unwrap()).1);
        assert!(i64::try_from(named.1).is_ok());
    }

    #[test]
    fn events_that_are_handed_on_are_the_same_batch() {
        let events = ServerEvents::of_events("otlp/a".to_owned(), [r#"{"id":"1"}"#, r#"{"id":"2"}"#]);
        let body = events.body();
        let read = ServerEvents::of_json(body.as_bytes()).unwrap();
        assert_eq!((read.events.clone(), read.sdk.as_deref()), (events.events.clone(), Some("otlp/a")));
        assert_eq!(read.batch(&scope(), NOW), events.batch(&scope(), NOW));
    }

    #[test]
    fn what_cannot_be_read_is_refused_whole_with_its_line() {
        for (body, said) in [
            (&b"{\"id\":1}\n{"[..], "line 2 is not JSON"),
            (b"1,2", "line 1 is not JSON"),
            (b"\n\xff", "line 2 is not UTF-8"),
            (b"]", "line 1 is not JSON"),
        ] {
            let error = ServerEvents::of_lines(body).unwrap_err().to_string();
            assert!(error.contains(said), "{error}");
        }
        let lines = |count: usize| "{}\n".repeat(count);
        assert_eq!(ServerEvents::of_lines(lines(BATCH_EVENT_COUNT_MAX).as_bytes()).unwrap().count(), 2_000);
        let error =
            ServerEvents::of_lines(lines(BATCH_EVENT_COUNT_MAX + 1).as_bytes()).unwrap_err().to_string();
        assert!(error.contains("2001 events, the limit is 2000"), "{error}");
        assert!(ServerEvents::of_json(b"[]").is_err());
    }
}
