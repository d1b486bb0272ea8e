//! Who may do what where: rights, the roles of people that bring them, and the places in which they hold. Pure.

use flagfuse_shared::ids::{EnvironmentKey, ProjectKey, Scope};
use serde::{Deserialize, Serialize};

/// What somebody may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Right {
    /// Sees flags, fuses, what was counted and who did what.
    Read,
    /// Changes flags, fuses and what they share.
    Edit,
    /// Agrees to what somebody else wants to change.
    Approve,
    /// Changes projects, environments, settings, tokens and members.
    Administer,
    /// Makes and unmakes owners.
    Own,
    /// Hands over events and asks for snapshots, as edges do.
    Deliver,
    /// Sends events, as the customer's servers do.
    Send,
    /// Reads the figures for operators.
    Scrape,
}

/// What a person is in a place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    Owner,
    Admin,
    Editor,
    Approver,
    Viewer,
}

impl Role {
    /// Every role there is, the mightiest first.
    pub const ALL: [Self; 5] = [Self::Owner, Self::Admin, Self::Editor, Self::Approver, Self::Viewer];

    /// The word in JSON and SQL.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Owner => "owner",
            Self::Admin => "admin",
            Self::Editor => "editor",
            Self::Approver => "approver",
            Self::Viewer => "viewer",
        }
    }

    /// The role of a word.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|role| role.as_str() == text)
    }

    /// What it brings.
    pub const fn rights(self) -> &'static [Right] {
        match self {
            Self::Owner => {
                &[Right::Read, Right::Scrape, Right::Edit, Right::Approve, Right::Administer, Right::Own]
            }
            Self::Admin => &[Right::Read, Right::Scrape, Right::Edit, Right::Approve, Right::Administer],
            Self::Editor => &[Right::Read, Right::Scrape, Right::Edit],
            Self::Approver => &[Right::Read, Right::Scrape, Right::Approve],
            Self::Viewer => &[Right::Read, Right::Scrape],
        }
    }
}

/// Where a right holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// Everywhere in the tenant.
    Tenant,
    Project(ProjectKey),
    Environment(ProjectKey, EnvironmentKey),
}

impl From<&Scope> for Place {
    fn from(scope: &Scope) -> Self {
        Self::Environment(scope.project.clone(), scope.environment.clone())
    }
}

impl Place {
    /// The place that a row or a body names by its parts; `None` when they are no keys, or an environment has no project.
    pub fn parse(project: Option<&str>, environment: Option<&str>) -> Option<Self> {
        let project = project.map(ProjectKey::parse).transpose().ok()?;
        let environment = environment.map(EnvironmentKey::parse).transpose().ok()?;
        match (project, environment) {
            (None, None) => Some(Self::Tenant),
            (Some(project), None) => Some(Self::Project(project)),
            (Some(project), Some(environment)) => Some(Self::Environment(project, environment)),
            (None, Some(_)) => None,
        }
    }

    /// The project that it is or is in.
    pub const fn project(&self) -> Option<&ProjectKey> {
        match self {
            Self::Tenant => None,
            Self::Project(project) | Self::Environment(project, _) => Some(project),
        }
    }

    /// The environment that it is.
    pub const fn environment(&self) -> Option<&EnvironmentKey> {
        match self {
            Self::Tenant | Self::Project(_) => None,
            Self::Environment(_, environment) => Some(environment),
        }
    }

    /// Whether all of `other` is in it.
    pub fn covers(&self, other: &Self) -> bool {
        self.project().is_none_or(|own| other.project() == Some(own))
            && self.environment().is_none_or(|own| other.environment() == Some(own))
    }

    /// Whether they have anything in common.
    pub fn meets(&self, other: &Self) -> bool {
        self.covers(other) || other.covers(self)
    }

    /// What it is called in a sentence.
    pub fn in_words(&self) -> String {
        match self {
            Self::Tenant => "the whole tenant".to_owned(),
            Self::Project(project) => format!("project {project}"),
            Self::Environment(project, environment) => format!("environment {project}/{environment}"),
        }
    }
}

/// A role in a place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    pub role: Role,
    pub place: Place,
}

impl Grant {
    /// Whether it makes somebody an owner of the tenant: there is always one, once there was one.
    pub fn is_of_owner(&self) -> bool {
        self.role == Role::Owner && self.place == Place::Tenant
    }
}

/// Rights in a place, whatever they come from.
#[derive(Debug, Clone)]
pub struct Holding {
    pub rights: &'static [Right],
    pub place: Place,
}

impl From<&Grant> for Holding {
    fn from(grant: &Grant) -> Self {
        Self { rights: grant.role.rights(), place: grant.place.clone() }
    }
}

/// All that somebody may do.
#[derive(Debug, Clone, Default)]
pub struct Rights {
    holdings: Vec<Holding>,
}

impl Rights {
    pub const fn new(holdings: Vec<Holding>) -> Self {
        Self { holdings }
    }

