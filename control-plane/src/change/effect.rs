//! What one change leaves behind beside its rows: an entry in the audit trail, and whether a snapshot carries it.

use flagfuse_shared::contract::replica::Urgency;
use flagfuse_shared::ids::Scope;
use serde_json::{Map, Value, json};

use super::action::Action;
use crate::model::changed_fields::{ChangedFields, ChangedPart, changed_fields, changed_parts};
use crate::store::audit::{FIELDS, FIELDS_LEFT_OUT};

/// What one change leaves behind beside its rows.
pub(super) struct Effect {
    pub(super) action: Action,
    pub(super) subject: String,
    pub(super) detail: Value,
    pub(super) scope: Option<Scope>,
    pub(super) publication: Publication,
    pub(super) revision: Option<u64>,
    pub(super) notes: Map<String, Value>,
}

impl Effect {
    /// With the fields of what was changed that are others now; `None` of what was not there, or is not any more.
    pub(super) fn with_fields(self, before: Option<&Value>, after: Option<&Value>) -> Self {
        self.with(changed_fields(before, after))
    }

    /// The same of many things at once.
    pub(super) fn with_parts(self, parts: impl IntoIterator<Item = ChangedPart>) -> Self {
        self.with(changed_parts(parts))
    }

    fn with(mut self, ChangedFields { fields, left_out }: ChangedFields) -> Self {
        if let Some(detail) = self.detail.as_object_mut() {
            detail.insert(FIELDS.to_owned(), json!(fields));
            if left_out > 0 {
                detail.insert(FIELDS_LEFT_OUT.to_owned(), json!(left_out));
            }
        }
        self
    }
}

/// Whether the snapshot changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Publication {
    Needed,
    /// Something is switched off: clients hear of it at once.
    Urgent,
    /// It does, and the version of the change's first effect carries it.
    WithFirst,
    NotNeeded,
}

impl Publication {
    pub(super) const fn urgency(self) -> Option<Urgency> {
        match self {
            Self::Needed => Some(Urgency::Ordinary),
            Self::Urgent => Some(Urgency::Urgent),
            Self::WithFirst | Self::NotNeeded => None,
        }
    }
}
