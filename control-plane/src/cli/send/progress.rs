//! How far it is, for people.

use std::fmt::Write as _;
use std::time::Duration;

use super::super::line::{Line, bar};

/// What is kept of the reason for a wait.
const TROUBLE_LEN_MAX: usize = 160;
/// Rejected lines that are shown; a file has the rest.
const SHOWN_COUNT_MAX: u64 = 10;

/// How far it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Figures {
    /// Lines that are acknowledged, and bytes.
    pub(super) lines: u64,
    pub(super) offset: u64,
    /// Of these, those of runs before.
    pub(super) before: (u64, u64),
    /// Bytes of all, where they are known.
    pub(super) len: Option<u64>,
    /// Since this run began.
    pub(super) elapsed: Duration,
}

impl Figures {
    /// Lines a second of this run.
    pub(super) fn rate(&self) -> f64 {
        let seconds = self.elapsed.as_secs_f64();
        if seconds > 0.0 { float(self.lines.saturating_sub(self.before.0)) / seconds } else { 0.0 }
    }

    fn told(&self) -> String {
        let mut text = String::new();
        if let Some(len) = self.len.filter(|len| *len > 0) {
            // Writing into a text cannot fail.
            let _ = write!(text, "{}, ", bar(self.offset, len));
        }
        let _ = write!(text, "{} lines, {:.0}/s, {}", self.lines, self.rate(), megabytes(self.offset));
        if let Some(len) = self.len {
            let _ = write!(text, " of {}", megabytes(len));
            if let Some(left) = self.left(len) {
                let _ = write!(text, ", {} left", clock(left));
            }
        }
        text
    }

    /// Seconds until the end, at the pace of this run.
    fn left(&self, len: u64) -> Option<u64> {
        let done = self.offset.saturating_sub(self.before.1);
        let seconds = self.elapsed.as_secs_f64() * float(len.saturating_sub(self.offset)) / float(done);
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "bounded by the comparison"
        )]
        (seconds.is_finite() && seconds < 1e9).then_some(seconds.ceil() as u64)
    }
}

#[expect(clippy::cast_precision_loss, reason = "for people")]
const fn float(count: u64) -> f64 {
    count as f64
}

fn megabytes(bytes: u64) -> String {
    format!("{:.1} MB", float(bytes) / 1e6)
}

fn clock(seconds: u64) -> String {
    format!("{}:{:02}:{:02}", seconds / 3_600, seconds / 60 % 60, seconds % 60)
}

/// Who shows it.
#[derive(Debug)]
pub(super) struct Progress {
    line: Line,
    shown_count: u64,
}

impl Progress {
    pub(super) fn on_standard_error() -> Self {
        Self { line: Line::on_standard_error(), shown_count: 0 }
    }

    /// Shows it where it is time to; why it waits, where it does.
    pub(super) fn show(&mut self, figures: &Figures, trouble: Option<&str>) {
        let mut text = figures.told();
        if let Some(trouble) = trouble {
            let end = trouble.floor_char_boundary(TROUBLE_LEN_MAX);
            let _ = write!(text, "; waiting: {}", trouble.get(..end).unwrap_or_default());
        }
        self.line.show(&text);
    }

    /// Shows a line that could not be used, the first few of them.
    pub(super) fn reject(&mut self, told: &str) {
        self.shown_count += 1;
        match self.shown_count {
            count if count <= SHOWN_COUNT_MAX => self.line.say(told),
            count if count == SHOWN_COUNT_MAX + 1 => {
                self.line.say("further lines that cannot be used are counted; --rejects FILE lists them");
            }
            _ => {}
        }
    }

    /// The last line stays.
    pub(super) fn end(&mut self, figures: &Figures) {
        self.line.end(&figures.told());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pace_is_that_of_this_run() {
        let figures = Figures {
            lines: 5_000_000,
            offset: 750_000_000,
            before: (4_000_000, 600_000_000),
            len: Some(1_500_000_000),
            elapsed: Duration::from_secs(10),
        };
        assert_eq!(
            figures.told(),
            "[###############               ] 50 %, 5000000 lines, 100000/s, 750.0 MB of 1500.0 MB, 0:00:50 left"
        );
        let pipe = Figures { len: None, ..figures };
        assert_eq!(pipe.told(), "5000000 lines, 100000/s, 750.0 MB");
        let start = Figures { len: Some(0), ..Figures::default() };
        assert_eq!(start.told(), "0 lines, 0/s, 0.0 MB of 0.0 MB");
        assert_eq!(clock(3_725), "1:02:05");
    }
}