    /// Those of a member.
    pub fn of(grants: &[Grant]) -> Self {
        Self { holdings: grants.iter().map(Holding::from).collect() }
    }

    /// Of whoever has the data folder.
    pub fn of_operator() -> Self {
        Self { holdings: vec![Holding { rights: Role::Owner.rights(), place: Place::Tenant }] }
    }

    /// Each of them with its place.
    pub fn holdings(&self) -> &[Holding] {
        &self.holdings
    }

    /// Whether they allow something in all of a place.
    pub fn allow(&self, right: Right, place: &Place) -> bool {
        self.with(right).any(|holding| holding.place.covers(place))
    }

    /// Whether they allow something in a part of a place at least.
    pub fn allow_within(&self, right: Right, place: &Place) -> bool {
        self.with(right).any(|holding| holding.place.meets(place))
    }

    /// Whether the place is there for whoever has them: a right of any kind holds in a part of it.
    pub fn know(&self, place: &Place) -> bool {
        self.holdings.iter().any(|holding| holding.place.meets(place))
    }

    /// Whether they suffice to give somebody a role or to take it away: nobody makes one who may do more, there.
    pub fn allow_granting(&self, grant: &Grant) -> bool {
        let needed = if grant.role == Role::Owner { Right::Own } else { Right::Administer };
        self.allow(needed, &grant.place)
    }

    fn with(&self, right: Right) -> impl Iterator<Item = &Holding> {
        self.holdings.iter().filter(move |holding| holding.rights.contains(&right))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(text: &str) -> Place {
        let (project, environment) = text.split_once('/').unwrap_or((text, ""));
        let some = |text: &'static str| Some(text).filter(|text| !text.is_empty());
        let leaked = |text: &str| -> &'static str { text.to_owned().leak() };
        Place::parse(some(leaked(project)), some(leaked(environment))).unwrap()
    }

    #[test]
    fn places_cover_what_is_in_them_and_meet_what_they_are_in() {
        for (one, other, covers, meets) in [
            ("", "", true, true),
            ("", "p", true, true),
            ("", "p/e", true, true),
            ("p", "", false, true),
            ("p", "p", true, true),
            ("p", "p/e", true, true),
            ("p", "q", false, false),
            ("p", "q/e", false, false),
            ("p/e", "p/e", true, true),
            ("p/e", "p/f", false, false),
            ("p/e", "q/e", false, false),
            ("p/e", "p", false, true),
            ("p/e", "", false, true),
        ] {
            let (one, other) = (place(one), place(other));
            assert_eq!((one.covers(&other), one.meets(&other)), (covers, meets), "{one:?} {other:?}");
        }
        assert_eq!(Place::parse(None, Some("e")), None);
        assert_eq!(Place::parse(Some("No Key"), None), None);
    }

    #[test]
    fn a_right_holds_in_its_place_and_in_no_other() {
        let grants = [
            Grant { role: Role::Editor, place: place("p") },
            Grant { role: Role::Viewer, place: place("q/e") },
        ];
        let rights = Rights::of(&grants);
        assert!(rights.allow(Right::Edit, &place("p/e")) && rights.allow(Right::Edit, &place("p")));
        assert!(!rights.allow(Right::Edit, &place("q/e")) && rights.allow(Right::Read, &place("q/e")));
        assert!(!rights.allow(Right::Read, &place("q")) && rights.allow_within(Right::Read, &place("q")));
        assert!(rights.know(&place("q")) && !rights.know(&place("q/f")) && !rights.know(&place("r")));
        assert!(rights.know(&Place::Tenant) && !rights.allow(Right::Read, &Place::Tenant));
        assert!(!Rights::default().know(&Place::Tenant));
    }

    #[test]
    fn nobody_makes_one_who_may_do_more() {
        let may = |role, at: &str, wanted, there: &str| {
            let own = Rights::of(&[Grant { role, place: place(at) }]);
            own.allow_granting(&Grant { role: wanted, place: place(there) })
        };
        assert!(may(Role::Owner, "", Role::Owner, "") && may(Role::Owner, "", Role::Viewer, "p/e"));
        assert!(may(Role::Admin, "", Role::Admin, "") && !may(Role::Admin, "", Role::Owner, ""));
        assert!(!may(Role::Admin, "", Role::Owner, "p"), "an owner of a part is more than an admin");
        assert!(may(Role::Admin, "p", Role::Editor, "p/e") && !may(Role::Admin, "p", Role::Viewer, ""));
        assert!(!may(Role::Admin, "p", Role::Viewer, "q"));
        for role in [Role::Editor, Role::Approver, Role::Viewer] {
            assert!(!may(role, "", Role::Viewer, "p"), "{role:?}");
        }
    }

    #[test]
    fn a_role_is_read_by_its_word() {
        for role in Role::ALL {
            assert_eq!(Role::parse(role.as_str()), Some(role));
        }
        assert_eq!(Role::parse("root"), None);
    }
}
