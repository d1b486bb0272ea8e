//! One line on standard error that is written over again and again on a terminal, and a line now and then elsewhere.

use std::io::{IsTerminal as _, Write as _, stderr};
use std::time::Duration;

use flagfuse_control_plane::clock::monotonic;
use tokio::time::Instant;

/// Between two lines where nobody watches.
const LINE_PAUSE: Duration = Duration::from_secs(5);

/// Who shows how far it is.
#[derive(Debug)]
pub(super) struct Line {
    is_terminal: bool,
    shown_at: Option<Instant>,
}

impl Line {
    pub(super) fn on_standard_error() -> Self {
        Self { is_terminal: stderr().is_terminal(), shown_at: None }
    }

    /// Shows it where it is time to.
    pub(super) fn show(&mut self, text: &str) {
        if self.is_terminal {
            write_all(&format!("\r\x1b[K{text}"));
            return;
        }
        let now = monotonic();
        let first = *self.shown_at.get_or_insert(now);
        if now.duration_since(first) >= LINE_PAUSE {
            self.shown_at = Some(now);
            write_all(&format!("{text}\n"));
        }
    }

    /// The last line stays.
    pub(super) fn end(&mut self, text: &str) {
        if self.is_terminal {
            write_all(&format!("\r\x1b[K{text}\n"));
        }
    }

    /// Says something that stays.
    pub(super) fn say(&self, text: &str) {
        let clear = if self.is_terminal { "\r\x1b[K" } else { "" };
        write_all(&format!("{clear}{text}\n"));
    }
}

/// A bar of thirty characters, `done` of `all`.
pub(super) fn bar(done: u64, all: u64) -> String {
    let share = |of: u64| done.saturating_mul(of) / all.max(1);
    let bar = "#".repeat(usize::try_from(share(30).min(30)).unwrap_or(0));
    format!("[{bar:<30}] {} %", share(100))
}

/// Nothing can be done where standard error is closed.
fn write_all(text: &str) {
    let mut all = stderr();
    let _ = all.write_all(text.as_bytes());
    let _ = all.flush();
}
