//! What became of every line, as one sum.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde::{Deserialize, Serialize};

use super::cut::Batch;
use super::reject::Reject;

/// Lines by what became of them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Tally {
    /// All that were read.
    pub(super) lines: u64,
    /// Of those, with nothing in them.
    pub(super) blank: u64,
    /// New ones that could be used.
    pub(super) accepted: u64,
    /// Known already, also to an answer that was not heard.
    pub(super) duplicate: u64,
    /// Sent and not usable, by code. The control plane keeps them.
    pub(super) quarantined: BTreeMap<String, u64>,
    /// Not sent, by code: nobody keeps them.
    pub(super) unsent: BTreeMap<String, u64>,
}

impl Tally {
    /// Adds a batch, and what the control plane said of it.
    pub(super) fn add(&mut self, batch: &Batch, answered: &Answered) {
        self.lines += batch.lines;
        self.blank += batch.blank;
        self.accepted += answered.accepted;
        self.duplicate += answered.duplicate;
        let count = |into: &mut BTreeMap<String, u64>, rejects: &[Reject]| {
            for reject in rejects {
                *into.entry(reject.code.clone()).or_default() += 1;
            }
        };
        count(&mut self.quarantined, &answered.quarantined);
        count(&mut self.unsent, &batch.unsent);
    }

    /// Lines that could not be used, sent or not.
    pub(super) fn rejected(&self) -> u64 {
        self.quarantined.values().chain(self.unsent.values()).sum()
    }

    /// Whether every line is accounted for.
    pub(super) fn is_even(&self) -> bool {
        self.lines == self.blank + self.accepted + self.duplicate + self.rejected()
    }

    /// For people.
    pub(super) fn told(&self) -> String {
        let Self { lines, blank, accepted, duplicate, quarantined, unsent } = self;
        let mut text = format!("{lines} lines: {accepted} accepted, {duplicate} known already");
        for (codes, what) in [(quarantined, "quarantined"), (unsent, "not sent")] {
            let count: u64 = codes.values().sum();
            // Writing into a text cannot fail.
            let _ = write!(text, ", {count} {what}");
            if count > 0 {
                let codes: Vec<String> =
                    codes.iter().map(|(code, count)| format!("{code} {count}")).collect();
                let _ = write!(text, " ({})", codes.join(", "));
            }
        }
        if *blank > 0 {
            let _ = write!(text, ", {blank} empty");
        }
        text
    }
}

/// What the control plane said of a batch.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Answered {
    pub(super) accepted: u64,
    pub(super) duplicate: u64,
    pub(super) quarantined: Vec<Reject>,
}

#[cfg(test)]
mod tests {
    use flagfuse_shared::contract::fault::QuarantineCode;

    use super::super::cut::Place;
    use super::*;

    #[test]
    fn every_line_is_on_one_side() {
        let reject = |line, code| Reject::unsent(line, code, "");
        let batch = Batch {
            number: 0,
            until: Place::default(),
            lines: 8,
            blank: 1,
            body: b"1\n2\n3\n4\n5\n"[..].into(),
            numbers: vec![1, 2, 3, 4, 5],
            unsent: vec![reject(6, QuarantineCode::BadJson), reject(7, QuarantineCode::Oversize)],
        };
        let quarantined = vec![reject(1, QuarantineCode::TooOld), reject(2, QuarantineCode::TooOld)];
        let mut tally = Tally::default();
        tally.add(&batch, &Answered { accepted: 2, duplicate: 1, quarantined });
        assert!(tally.is_even());
        assert_eq!(
            tally.told(),
            "8 lines: 2 accepted, 1 known already, 2 quarantined (too_old 2), 2 not sent (bad_json 1, oversize 1), 1 empty"
        );
        tally.accepted += 1;
        assert!(!tally.is_even());
    }
}
