//! What a deletion would take away, and the confirmation that lets it. Reads, and writes nothing.

use std::collections::BTreeMap;

use flagfuse_shared::digest::Digest;
use flagfuse_shared::ids::{ProjectKey, Scope, SnapshotVersion, TenantKey};
use serde_json::{Map, Value, json};

use super::confirm::{Given, Lost};
use super::consent::Consent;
use super::error::ChangeError;
use super::kinds::Change;
use super::precondition::Tag;
use super::resource::Resource;
use super::writing::Writing;
use crate::store::contents::{self, HeldRow};
use crate::store::{Connection, StoreError, scopes};

/// The kinds of what is held, in the order in which they are told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum HeldKind {
    ProjectFlag,
    Flag,
    Override,
    Fuse,
    Segment,
    Layer,
    Holdout,
    ClientKey,
}

impl HeldKind {
    const ALL: [Self; 8] = [
        Self::ProjectFlag,
        Self::Flag,
        Self::Override,
        Self::Fuse,
        Self::Segment,
        Self::Layer,
        Self::Holdout,
        Self::ClientKey,
    ];

    fn of(row: &HeldRow) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == row.kind)
    }

    /// As rows have it.
    const fn as_str(self) -> &'static str {
        match self {
            Self::ProjectFlag => "project_flag",
            Self::Flag => "flag",
            Self::Override => "override",
            Self::Fuse => "fuse",
            Self::Segment => "segment",
            Self::Layer => "layer",
            Self::Holdout => "holdout",
            Self::ClientKey => "client_key",
        }
    }

    /// `3 client keys`.
    fn counted(self, count: usize) -> String {
        let word = self.as_str().replace('_', " ");
        format!("{count} {word}{}", if count == 1 { "" } else { "s" })
    }
}

/// What is deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Going {
    Project,
    Environment,
}

impl Going {
    const fn resource(self) -> Resource {
        match self {
            Self::Project => Resource::Project,
            Self::Environment => Resource::Environment,
        }
    }
}

/// Everything that goes with a project or an environment.
#[derive(Debug)]
pub(super) struct Loss {
    what: Going,
    key: String,
    /// Beside the environments.
    own: Vec<HeldRow>,
    environments: Vec<EnvironmentLoss>,
}

/// An environment that goes.
#[derive(Debug)]
struct EnvironmentLoss {
    scope: Scope,
    version: SnapshotVersion,
    held: Vec<HeldRow>,
}

impl Loss {
    /// `None` of what is no deletion of that kind, not there, or not the actor's.
    pub(super) async fn of(writing: &mut Writing<'_>, change: &Change) -> Result<Option<Self>, StoreError> {
        match change {
            Change::DeleteEnvironment { scope } if writing.owns(scope) => {
                let Some(row) = scopes::environment(writing.conn, scope).await? else { return Ok(None) };
                let held = contents::of_environment(writing.conn, scope).await?;
                let environments = vec![EnvironmentLoss { scope: row.scope, version: row.version, held }];
                let key = scope.environment.to_string();
                Ok(Some(Self { what: Going::Environment, key, own: Vec::new(), environments }))
            }
            Change::DeleteProject { project } => {
                Self::of_project(writing.conn, &writing.actor.tenant, project).await
            }
            _ => Ok(None),
        }
    }

    async fn of_project(
        conn: &mut Connection,
        tenant: &TenantKey,
        project: &ProjectKey,
    ) -> Result<Option<Self>, StoreError> {
        if !scopes::has_project(conn, tenant, project).await? {
            return Ok(None);
        }
        let mut environments = Vec::new();
        for row in scopes::environments(conn, scopes::Whose::Project(tenant, project)).await? {
            let held = contents::of_environment(conn, &row.scope).await?;
            environments.push(EnvironmentLoss { scope: row.scope, version: row.version, held });
        }
        let own = contents::of_project(conn, tenant, project).await?;
        Ok(Some(Self { what: Going::Project, key: project.to_string(), own, environments }))
    }

    /// Whether nobody would miss anything.
    fn is_nothing(&self) -> bool {
        self.own.is_empty()
            && match self.what {
                Going::Environment => self.environments.iter().all(|place| place.held.is_empty()),
                Going::Project => self.environments.is_empty(),
            }
    }

    /// Refuses a person's deletion that takes something away and was not confirmed.
    pub(super) fn check(&self, consent: Consent) -> Result<(), ChangeError> {
        let Consent::Person(given) = consent else { return Ok(()) };
        let confirmation = self.confirmation();
        if self.is_nothing() || given == Some(confirmation) {
            return Ok(());
        }
        let given = if given.is_some() { Given::Other } else { Given::Nothing };
        let (what, key) = (self.what.resource(), self.key.clone());
        let loss = Box::new(Lost { what, key, summary: self.summary(), numbers: self.numbers() });
        Err(ChangeError::LossToConfirm { loss, given, confirmation })
    }

    /// The confirmation that a person would be asked for.
    pub(super) fn required_confirmation(&self) -> Option<Digest> {
        (!self.is_nothing()).then(|| self.confirmation())
    }

    /// Names the versions and every row that would go, with its revision: a yes to this is a yes to nothing else.
    fn confirmation(&self) -> Digest {
        let places = self.environments.iter();
        let places =
            places.map(|place| json!([place.scope.to_string(), place.version.to_string(), place.held]));
        let all = json!({
            "delete": self.what.resource().as_str(), "key": self.key, "own": self.own, "environments": places.collect::<Vec<_>>(),
        });
        Digest::of(all.to_string().as_bytes())
    }

