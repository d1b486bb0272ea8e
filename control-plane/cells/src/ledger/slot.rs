//! Slots: which units, how many, and where what is open of them lies.

use crate::arena::{NONE, Record};
use crate::bytes::Reader;

/// No step.
pub(crate) const NO_STEP: u8 = u8::MAX;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Slot {
    pub(crate) starts_ms: u64,
    /// 0 while it is open.
    pub(crate) ends_ms: u64,
    /// From 0 within its phase.
    pub(crate) number: u32,
    /// The phase's next slot.
    pub(crate) next: u32,
    /// Units by arm, without bots.
    pub(crate) enrolled: [u32; 2],
    /// Those of which anything was heard after their enrolment.
    pub(crate) seen: [u32; 2],
    /// Cells that are open, in a chain.
    pub(crate) cells: u32,
    /// Samples that have not matured, by bin, in a chain.
    pub(crate) samples: u32,
    /// Sums of units that have not matured, in a chain.
    pub(crate) sums: u32,
    /// Place of its phase.
    pub(crate) phase: u16,
    /// The newest step that has cells.
    pub(crate) step: u8,
    pub(crate) is_empty: bool,
}

impl Slot {
    pub(crate) const fn open(phase: u16, number: u32, starts_ms: u64) -> Self {
        Self {
            starts_ms,
            ends_ms: 0,
            number,
            next: NONE,
            enrolled: [0; 2],
            seen: [0; 2],
            cells: NONE,
            samples: NONE,
            sums: NONE,
            phase,
            step: NO_STEP,
            is_empty: false,
        }
    }

    pub(crate) const fn is_open(&self) -> bool {
        self.ends_ms == 0
    }
}

impl Record for Slot {
    const BYTES: usize = 56;

    fn put(&self, bytes: &mut Vec<u8>) {
        bytes.extend_from_slice(&self.starts_ms.to_le_bytes());
        bytes.extend_from_slice(&self.ends_ms.to_le_bytes());
        let [enrolled_control, enrolled_exposed] = self.enrolled;
        let [seen_control, seen_exposed] = self.seen;
        let counts = [enrolled_control, enrolled_exposed, seen_control, seen_exposed];
        for number in [self.number, self.next].into_iter().chain(counts) {
            bytes.extend_from_slice(&number.to_le_bytes());
        }
        for place in [self.cells, self.samples, self.sums] {
            bytes.extend_from_slice(&place.to_le_bytes());
        }
        bytes.extend_from_slice(&self.phase.to_le_bytes());
        bytes.extend_from_slice(&[self.step, u8::from(self.is_empty)]);
    }

    fn take(rest: &mut Reader<'_>) -> Option<Self> {
        let [starts_ms, ends_ms] = [rest.u64()?, rest.u64()?];
        Some(Self {
            starts_ms,
            ends_ms,
            number: rest.u32()?,
            next: rest.u32()?,
            enrolled: [rest.u32()?, rest.u32()?],
            seen: [rest.u32()?, rest.u32()?],
            cells: rest.u32()?,
            samples: rest.u32()?,
            sums: rest.u32()?,
            phase: rest.u16()?,
            step: rest.byte()?,
            is_empty: rest.byte()? != 0,
        })
    }

    fn empty(next: u32) -> Self {
        Self { next, is_empty: true, ..Self::open(0, 0, 0) }
    }

    fn next_empty(&self) -> Option<u32> {
        self.is_empty.then_some(self.next)
    }
}
