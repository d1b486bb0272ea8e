//! How many values the conditions of an imported document may list, and each flag's or segment's. Counts only.

use flagfuse_shared::limits::{
    CONDITION_COUNT_MAX, IMPORT_SPREAD_VALUE_COUNT_MAX, IMPORT_VALUE_COUNT_MAX, RULE_COUNT_MAX,
};

/// Why conditions are not spread into alternatives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum TooSpread {
    /// More alternatives, or conditions in one of them, than a flag may have.
    #[error(
        "the condition spreads into more than {RULE_COUNT_MAX} alternatives or {CONDITION_COUNT_MAX} comparisons in one \
         of them"
    )]
    Alternatives,
    /// More values in a flag's or segment's alternatives.
    #[error("the alternatives list more than {IMPORT_SPREAD_VALUE_COUNT_MAX} values")]
    Values,
    /// More values in the document so far.
    #[error("the alternatives, added to all those before, list more than {IMPORT_VALUE_COUNT_MAX} values")]
    Document,
}

/// What conditions may still list. Also what is refused afterwards was work, so nothing is given back.
#[derive(Debug)]
pub(crate) struct ValueBudget {
    document_left: usize,
    entry_left: usize,
}

impl ValueBudget {
    /// For a whole document.
    pub(crate) const fn new() -> Self {
        Self { document_left: IMPORT_VALUE_COUNT_MAX, entry_left: 0 }
    }

    /// For the next flag or segment.
    pub(crate) const fn begin_entry(&mut self) {
        self.entry_left = IMPORT_SPREAD_VALUE_COUNT_MAX;
    }

    pub(super) fn spend(&mut self, count: usize) -> Result<(), TooSpread> {
        self.entry_left = self.entry_left.checked_sub(count).ok_or(TooSpread::Values)?;
        self.document_left = self.document_left.checked_sub(count).ok_or(TooSpread::Document)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_bounded_on_each_side() {
        let mut budget = ValueBudget::new();
        budget.begin_entry();
        assert_eq!(budget.spend(IMPORT_SPREAD_VALUE_COUNT_MAX), Ok(()));
        assert_eq!(budget.spend(1), Err(TooSpread::Values));
        for _ in 1..IMPORT_VALUE_COUNT_MAX / IMPORT_SPREAD_VALUE_COUNT_MAX {
            budget.begin_entry();
            assert_eq!(budget.spend(IMPORT_SPREAD_VALUE_COUNT_MAX), Ok(()));
        }
        budget.begin_entry();
        assert_eq!(budget.spend(0), Ok(()));
        assert_eq!(budget.spend(1), Err(TooSpread::Document));
    }
}