    /// How much of everything, by kind; of a project, environment by environment.
    pub(super) fn numbers(&self) -> Value {
        let counted = |held: &[HeldRow]| -> Map<String, Value> {
            let counts = counts(held);
            let kinds = HeldKind::ALL.into_iter().filter(|kind| *kind != HeldKind::ProjectFlag);
            kinds
                .map(|kind| {
                    let count = counts.get(&kind).copied().unwrap_or_default();
                    (format!("{}s", kind.as_str()), Value::from(count))
                })
                .collect()
        };
        if let (Going::Environment, [place]) = (self.what, self.environments.as_slice()) {
            return Value::Object(counted(&place.held));
        }
        let environments = self.environments.iter().map(|place| {
            let mut numbers = counted(&place.held);
            numbers.insert("environment".to_owned(), json!(place.scope.environment));
            Value::Object(numbers)
        });
        json!({ "project_flags": self.own.len(), "environments": environments.collect::<Vec<_>>() })
    }

    /// The flags of an environment that goes.
    pub(super) fn flags(&self, scope: &Scope) -> Vec<String> {
        let places = self.environments.iter().filter(|place| place.scope == *scope);
        let held =
            places.flat_map(|place| &place.held).filter(|row| HeldKind::of(row) == Some(HeldKind::Flag));
        held.map(|row| row.key.clone()).collect()
    }

    /// `2 environments, 3 flags, 1 client key`.
    fn summary(&self) -> String {
        let count = self.environments.len();
        let environments = (self.what == Going::Project && count > 0)
            .then(|| format!("{count} environment{}", if count == 1 { "" } else { "s" }));
        let held: Vec<HeldRow> =
            self.own.iter().chain(self.environments.iter().flat_map(|place| &place.held)).cloned().collect();
        let counts = counts(&held);
        let kinds = counts.into_iter().map(|(kind, count)| kind.counted(count));
        environments.into_iter().chain(kinds).collect::<Vec<_>>().join(", ")
    }
}

fn counts(held: &[HeldRow]) -> BTreeMap<HeldKind, usize> {
    let mut counts = BTreeMap::new();
    for kind in held.iter().filter_map(HeldKind::of) {
        *counts.entry(kind).or_default() += 1;
    }
    counts
}

/// The state of a whole project: whatever is written in it changes this. `None` when there is none.
pub async fn project_tag(
    conn: &mut Connection,
    tenant: &TenantKey,
    project: &ProjectKey,
) -> Result<Option<Tag>, StoreError> {
    let loss = Loss::of_project(conn, tenant, project).await?;
    Ok(loss.map(|loss| Tag::content(&loss.confirmation())))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(kind: &str, key: &str, revision: u64) -> HeldRow {
        HeldRow { kind: kind.to_owned(), key: key.to_owned(), revision }
    }

    fn loss(what: Going, own: Vec<HeldRow>, held: Vec<HeldRow>) -> Loss {
        let scope = Scope::parse("t/p/e").unwrap();
        let place = EnvironmentLoss { scope, version: SnapshotVersion { epoch: 1, seq: 7 }, held };
        Loss { what, key: "e".to_owned(), own, environments: vec![place] }
    }

    #[test]
    fn what_would_be_lost_is_told_in_numbers_and_in_words() {
        let held =
            vec![row("flag", "a", 1), row("flag", "b", 2), row("client_key", "k", 1), row("holdout", "", 3)];
        let environment = loss(Going::Environment, Vec::new(), held.clone());
        assert_eq!(environment.summary(), "2 flags, 1 holdout, 1 client key");
        let found = environment.numbers();
        let numbers = ["flags", "fuses", "overrides", "segments", "layers", "holdouts", "client_keys"];
        assert_eq!(numbers.map(|name| found[name].as_u64()), [2, 0, 0, 0, 0, 1, 1].map(Some), "{found}");
        assert_eq!(environment.flags(&Scope::parse("t/p/e").unwrap()), ["a", "b"]);
        let project = loss(Going::Project, vec![row("project_flag", "a", 1)], held);
        assert_eq!(project.summary(), "1 environment, 1 project flag, 2 flags, 1 holdout, 1 client key");
        assert_eq!(project.numbers()["environments"][0]["flags"], 2);
        assert_eq!(project.numbers()["project_flags"], 1);
    }

    #[test]
    fn what_holds_nothing_goes_at_once_and_a_confirmation_fits_one_state_only() {
        let nothing = loss(Going::Environment, Vec::new(), Vec::new());
        assert!(nothing.check(Consent::Person(None)).is_ok() && nothing.required_confirmation().is_none());
        // An environment is something that a project holds.
        assert!(loss(Going::Project, Vec::new(), Vec::new()).check(Consent::Person(None)).is_err());
        let some = |revision| loss(Going::Environment, Vec::new(), vec![row("flag", "a", revision)]);
        let confirmation = some(1).required_confirmation();
        assert!(
            some(1).check(Consent::Person(confirmation)).is_ok() && some(1).check(Consent::NotAsked).is_ok()
        );
        let fault = some(2).check(Consent::Person(confirmation)).unwrap_err();
        assert!(matches!(fault, ChangeError::LossToConfirm { given: Given::Other, .. }), "{fault}");
        let fault = some(1).check(Consent::Person(None)).unwrap_err().to_string();
        assert!(fault.starts_with("deleting the environment \"e\" takes away 1 flag: "), "{fault}");
    }
}
