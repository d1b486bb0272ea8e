//! What somebody asks for, and what that is as things stand: a change, whether it has anything to do, and on which terms.

use super::edit::{self, Edit, Power};
use super::same::is_same;
use super::standing::Subject;
use super::{Actor, Change, ChangeError, Consent, Preconditions, Reserve, Terms, reserve};
use crate::store::Connection;

/// A change, or an edit that becomes one.
#[derive(Debug, Clone)]
pub enum Proposal {
    /// Says what is to be.
    Change(Change),
    /// Says what is to be another.
    Edit(Edit),
}

impl From<Change> for Proposal {
    fn from(change: Change) -> Self {
        Self::Change(change)
    }
}

impl From<Edit> for Proposal {
    fn from(edit: Edit) -> Self {
        Self::Edit(edit)
    }
}

/// Whether a change has anything to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Work {
    Needed,
    Nothing,
}

/// A proposal as things stand.
pub(super) struct Resolved {
    pub(super) subject: Subject,
    pub(super) change: Change,
    pub(super) work: Work,
    pub(super) consent: Consent,
    pub(super) preconditions: Preconditions,
    pub(super) reserve: Reserve,
    /// Where nothing is published, the answer names the version and the revision that stand.
    pub(super) is_answered_with_the_version: bool,
}

impl Resolved {
    /// A change writes, as ever, also what is there already: it begins a version that can be followed. What was read here
    /// and comes back as it was, and an edit that leads to what is there, have nothing to do; then it does not matter at
    /// which revision a body was read.
    pub(super) async fn read(
        conn: &mut Connection,
        actor: &Actor,
        proposal: Proposal,
        terms: &Terms,
    ) -> Result<Self, ChangeError> {
        let (change, subject, consent, reserve, is_edit) = match proposal {
            Proposal::Change(change) => {
                let subject = Subject::of(actor, &change);
                let (consent, reserve) = (terms.consent.about(&change), reserve(&change));
                (change, subject, consent, reserve, false)
            }
            Proposal::Edit(edit) => {
                let subject = Subject::of_edit(actor, &edit);
                let consent = terms.consent.about_edit(&edit);
                let is_off = matches!(edit, Edit::Switch { to: Power::Off, .. });
                let change = edit::resolve(conn, actor, edit).await?;
                // A switch that is needed may not fail for want of room.
                let reserve = if is_off { Reserve::Usable } else { reserve(&change) };
                (change, subject, consent, reserve, true)
            }
        };
        let is_read = terms.preconditions.is_read();
        let is_nothing = (is_edit || is_read) && is_same(conn, actor, &change).await?;
        Ok(Self {
            subject,
            change,
            work: if is_nothing { Work::Nothing } else { Work::Needed },
            consent,
            preconditions: if is_nothing {
                terms.preconditions.of_headers()
            } else {
                terms.preconditions.clone()
            },
            reserve,
            is_answered_with_the_version: is_edit || is_read,
        })
    }
}
