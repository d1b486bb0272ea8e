//! What a transaction has to itself. Pure: names and their order, no SQL.
//!
//! Check-then-write is sound only where nobody else writes what is checked. SQLite has one writer, so every lock is the
//! same one there. PostgreSQL has many: a transaction takes what it names for itself, and shares everything that this is
//! part of. Two environments do not wait for each other, a change of a project waits for those of its environments and
//! they for it. All take the wider locks first, so nobody waits in a circle.

use std::collections::BTreeMap;
use std::fmt::Display;

use flagfuse_shared::digest::Digest;
use flagfuse_shared::ids::{ProjectKey, Scope, TenantKey};

use super::quarantine::ClaimedPlace;

/// What a transaction reads before it writes, and what nobody else may write meanwhile.
#[derive(Debug, Clone, Copy)]
pub enum Lock<'l> {
    /// The keyset in force, under which everything is signed: the whole installation.
    Keys,
    /// A tenant with its tokens and everything in its projects.
    Tenant(&'l TenantKey),
    /// A project's own flags, and all its environments, which follow them.
    Project(&'l TenantKey, &'l ProjectKey),
    /// An environment: flags, fuses, versions, what its replicas hold.
    Environment(&'l Scope),
    /// Several environments, of any tenants.
    Environments(&'l [Scope]),
    /// What events of one place add up to, while the environment stays as it is.
    Ingestion(ClaimedPlace<'l>),
    /// The events of one environment: its partition, and nothing that people or the engine write. A kill does not wait for
    /// it, nor it for a kill.
    Partition(&'l Scope),
    /// Which requests of a tenant are known by a key. Nothing else is written under it, and nobody waits for it long.
    Requests(&'l TenantKey),
    /// What is forgotten by age.
    Housekeeping,
}

/// Whether others may have it too.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Mode {
    Shared,
    Exclusive,
}

/// Wider ones first. Events stand before all: who waits for its turn there does not hold the environment meanwhile,
/// so that a kill waits for one slice of events and no more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Level {
    Partition,
    Ingestion,
    Requests,
    Housekeeping,
    Installation,
    Tenant,
    Project,
    Environment,
}

impl Level {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Partition => "partitions",
            Self::Ingestion => "ingestion",
            Self::Requests => "requests",
            Self::Housekeeping => "housekeeping",
            Self::Installation => "installation",
            Self::Tenant => "tenants",
            Self::Project => "projects",
            Self::Environment => "environments",
        }
    }
}

/// Names of what is taken, in the order in which it is taken.
type Names = BTreeMap<(Level, String), Mode>;

impl Lock<'_> {
    /// Numbers of the locks to take one after the other. Two names that come to one number only wait more than they must.
    pub(super) fn numbers(self) -> Vec<(i64, Mode)> {
        let named = self.names().into_iter();
        named.map(|((level, name), mode)| (number(level.as_str(), &name), mode)).collect()
    }

    fn names(self) -> Names {
        let mut names = Names::new();
        match self {
            Self::Keys => take(&mut names, Level::Installation, String::new(), Mode::Exclusive),
            Self::Tenant(tenant) => path(&mut names, [tenant], Mode::Exclusive),
            Self::Project(tenant, project) => {
                path(&mut names, [tenant, project], Mode::Exclusive);
            }
            Self::Environment(scope) => environment(&mut names, scope),
            Self::Environments(scopes) => scopes.iter().for_each(|scope| environment(&mut names, scope)),
            Self::Ingestion(ClaimedPlace { tenant, project, environment }) => {
                let name = [tenant, project, environment].join("/");
                take(&mut names, Level::Ingestion, name, Mode::Exclusive);
                path(&mut names, [&tenant, &project, &environment], Mode::Shared);
            }
            Self::Partition(Scope { tenant, project, environment }) => {
                let name = format!("/{tenant}/{project}/{environment}");
                take(&mut names, Level::Partition, name, Mode::Exclusive);
            }
            Self::Requests(tenant) => {
                take(&mut names, Level::Requests, format!("/{tenant}"), Mode::Exclusive);
            }
            Self::Housekeeping => take(&mut names, Level::Housekeeping, String::new(), Mode::Exclusive),
        }
        names
    }
}

fn environment(names: &mut Names, Scope { tenant, project, environment }: &Scope) {
    path(names, [tenant, project, environment], Mode::Exclusive);
}

/// The last of `parts` in `mode`, and shared what it is part of.
fn path<const N: usize>(names: &mut Names, parts: [&dyn Display; N], mode: Mode) {
    take(names, Level::Installation, String::new(), Mode::Shared);
    let levels = [Level::Tenant, Level::Project, Level::Environment];
    let mut name = String::new();
    for (at, (part, level)) in parts.into_iter().zip(levels).enumerate() {
        name = format!("{name}/{part}");
        take(names, level, name.clone(), if at + 1 == N { mode } else { Mode::Shared });
    }
}

fn take(names: &mut Names, level: Level, name: String, mode: Mode) {
    let taken = names.entry((level, name)).or_insert(mode);
    *taken = mode.max(*taken);
}

/// The same in every process and for ever: processes of two releases may share a database while one replaces the other.
pub(super) fn number(level: &str, name: &str) -> i64 {
    let digest = Digest::of(format!("flagfuse/{level}{name}").as_bytes());
    digest.as_bytes().iter().take(8).fold(0, |number, byte| number << 8 | i64::from(*byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(lock: Lock<'_>) -> Vec<String> {
        let word = |((level, name), mode): ((Level, String), Mode)| format!("{mode:?} {level:?}{name}");
        lock.names().into_iter().map(word).collect()
    }

    #[test]
    fn a_lock_takes_what_it_names_and_shares_what_that_is_part_of_the_widest_first() {
        let scope = |text| Scope::parse(text).unwrap();
        let (a, b) = (scope("t/p/a"), scope("t/p/b"));
        let above = ["Shared Installation", "Shared Tenant/t", "Shared Project/t/p"];
        assert_eq!(names(Lock::Keys), ["Exclusive Installation"]);
        assert_eq!(names(Lock::Tenant(&a.tenant)), ["Shared Installation", "Exclusive Tenant/t"]);
        let project = Lock::Project(&a.tenant, &a.project);
        assert_eq!(names(project), ["Shared Installation", "Shared Tenant/t", "Exclusive Project/t/p"]);
        let own = "Exclusive Environment/t/p/a";
        assert_eq!(names(Lock::Environment(&a)), [&above[..], &[own]].concat());
        let both = [b.clone(), a.clone(), b];
        let expected = [&above[..], &[own, "Exclusive Environment/t/p/b"]].concat();
        assert_eq!(names(Lock::Environments(&both)), expected, "in one order, however they are named");
        let place = ClaimedPlace { tenant: "t", project: "p", environment: "a" };
        let expected = [&["Exclusive Ingestiont/p/a"], &above[..], &["Shared Environment/t/p/a"]].concat();
        assert_eq!(names(Lock::Ingestion(place)), expected);
        assert_eq!(names(Lock::Partition(&a)), ["Exclusive Partition/t/p/a"]);
        assert_eq!(names(Lock::Requests(&a.tenant)), ["Exclusive Requests/t"]);
        assert_eq!(names(Lock::Housekeeping), ["Exclusive Housekeeping"]);
    }

    #[test]
    fn a_locks_number_is_the_same_for_ever() {
        assert_eq!(number("tenants", "/t"), 8_115_236_127_797_512_203);
    }
}
