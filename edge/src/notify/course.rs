//! What becomes of one event stream, from its first byte to its last; and the text on it. Pure.
//!
//! The official web provider decides the shape of this (`@openfeature/ofrep-web-provider` 0.4.3, `sse-manager`):
//! - A stream that fails for good (any status but 200) makes it ask for its flags a second later, and connect to the URL it
//!   then knows, every second while that fails. A 304 leaves it the URL it has. So an error for an expired token would be
//!   a request a second from every open tab for as long as its validator matches.
//! - An event makes it ask for its flags, and remember the URL in the answer, but not connect to it.
//! - A stream that ends is reopened by the browser at the *old* URL, which tells nobody to ask for the flags.
//!
//! So a stream whose token expires tells its client to ask (which brings the new URL), goes on for a while, and ends. The
//! event's id comes back with the browser's next connection as `Last-Event-ID`; it says that this client has been told,
//! and is answered with 204, which ends the stream for good without being an error: the provider then connects to the new
//! URL. A client that was told and still has the old URL begins anew, so the fastest possible loop takes a leave's time.

use flagfuse_shared::ids::{SnapshotVersion, UnixMillis};

use crate::notify::hub::News;

/// Comments between messages keep proxies from closing the stream, and find out whether the client is still there. Each
/// stream adds up to 5 s of its own; both together stay below the 30 s that the platform gives a closed connection's task.
pub const HEARTBEAT_MS: u64 = 15_000;
/// Time between the event that says goodbye and the end, for the client to fetch its new URL.
pub const LEAVE_MS: u64 = 20_000;
/// How long after its token's end a stream may go on, so that not all clients move at once.
const LINGER_MS_MAX: u64 = 600_000;
/// A browser waits this long and up to 4 s more before it reopens a stream that broke off.
const RETRY_MS: u64 = 1_000;
/// When there is no room: longer than the provider's patience of 30 s, after which it asks for its flags and tries again.
const RETRY_TURNED_AWAY_MS: u64 = 60_000;
/// At the end of an event's id: the client was told that its URL is an old one.
const TOLD_MARK: &str = "-moved";

/// How a stream goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Course {
    /// Follow the environment; `leave_at` is when to say goodbye, [`LEAVE_MS`] before the end.
    Follow {
        /// In the past when the token has expired.
        leave_at: UnixMillis,
    },
    /// The client knows that it has to move: 204, and the browser does not come back.
    Gone,
}

impl Course {
    /// The course of a stream whose token expires then. `jitter` is the connection's own number.
    pub fn new(expires_at: UnixMillis, last_event_id: Option<&str>, jitter: u64, now: UnixMillis) -> Self {
        if now < expires_at {
            return Self::Follow { leave_at: expires_at.plus(jitter % LINGER_MS_MAX) };
        }
        if last_event_id.is_some_and(|id| id.ends_with(TOLD_MARK)) {
            Self::Gone
        } else {
            Self::Follow { leave_at: now }
        }
    }
}

/// Whether an event also says goodbye.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Farewell {
    /// The stream goes on.
    No,
    /// It will end, and its URL is no longer the one to use.
    Yes,
}

/// The start of a stream.
pub fn opening(jitter: u64) -> String {
    format!("retry: {}\n\n", RETRY_MS + jitter % 4_000)
}

/// One event: the message, and the version as its id.
pub fn event(message: &str, farewell: Farewell) -> String {
    let version = News::version_in(message).map(|version| version.to_string()).unwrap_or_default();
    match farewell {
        Farewell::No => format!("id: {version}\ndata: {message}\n\n"),
        // It comes back soon, to be told that it need not: until then it hears nothing.
        Farewell::Yes => format!("retry: {RETRY_MS}\nid: {version}{TOLD_MARK}\ndata: {message}\n\n"),
    }
}

/// The end of a stream that has to give way: its browser comes back much later.
pub fn patience(jitter: u64) -> String {
    format!("retry: {}\n\n", RETRY_TURNED_AWAY_MS + jitter % 30_000)
}

/// A whole stream for a client for whom there is no room: it asks once and comes back much later. Not a 503, which would
/// bring it back in a second.
pub fn turned_away(served: SnapshotVersion, jitter: u64) -> String {
    let message = News { version: served, stored_ms: None }.message();
    format!("{}{}", patience(jitter), event(&message, Farewell::No))
}

/// Between messages.
pub const HEARTBEAT: &str = ":\n\n";

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: UnixMillis = UnixMillis(1_800_000_000_000);

    #[test]
    fn a_stream_outlives_its_token_by_its_own_part_of_ten_minutes() {
        let leave_at = |jitter| match Course::new(NOW.plus(1), None, jitter, NOW) {
            Course::Follow { leave_at } => leave_at.since(NOW),
            Course::Gone => panic!("its token is valid"),
        };
        assert_eq!(leave_at(0), 1);
        assert_eq!(leave_at(599_999), 600_000);
        assert_eq!(leave_at(600_000), 1);
    }

    #[test]
    fn an_expired_token_is_told_so_once_and_ends_the_second_time() {
        let told = event(r#"{"type":"refetchEvaluation","etag":"1.2"}"#, Farewell::Yes);
        let id = told.lines().find_map(|line| line.strip_prefix("id: "));
        let first = Course::new(NOW, Some("1.2"), 7, NOW);
        assert_eq!(first, Course::Follow { leave_at: NOW }, "one that followed before was not told yet");
        assert_eq!(Course::new(NOW, None, 7, NOW), first);
        assert_eq!(Course::new(NOW, id, 7, NOW), Course::Gone);
        // Another node's clock may be behind: there the token is valid, and following it does no harm.
        assert!(matches!(Course::new(NOW.plus(1), id, 7, NOW), Course::Follow { .. }));
    }

    #[test]
    fn the_text_is_what_browsers_parse() {
        let message = r#"{"type":"refetchEvaluation","etag":"1.2"}"#;
        assert_eq!(event(message, Farewell::No), format!("id: 1.2\ndata: {message}\n\n"));
        assert_eq!(event(message, Farewell::Yes), format!("retry: 1000\nid: 1.2-moved\ndata: {message}\n\n"));
        assert_eq!(opening(4_005), "retry: 1005\n\n");
        let away = turned_away(SnapshotVersion { epoch: 1, seq: 2 }, 30_000);
        assert_eq!(away, format!("retry: 60000\n\n{}", event(message, Farewell::No)));
    }
}
