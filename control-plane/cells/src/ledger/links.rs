//! Which units are devices of another.
//!
//! Whoever sends links must not be able to make one of many units: a unit has a bounded number of devices, and one that has
//! devices is nobody's device.

use std::collections::BTreeMap;

use crate::arena::{Arena, LIVE, NONE, Record};
use crate::bytes::Reader;
use crate::id::UnitHash;
use crate::index::{Index, unit_hash};

/// Devices of one unit, at most.
pub const LINK_COUNT_MAX: u32 = 16;

/// Links that are followed one after the other, at most.
const HOPS_MAX: usize = 8;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Link {
    device: UnitHash,
    canonical: UnitHash,
    /// The next empty place, or [`LIVE`].
    empty: u32,
}

impl Record for Link {
    const BYTES: usize = 36;

    fn put(&self, bytes: &mut Vec<u8>) {
        bytes.extend_from_slice(&self.device);
        bytes.extend_from_slice(&self.canonical);
        bytes.extend_from_slice(&self.empty.to_le_bytes());
    }

    fn take(rest: &mut Reader<'_>) -> Option<Self> {
        Some(Self { device: rest.array()?, canonical: rest.array()?, empty: rest.u32()? })
    }

    fn empty(next: u32) -> Self {
        Self { device: [0; 16], canonical: [0; 16], empty: next }
    }

    fn next_empty(&self) -> Option<u32> {
        (self.empty != LIVE).then_some(self.empty)
    }
}

/// All links. One that stands is never replaced.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Links {
    pub(crate) arena: Arena<Link>,
    index: Index,
    /// How many devices a unit has. Follows from the records.
    devices: BTreeMap<UnitHash, u32>,
}

impl Links {
    fn place(&self, device: &UnitHash) -> Option<u32> {
        let is_it = |place| self.arena.get(place).is_some_and(|link| link.device == *device);
        self.index.find(unit_hash(device), is_it)
    }

    /// The canonical unit of a device, if it is linked.
    pub(crate) fn of(&self, device: &UnitHash) -> Option<UnitHash> {
        if self.index.len() == 0 {
            return None;
        }
        let link = self.place(device).and_then(|place| self.arena.get(place))?;
        Some(link.canonical)
    }

    /// The unit as which a unit counts: itself without a link.
    #[inline]
    pub(crate) fn resolve(&self, unit: UnitHash) -> UnitHash {
        let mut unit = unit;
        for _ in 0..HOPS_MAX {
            let Some(canonical) = self.of(&unit) else { break };
            unit = canonical;
        }
        unit
    }

    /// Whether a link would join more than it may.
    pub(crate) fn is_too_much(&self, device: &UnitHash, canonical: &UnitHash) -> bool {
        let count = |unit: &UnitHash| self.devices.get(unit).copied().unwrap_or(0);
        count(device) > 0 || count(&self.resolve(*canonical)) >= LINK_COUNT_MAX
    }

    /// Links a device; its unit from now on, or `None` when it is linked already, would be linked to itself or is too much.
    pub(crate) fn link(&mut self, device: UnitHash, canonical: UnitHash) -> Option<UnitHash> {
        let canonical = self.resolve(canonical);
        if canonical == device || self.place(&device).is_some() || self.is_too_much(&device, &canonical) {
            return None;
        }
        let place = self.arena.insert(Link { device, canonical, empty: LIVE });
        if place == NONE {
            return None;
        }
        let Self { arena, index, devices } = self;
        let hash_of = |place| arena.get(place).map_or(0, |link: &Link| unit_hash(&link.device));
        index.insert(unit_hash(&device), place, hash_of);
        *devices.entry(canonical).or_default() += 1;
        Some(canonical)
    }

    /// Takes away all links that name the unit.
    pub(crate) fn forget(&mut self, unit: &UnitHash) {
        let names_it = |link: &Link| link.device == *unit || link.canonical == *unit;
        let found = self.arena.iter().filter(|(_, link)| names_it(link));
        let found: Vec<(u32, Link)> = found.map(|(place, link)| (place, *link)).collect();
        for (place, Link { device, canonical, .. }) in found {
            self.index.remove(unit_hash(&device), place);
            self.arena.remove(place);
            let left = self.devices.remove(&canonical).unwrap_or(0).saturating_sub(1);
            if left > 0 {
                self.devices.insert(canonical, left);
            }
        }
    }

    /// Builds what follows from the records.
    pub(crate) fn build_index(&mut self) {
        let Self { arena, index, devices } = self;
        let hash_of = |place| arena.get(place).map_or(0, |link: &Link| unit_hash(&link.device));
        index.reserve(arena.used() as usize, hash_of);
        for (place, link) in arena.iter() {
            index.insert(unit_hash(&link.device), place, hash_of);
            *devices.entry(link.canonical).or_default() += 1;
        }
    }

    /// Bytes it takes.
    pub(crate) fn bytes(&self) -> u64 {
        // A map of this kind has room for half as many again.
        self.arena.bytes() + self.index.bytes() + self.devices.len() as u64 * 32
    }
}
