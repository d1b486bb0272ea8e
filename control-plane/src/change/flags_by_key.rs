//! Flags by their keys, shared with whoever else has them: an environment of thousands is copied, compared and thrown away without
//! a look at those that stay as they are.

use std::collections::BTreeMap;
use std::sync::Arc;

use flagfuse_shared::definition::FlagWire;
use serde::{Serialize, Serializer};

/// Flags by key.
#[derive(Debug, Clone)]
pub(super) struct FlagsByKey(BTreeMap<String, Arc<FlagWire>>);

impl FlagsByKey {
    pub(super) fn get(&self, key: &str) -> Option<&FlagWire> {
        self.0.get(key).map(Arc::as_ref)
    }

    pub(super) fn contains_key(&self, key: &str) -> bool {
        self.0.contains_key(key)
    }

    /// Puts a flag in the place of the one with its key.
    pub(super) fn insert(&mut self, wire: FlagWire) {
        self.0.insert(wire.key.clone(), Arc::new(wire));
    }

    pub(super) fn remove(&mut self, key: &str) {
        self.0.remove(key);
    }

    pub(super) fn keys(&self) -> impl Iterator<Item = &String> {
        self.0.keys()
    }

    /// In the order of their keys.
    pub(super) fn values(&self) -> impl Iterator<Item = &FlagWire> {
        self.0.values().map(Arc::as_ref)
    }

    /// The same, to be kept.
    pub(super) fn shared(&self) -> Vec<Arc<FlagWire>> {
        self.0.values().cloned().collect()
    }
}

impl FromIterator<Arc<FlagWire>> for FlagsByKey {
    fn from_iter<I: IntoIterator<Item = Arc<FlagWire>>>(flags: I) -> Self {
        Self(flags.into_iter().map(|wire| (wire.key.clone(), wire)).collect())
    }
}

impl FromIterator<FlagWire> for FlagsByKey {
    fn from_iter<I: IntoIterator<Item = FlagWire>>(flags: I) -> Self {
        flags.into_iter().map(Arc::new).collect()
    }
}

impl Serialize for FlagsByKey {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(key, wire)| (key, wire.as_ref())))
    }
}
