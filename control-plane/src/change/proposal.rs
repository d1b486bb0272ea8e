//! What somebody asks for, and what that is as things stand: a change, whether it has anything to do, and on which terms.

use flagfuse_shared::ids::EnvironmentKey;

use super::consent::Consent;
use super::edit::{self, Edit, Power};
use super::error::ChangeError;
use super::kinds::Change;
use super::precondition::Preconditions;
use super::same::is_same;
use super::subject::Subject;
use super::writing::Writing;
use crate::publish::outbox::Reserve;
use crate::store::kept_answers::Claim;

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

/// What a change depends on beside itself. By default on nothing: nobody is there to ask, and any state will do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Terms {
    /// Who is asked when it alters many decisions.
    pub consent: Consent,
    /// Which state it was made for.
    pub preconditions: Preconditions,
    /// The attempt that it is made by, where it may be made once only.
    pub claim: Option<Claim>,
    /// Why, in the words of who makes it.
    pub comment: Option<String>,
}

impl Default for Terms {
    fn default() -> Self {
        let (consent, preconditions) = (Consent::NotAsked, Preconditions::default());
        Self { consent, preconditions, claim: None, comment: None }
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
    pub(super) comment: Option<String>,
    pub(super) reserve: Reserve,
    /// The environment that it is copied from, where it is.
    pub(super) copied_from: Option<EnvironmentKey>,
    /// Where nothing is published, the answer names the version and the revision that stand.
    pub(super) is_answered_with_the_version: bool,
}

impl Resolved {
    /// A change writes, as ever, also what is there already: it begins a version that can be followed. What was read here
    /// and comes back as it was, and an edit that leads to what is there, have nothing to do; then it does not matter at
    /// which revision a body was read.
    pub(super) async fn read(
        writing: &mut Writing<'_>,
        proposal: Proposal,
        terms: &Terms,
    ) -> Result<Self, ChangeError> {
        let mut copied_from = None;
        let (change, subject, consent, reserve, is_edit) = match proposal {
            Proposal::Change(change) => {
                let subject = Subject::of(writing.actor, &change);
                let (consent, reserve) = (terms.consent.about(&change), change.reserve());
                (change, subject, consent, reserve, false)
            }
            Proposal::Edit(edit) => {
                let subject = Subject::of_edit(writing.actor, &edit);
                let consent = terms.consent.about_edit(&edit);
                if let Edit::Copy { from, .. } = &edit {
                    copied_from = Some(from.environment.clone());
                }
                let is_off = matches!(edit, Edit::Switch { to: Power::Off, .. });
                let change = edit::resolve(writing, edit).await?;
                // A switch that is needed may not fail for want of room.
                let reserve = if is_off { Reserve::Usable } else { change.reserve() };
                (change, subject, consent, reserve, true)
            }
        };
        let is_read = terms.preconditions.is_read();
        let is_nothing = (is_edit || is_read) && is_same(writing, &change).await?;
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
            comment: terms.comment.clone(),
            reserve,
            copied_from,
            is_answered_with_the_version: is_edit || is_read,
        })
    }
}
