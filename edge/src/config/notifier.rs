//! How a deployment notifies clients, and the `eventStreams` block of its bulk answers. Without a secret there is none.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use flagfuse_shared::ids::{Scope, UnixMillis};
use flagfuse_shared::limits::{LISTENER_COUNT_MAX, NOTIFIER_COUNT_MAX};
use flagfuse_shared::snapshot::KeyId;

use crate::error::EdgeError;
use crate::stream_token::{STREAM_PATH, StreamSecret};

/// Six hours: a tab moves to a new URL two to four times a day, with five requests each.
const WINDOW_S_DEFAULT: u64 = 6 * 3_600;
const WINDOW_S_MAX: u64 = 7 * 24 * 3_600;
/// A hidden tab gives its connection up after this many seconds, and asks for everything when it is looked at again.
const INACTIVITY_S: u32 = 120;
/// Blocks that are kept, of some 300 bytes: four keys for each environment in an isolate's memory.
const BLOCK_COUNT_MAX: usize = 256;

/// What the deployment says about notifications.
#[derive(Debug, Clone)]
pub struct NotifySettings {
    /// Makes stream tokens; without it bulk answers name no streams.
    pub secret: Option<StreamSecret>,
    /// Notifier objects of each environment in a region.
    pub notifier_count: u16,
    /// Listeners that one of them takes.
    pub listener_count_max: usize,
    /// How long a token stays the same.
    pub window_ms: u64,
}

impl NotifySettings {
    /// Reads the settings; an error names the one that is wrong, never the secret itself.
    pub fn parse(get: impl Fn(&str) -> Option<String>) -> Result<Self, EdgeError> {
        let number = |name: &str, default: u64, max: u64| {
            let Some(text) = get(name).filter(|text| !text.is_empty()) else { return Ok(default) };
            let number = text.parse().ok().filter(|number| (1..=max).contains(number));
            number.ok_or_else(|| EdgeError::Misconfigured {
                detail: format!("{name}: {text:?} is not a number from 1 to {max}"),
            })
        };
        let secret = match get("FLAGFUSE_STREAM_SECRET").filter(|text| !text.is_empty()) {
            None => None,
            Some(text) => Some(StreamSecret::new(&text).ok_or_else(|| EdgeError::Misconfigured {
                detail: "FLAGFUSE_STREAM_SECRET: has fewer than 16 bytes".to_owned(),
            })?),
        };
        let notifier_count = number("FLAGFUSE_NOTIFIERS", 1, u64::from(NOTIFIER_COUNT_MAX))?;
        let listener_count_max =
            number("FLAGFUSE_LISTENERS", LISTENER_COUNT_MAX as u64, LISTENER_COUNT_MAX as u64)?;
        Ok(Self {
            secret,
            notifier_count: u16::try_from(notifier_count).unwrap_or(NOTIFIER_COUNT_MAX),
            listener_count_max: usize::try_from(listener_count_max).unwrap_or(LISTENER_COUNT_MAX),
            window_ms: number("FLAGFUSE_STREAM_WINDOW_S", WINDOW_S_DEFAULT, WINDOW_S_MAX)? * 1_000,
        })
    }

    /// The `eventStreams` of a bulk answer to who asks with this key, as JSON. The same on every node for a whole window.
    ///
    /// An `endpoint` without an origin, which clients complete from their own base URL (ADR-0008): the answer would
    /// otherwise differ by the name under which each client reaches this edge, and an edge does not always know that name.
    pub fn event_streams(&self, scope: &Scope, key: KeyId, now: UnixMillis) -> Option<Rc<str>> {
        let secret = self.secret.as_ref()?;
        BLOCKS.with_borrow_mut(|blocks| {
            if let Some((of, until, block)) = blocks.get(&key)
                && of == scope
                // A clock that went back may be in the window before.
                && now < *until && now.plus(self.window_ms) >= *until
            {
                return Some(Rc::clone(block));
            }
            let expires_at = StreamSecret::expires_at(scope, self.window_ms, now);
            let token = secret.issue(scope, key, expires_at);
            let block: Rc<str> = format!(
                "[{{\"type\":\"sse\",\"endpoint\":{{\"requestUri\":\"{STREAM_PATH}?token={token}\"}},\
                 \"inactivityDelaySec\":{INACTIVITY_S}}}]"
            )
            .into();
            if blocks.len() >= BLOCK_COUNT_MAX {
                blocks.clear();
            }
            blocks.insert(key, (scope.clone(), expires_at.minus(self.window_ms), Rc::clone(&block)));
            Some(block)
        })
    }
}

