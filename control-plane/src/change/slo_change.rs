//! What can be changed of the objectives of an environment. Never applies it.

use super::resource::Resource;
use crate::model::slo::Slo;
use crate::store::suppressions::SuppressionRow;

/// What is changed of an environment's objectives.
#[derive(Debug, Clone, PartialEq)]
pub enum SloChange {
    /// A new objective, or another one under its name.
    Put { name: String, slo: Box<Slo> },
    /// An objective goes with what was counted for it.
    Delete { name: String },
    /// A window begins, now or later.
    Suppress(Box<SuppressionRow>),
    /// A window is over, or never begins.
    Unsuppress { suppression_id: String },
}

impl SloChange {
    /// What it is about.
    pub(super) fn subject(&self) -> (Resource, &str) {
        match self {
            Self::Put { name, .. } | Self::Delete { name } => (Resource::Slo, name),
            Self::Suppress(row) => (Resource::Suppression, &row.suppression_id),
            Self::Unsuppress { suppression_id } => (Resource::Suppression, suppression_id),
        }
    }

    /// Whether it takes something away.
    pub(super) const fn is_removal(&self) -> bool {
        matches!(self, Self::Delete { .. } | Self::Unsuppress { .. })
    }
}
