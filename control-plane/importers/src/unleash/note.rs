//! What people should know about a toggle that was taken over: it decides as it did, and is not all of what it was.

use std::collections::BTreeSet;

use flagfuse_shared::definition::SegmentWire;

use super::document::Toggle;
use super::strategy::{Kind, kind};
use crate::Note;

/// The notes of a toggle.
pub(super) fn of_toggle(toggle: &Toggle) -> Vec<Note> {
    let name = format!("flag {}", toggle.name);
    let mut notes = Vec::new();
    let strategies = toggle.strategies.as_deref().unwrap_or_default();
    let is_dead = strategies.iter().all(|strategy| kind(&strategy.name) != Kind::Known);
    let end = if is_dead { "the flag is off for everybody" } else { "only its other strategies turn it on" };
    let mut seen = BTreeSet::new();
    for strategy in strategies.iter().filter(|strategy| seen.insert(strategy.name.as_str())) {
        let why = match kind(&strategy.name) {
            Kind::Known => continue,
            Kind::HostName => "asks for the host name of the server that decides, which nobody knows here",
            Kind::Custom => "is decided by code of your own, which is not here",
        };
        let note = format!("the strategy {:?} {why}: it is never on, and {end}", strategy.name);
        notes.push(Note { name: name.clone(), note });
    }
    let of_strategies = strategies.iter().filter_map(|strategy| strategy.variants.as_ref());
    if of_strategies.chain(&toggle.variants).any(|variants| !variants.is_empty()) {
        let note = "has variants, so it became an object flag: its value is Unleash's variant, \
                    {\"name\": …, \"enabled\": …, \"payload\": …, \"feature_enabled\": …}";
        notes.push(Note { name, note: note.to_owned() });
    }
    notes
}

/// Unleash's segments have a number and a name.
pub(super) fn of_segment(segment: &SegmentWire) -> Option<Note> {
    let called = &segment.description;
    let note =
        format!("is called {called:?} in Unleash: that is its description here, and its number is its key");
    (!called.is_empty()).then(|| Note { name: format!("segment {}", segment.key), note })
}
