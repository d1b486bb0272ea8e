//! How long somebody stays signed in, and how long a sign-in link leads anywhere. Pure.

use flagfuse_shared::ids::UnixMillis;

/// A session that was not used for so long is over.
pub const IDLE_MS: u64 = 12 * 3_600_000;
/// A session ends so long after it began, however much it is used.
pub const SESSION_MS: u64 = 7 * 24 * 3_600_000;
/// A sign-in link leads somewhere for so long.
pub const CODE_MS: u64 = 10 * 60_000;
/// Sessions of one person; with one more, the oldest ends.
pub const SESSION_COUNT_MAX: u32 = 50;

/// How somebody signed in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OpenedBy {
    /// With a sign-in link.
    Link,
    /// With name and password.
    Password,
}

impl OpenedBy {
    /// Every way there is.
    pub const ALL: [Self; 2] = [Self::Link, Self::Password];

    /// The word in JSON and SQL.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Link => "link",
            Self::Password => "password",
        }
    }

    /// The way of a word.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|way| way.as_str() == text)
    }
}

/// Whether a session is over. One that began or was used in what a clock that was set back calls the future is not.
pub const fn is_over(created_ms: UnixMillis, used_ms: UnixMillis, now: UnixMillis) -> bool {
    now.0.saturating_sub(created_ms.0) >= SESSION_MS || now.0.saturating_sub(used_ms.0) >= IDLE_MS
}

/// When a session ends if nothing more is heard of it.
pub fn ends_ms(created_ms: UnixMillis, used_ms: UnixMillis) -> UnixMillis {
    UnixMillis((created_ms.0 + SESSION_MS).min(used_ms.0 + IDLE_MS))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_ends_when_it_is_idle_and_when_it_is_old() {
        let at = |ms| UnixMillis(1_800_000_000_000 + ms);
        assert!(!is_over(at(0), at(0), at(IDLE_MS - 1)) && is_over(at(0), at(0), at(IDLE_MS)));
        assert!(!is_over(at(0), at(SESSION_MS - 2), at(SESSION_MS - 1)));
        assert!(is_over(at(0), at(SESSION_MS - 1), at(SESSION_MS)));
        assert!(!is_over(at(10), at(10), at(0)), "the clock was set back");
        assert_eq!(ends_ms(at(0), at(5)), at(5 + IDLE_MS));
        assert_eq!(ends_ms(at(0), at(SESSION_MS - 1)), at(SESSION_MS));
    }
}