/// An environment, the end of a window, and the block until then.
type Block = (Scope, UnixMillis, Rc<str>);

thread_local! {
    /// The block for each client key: an answer takes less time than a keyed hash does.
    static BLOCKS: RefCell<BTreeMap<KeyId, Block>> = const { RefCell::new(BTreeMap::new()) };
}

#[cfg(test)]
mod tests {
    use flagfuse_shared::digest::Digest;
    use serde_json::Value;

    use super::*;

    const NOW: UnixMillis = UnixMillis(1_800_000_000_000);

    fn parse(pairs: &[(&str, &str)]) -> Result<NotifySettings, EdgeError> {
        NotifySettings::parse(|name| {
            pairs.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned())
        })
    }

    fn scope(text: &str) -> Scope {
        Scope::parse(text).unwrap()
    }

    fn key(text: &str) -> KeyId {
        KeyId::of(&Digest::of(text.as_bytes()))
    }

    #[test]
    fn without_a_secret_there_are_no_streams() {
        let settings = parse(&[]).unwrap();
        assert_eq!(settings.event_streams(&scope("t/p/e"), key("k"), NOW), None);
        assert_eq!((settings.notifier_count, settings.listener_count_max), (1, LISTENER_COUNT_MAX));
    }

    #[test]
    fn a_bad_setting_is_named_and_the_secret_is_not_told() {
        for (name, value) in [
            ("FLAGFUSE_STREAM_SECRET", "too short"),
            ("FLAGFUSE_NOTIFIERS", "0"),
            ("FLAGFUSE_NOTIFIERS", "65"),
            ("FLAGFUSE_LISTENERS", "10001"),
            ("FLAGFUSE_STREAM_WINDOW_S", "604801"),
        ] {
            let error = parse(&[(name, value)]).unwrap_err().to_string();
            assert!(error.contains(name) && !error.contains("too short"), "{error}");
        }
        for (name, value) in [
            ("FLAGFUSE_NOTIFIERS", "64"),
            ("FLAGFUSE_LISTENERS", "10000"),
            ("FLAGFUSE_STREAM_WINDOW_S", "604800"),
        ] {
            assert!(parse(&[(name, value)]).is_ok(), "{name}");
        }
    }

    #[test]
    fn a_block_is_the_same_for_a_window_and_differs_between_windows_environments_and_keys() {
        let settings = parse(&[("FLAGFUSE_STREAM_SECRET", "0123456789abcdef")]).unwrap();
        let of = |name: &str, text: &str, at_ms: u64| {
            settings.event_streams(&scope(name), key(text), NOW.plus(at_ms)).unwrap()
        };
        let block = |name: &str, at_ms: u64| of(name, name, at_ms);
        let first = block("t/p/e", 0);
        let parsed: Value = serde_json::from_str(&first).unwrap();
        assert_eq!(parsed[0]["type"], "sse");
        let uri = parsed[0]["endpoint"]["requestUri"].as_str().unwrap();
        assert!(uri.starts_with("/v1/stream?token=p.e."), "{uri}");
        // Whether it was kept or made anew, forwards and backwards in time.
        let later = block("t/p/e", settings.window_ms);
        assert_ne!(first, later);
        assert_ne!(first, block("t/p/f", 0));
        assert_ne!(first, of("t/p/e", "another key", 0));
        assert_ne!(first, of("t/p/g", "t/p/e", 0), "a name that two environments share");
        for index in 0..300 {
            block(&format!("t/p/e{index}"), 0);
        }
        assert_eq!((block("t/p/e", 0), block("t/p/e", settings.window_ms)), (first, later));
    }
}
