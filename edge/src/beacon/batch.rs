//! The body of a batch: what the buffer says of it, then its rows as they are kept. Pure.

use std::fmt::Write as _;

use flagfuse_shared::contract::beacon::FORMAT;
use flagfuse_shared::ids::{Scope, UnixMillis};
use flagfuse_shared::snapshot::manifest::READER_VERSION;
use serde_json::json;

use crate::beacon::buffer::source_of_buffer;
use crate::region::region_of_object;

/// What a batch says beside its events.
#[derive(Debug, Clone, Copy)]
pub struct Word {
    /// 0 for a word without events.
    pub batch_seq: i64,
    /// When the oldest event arrived that waits behind it.
    pub oldest_waiting_ms: Option<i64>,
    /// Everything that arrived until then is delivered with it.
    pub delivered_through_ms: UnixMillis,
    /// Nothing follows until the next event.
    pub rests: bool,
    /// Whether this edge has a secret for tickets.
    pub has_tickets: bool,
}

/// A body that is being written.
#[derive(Debug)]
pub struct Body {
    text: String,
    start: usize,
}

impl Body {
    /// What the buffer of that name says of a batch in a format, without rows.
    pub fn begin(word: Word, format: u32, (name, buffer_id): (&str, &str), scope: &Scope) -> Self {
        let (queue, is_newer) = (source_of_buffer(name).as_str(), format == FORMAT);
        let mut text = json!({
            "buffer_id": buffer_id, "batch_seq": word.batch_seq, "region": region_of_object(name), "tenant": scope.tenant,
            "project": scope.project, "environment": scope.environment, "oldest_waiting_ms": word.oldest_waiting_ms,
        })
        .to_string();
        text.pop();
        // Writing to a String cannot fail.
        let list = if is_newer {
            let Word { delivered_through_ms, rests, .. } = word;
            let _ = write!(
                text,
                ",\"format\":{FORMAT},\"reader\":{READER_VERSION},\"queue\":\"{queue}\",\"delivered_through_ms\":{},\"rests\":{rests},\"has_tickets\":{}",
                delivered_through_ms.0, word.has_tickets
            );
            "requests"
        } else {
            let _ = write!(text, ",\"source\":\"{queue}\"");
            "events"
        };
        let _ = write!(text, ",\"{list}\":[");
        let start = text.len();
        Self { text, start }
    }

    /// Adds a row. It is JSON already: parsing and printing it again would cost more than everything else here.
    pub fn add(&mut self, row: &str) {
        if self.text.len() > self.start {
            self.text.push(',');
        }
        self.text.push_str(row);
    }

    /// The whole body.
    pub fn end(mut self) -> String {
        self.text.push_str("]}");
        self.text
    }
}
