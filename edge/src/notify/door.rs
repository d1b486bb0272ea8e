//! Who may listen, and who may not any longer because a key was taken away. Pure: no sockets.

use flagfuse_shared::ids::SnapshotVersion;
use flagfuse_shared::snapshot::{KeyId, KeyIds};

/// What a notifier knows of the valid keys of its environment: what the newest announcement said. It forgets when it falls
/// asleep, and then the isolate's word counts, which is older by less than that.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Door(Option<(SnapshotVersion, KeyIds)>);

/// Whether those who listen have to be looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Look {
    /// Some may listen with a key that is not valid any more: to be asked of [`Door::is_open_to`].
    Needed,
    /// Nothing has changed for any of them.
    NotNeeded,
}

impl Door {
    /// An announcement: with `version`, exactly `keys` are valid. They may arrive in any order.
    pub fn announce(&mut self, version: SnapshotVersion, keys: KeyIds) -> Look {
        match &self.0 {
            Some((known, _)) if version < *known => return Look::NotNeeded,
            Some((_, valid)) if *valid == keys => {
                self.0 = Some((version, keys));
                return Look::NotNeeded;
            }
            _ => {}
        }
        self.0 = Some((version, keys));
        Look::Needed
    }

    /// Whether a key may be used by somebody who is listening.
    pub fn is_open_to(&self, key: KeyId) -> bool {
        self.0.as_ref().is_none_or(|(_, valid)| valid.has(key))
    }

    /// Whether somebody may come whose isolate serves `served` and let the key in: it may know a key that is newer than
    /// what was announced here.
    pub fn lets_in(&self, key: KeyId, served: SnapshotVersion) -> bool {
        self.0.as_ref().is_none_or(|(known, _)| served > *known) || self.is_open_to(key)
    }
}

#[cfg(test)]
mod tests {
    use flagfuse_shared::digest::Digest;

    use super::*;

    fn key(name: &str) -> KeyId {
        KeyId::of(&Digest::of(name.as_bytes()))
    }

    fn keys(names: &[&str]) -> KeyIds {
        KeyIds::new(names.iter().map(|name| key(name)))
    }

    fn version(seq: u64) -> SnapshotVersion {
        SnapshotVersion { epoch: 1, seq }
    }

    #[test]
    fn who_listens_is_looked_at_when_keys_change_and_after_each_sleep() {
        let mut door = Door::default();
        assert!(door.is_open_to(key("a")), "it knows nothing yet");
        assert_eq!(door.announce(version(5), keys(&["a", "b"])), Look::Needed);
        assert_eq!(door.announce(version(6), keys(&["a", "b"])), Look::NotNeeded);
        assert_eq!(door.announce(version(7), keys(&["b"])), Look::Needed);
        assert!(!door.is_open_to(key("a")) && door.is_open_to(key("b")));
        assert_eq!(door.announce(version(6), keys(&["a", "b"])), Look::NotNeeded, "it came late");
        assert!(!door.is_open_to(key("a")));
    }

    #[test]
    fn an_isolate_that_knows_more_lets_new_keys_in_and_one_that_knows_less_no_old_ones() {
        let mut door = Door::default();
        assert!(door.lets_in(key("a"), version(1)));
        door.announce(version(7), keys(&["b"]));
        for (name, served, expected) in
            [("a", 6, false), ("a", 7, false), ("b", 6, true), ("c", 7, false), ("c", 8, true)]
        {
            assert_eq!(door.lets_in(key(name), version(served)), expected, "{name} {served}");
        }
    }
}
