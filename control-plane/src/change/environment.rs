//! All flags of an environment and what they share, before and after a change. Pure but for `load`.

use std::collections::BTreeSet;
use std::sync::Arc;

use flagfuse_shared::definition::{FlagWire, HoldoutWire, LayerWire, SegmentWire, SharedWire};
use flagfuse_shared::environment::{Environment as Compiled, EnvironmentFault, compile_environment};
use flagfuse_shared::ids::{FlagKey, Scope};
use flagfuse_shared::snapshot::payload::Definitions;
use serde_json::{Value, json};

use super::error::{ChangeError, Conflict};
use super::flags_by_key::FlagsByKey;
use super::resource::Resource;
use crate::store::parts::Part;
use crate::store::read_flags::ReadFlags;
use crate::store::{Connection, StoreError, parts as stored};

/// A segment, a layer or the holdout as it is to be.
#[derive(Debug, Clone, PartialEq)]
pub enum PartWire {
    /// A named group of askers.
    Segment(SegmentWire),
    /// A set of buckets that flags divide.
    Layer(LayerWire),
    /// The one holdout.
    Holdout(HoldoutWire),
}

impl PartWire {
    /// Kind and key.
    pub(super) fn name(&self) -> (Part, &str) {
        match self {
            Self::Segment(wire) => (Part::Segment, &wire.key),
            Self::Layer(wire) => (Part::Layer, &wire.key),
            Self::Holdout(_) => (Part::Holdout, ""),
        }
    }

    /// As it is stored.
    pub(super) fn body(&self) -> Value {
        match self {
            Self::Segment(wire) => json!(wire),
            Self::Layer(wire) => json!(wire),
            Self::Holdout(wire) => json!(wire),
        }
    }
}

/// Every part, one by one.
pub(super) fn parts(shared: SharedWire) -> impl Iterator<Item = PartWire> {
    let segments = shared.segments.into_iter().map(PartWire::Segment);
    let layers = shared.layers.into_iter().map(PartWire::Layer);
    segments.chain(layers).chain(shared.holdout.into_iter().map(PartWire::Holdout))
}

/// Everything that is compiled together.
#[derive(Debug, Clone)]
pub(super) struct Environment {
    pub(super) flags: FlagsByKey,
    pub(super) shared: SharedWire,
}

/// What a change touches.
#[derive(Debug, Clone, Copy)]
pub(super) enum Touched<'k> {
    /// Has to be sound afterwards, or be gone.
    Flag(&'k str),
    /// As a flag: sound, or gone.
    Segment(&'k str),
    Layer(&'k str),
    Holdout,
}

impl<'k> Touched<'k> {
    pub(super) const fn part(part: Part, key: &'k str) -> Self {
        match part {
            Part::Segment => Self::Segment(key),
            Part::Layer => Self::Layer(key),
            Part::Holdout => Self::Holdout,
        }
    }

    const fn name(self) -> (Resource, &'k str) {
        match self {
            Self::Flag(key) => (Resource::Flag, key),
            Self::Segment(key) => (Resource::Segment, key),
            Self::Layer(key) => (Resource::Layer, key),
            Self::Holdout => (Resource::Holdout, ""),
        }
    }
}

impl Environment {
    /// As it is stored.
    pub(super) async fn load(
        conn: &mut Connection,
        read_flags: &ReadFlags,
        scope: &Scope,
    ) -> Result<Self, StoreError> {
        let flags = read_flags.read(conn, scope).await?;
        let shared = stored::environment_parts(conn, scope).await?;
        Ok(Self { flags: flags.into_iter().collect(), shared })
    }

    /// With one flag more, or another one under its key.
    pub(super) fn with_flag(&self, wire: &FlagWire) -> Self {
        let mut after = self.clone();
        after.flags.insert(wire.clone());
        after
    }

    /// Without a flag.
    pub(super) fn without_flag(&self, key: &str) -> Self {
        let mut after = self.clone();
        after.flags.remove(key);
        after
    }

    /// For a snapshot.
    pub(super) fn definitions(&self) -> Definitions<Arc<FlagWire>> {
        Definitions { flags: self.flags.shared(), shared: self.shared.clone() }
    }

    /// A part as it is stored.
    pub(super) fn part(&self, part: Part, key: &str) -> Option<Value> {
        match part {
            Part::Segment => self.shared.segments.iter().find(|wire| wire.key == key).map(|wire| json!(wire)),
            Part::Layer => self.shared.layers.iter().find(|wire| wire.key == key).map(|wire| json!(wire)),
            Part::Holdout => self.shared.holdout.as_ref().map(|wire| json!(wire)),
        }
    }

    /// Puts a part in the place of the one with its key.
    pub(super) fn put_part(&mut self, part: &PartWire) {
        let (kind, key) = part.name();
        self.remove_part(kind, key);
        match part {
            PartWire::Segment(wire) => self.shared.segments.push(wire.clone()),
            PartWire::Layer(wire) => self.shared.layers.push(wire.clone()),
            PartWire::Holdout(wire) => self.shared.holdout = Some(wire.clone()),
        }
    }

    /// Takes a part away.
    pub(super) fn remove_part(&mut self, part: Part, key: &str) {
        match part {
            Part::Segment => self.shared.segments.retain(|segment| segment.key != key),
            Part::Layer => self.shared.layers.retain(|layer| layer.key != key),
            Part::Holdout => self.shared.holdout = None,
        }
    }

    fn compile(&self) -> Result<Compiled, EnvironmentFault> {
        let flags =
            self.flags.values().filter_map(|wire| FlagKey::parse(&wire.key).ok().map(|key| (key, Ok(wire))));
        compile_environment(flags, &self.shared)
    }

    /// The keys of flags that cannot be evaluated here.
    pub(super) fn malformed_flags(&self) -> Result<Vec<String>, EnvironmentFault> {
        let compiled = self.compile()?;
        Ok(compiled.flags().filter(|(_, flag)| flag.is_err()).map(|(key, _)| key.to_string()).collect())
    }

    /// What is malformed, its key, and why.
    fn faults<'c>(&'c self, compiled: &'c Compiled) -> impl Iterator<Item = (Resource, &'c str, String)> {
        let flags = compiled.flags().filter_map(|(key, flag)| {
            flag.err().map(|fault| (Resource::Flag, key.as_str(), fault.to_string()))
        });
        let segments = self.shared.segments.iter().filter_map(|segment| {
            let fault = compiled.segment_fault(&segment.key)?;
            Some((Resource::Segment, segment.key.as_str(), fault.to_string()))
        });
        flags.chain(segments)
    }
}

/// Refuses a change that leaves malformed what it touches, or what was sound before. What was malformed already is
/// nobody's obstacle.
pub(super) fn check(
    before: &Environment,
    after: &Environment,
    touched: &[Touched<'_>],
) -> Result<(), ChangeError> {
    match conflicts(before, after, touched)?.into_iter().next() {
        Some(conflict) => Err(conflict.reason),
        None => Ok(()),
    }
}

/// Everything that such a change leaves malformed, what it touches first.
pub(super) fn conflicts(
    before: &Environment,
    after: &Environment,
    touched: &[Touched<'_>],
) -> Result<Vec<Conflict>, ChangeError> {
    let compiled = after.compile()?;
    let mut found = Vec::new();
    for subject in touched {
        if let Err(reason) = check_subject(&compiled, *subject) {
            let (what, key) = subject.name();
            found.push(Conflict { name: format!("{what} {key}"), reason });
        }
    }
    let mut faults = after.faults(&compiled).peekable();
    let Some(first) = touched.first().filter(|_| faults.peek().is_some()) else { return Ok(found) };
    let earlier = before.compile()?;
    let known: BTreeSet<(Resource, &str)> =
        before.faults(&earlier).map(|(what, key, _)| (what, key)).collect();
    let own: BTreeSet<(Resource, &str)> = touched.iter().map(|touched| touched.name()).collect();
    let (what, key) = first.name();
    let others =
        faults.filter(|(what, key, _)| !known.contains(&(*what, *key)) && !own.contains(&(*what, *key)));
    found.extend(others.map(|(by, name, fault)| {
        let (key, by_name) = (key.to_owned(), format!("{by} {name:?}"));
        Conflict {
            name: format!("{by} {name}"),
            reason: ChangeError::InUse { what, key, by: by_name, fault },
        }
    }));
    Ok(found)
}

fn check_subject(compiled: &Compiled, subject: Touched<'_>) -> Result<(), ChangeError> {
    match subject {
        Touched::Flag(key) => {
            let found = compiled.flags().find(|(found, _)| found.as_str() == key);
            match found.and_then(|(_, flag)| flag.err()) {
                Some(fault) => Err(ChangeError::Flag { key: key.to_owned(), source: fault.clone() }),
                None => Ok(()),
            }
        }
        Touched::Segment(key) => match compiled.segment_fault(key) {
            Some(fault) => Err(ChangeError::Segment { key: key.to_owned(), source: fault.clone() }),
            None => Ok(()),
        },
        Touched::Layer(_) | Touched::Holdout => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::change::testing::{environment, flag};
    use flagfuse_shared::flag::FlagFault;

    #[test]
    fn only_new_faults_of_others_count() {
        let needs = |other: &str| json!({ "prerequisites": [{ "flag": other, "variations": ["on"] }] });
        let flags = [flag("a", &json!({})), flag("b", &needs("ghost")), flag("c", &needs("a"))];
        let sick = environment(flags, json!({}));
        let touched = sick.with_flag(&flag("a", &json!({ "enabled": false })));
        check(&sick, &touched, &[Touched::Flag("a")]).unwrap();
        check(&sick, &sick, &[Touched::Layer("home")]).unwrap();
        let fault = check(&sick, &sick, &[Touched::Flag("b")]).unwrap_err();
        assert!(
            matches!(fault, ChangeError::Flag { source: FlagFault::UnknownPrerequisite { .. }, .. }),
            "{fault}"
        );
        let fault = check(&sick, &sick.without_flag("a"), &[Touched::Flag("a")]).unwrap_err().to_string();
        for word in ["flag \"a\"", "flag \"c\"", "prerequisites names the flag \"a\""] {
            assert!(fault.contains(word), "{fault}");
        }
    }

    #[test]
    fn everything_that_an_import_would_leave_malformed_is_named_and_of_others_what_was_sound() {
        let names = |key: &str| {
            json!({ "rules": [{ "key": "r", "split": [{ "variation": "on" }],
                "conditions": [{ "op": "in_segment", "values": [key] }] }] })
        };
        let before = environment([flag("a", &names("beta"))], json!({ "segments": [{ "key": "beta" }] }));
        let mut after = before.with_flag(&flag("b", &names("ghost")));
        after.remove_part(Part::Segment, "beta");
        let touched = [Touched::Flag("b"), Touched::Segment("beta")];
        let found = conflicts(&before, &after, &touched).unwrap();
        let names: Vec<&str> = found.iter().map(|conflict| conflict.name.as_str()).collect();
        assert_eq!(names, ["flag b", "flag a"]);
        assert!(matches!(found[1].reason, ChangeError::InUse { what: Resource::Flag, .. }));
        assert_eq!(before.malformed_flags().unwrap(), [""; 0]);
        assert_eq!(after.malformed_flags().unwrap(), ["a", "b"]);
    }

    #[test]
    fn a_part_takes_the_place_of_the_one_with_its_key() {
        let shared = json!({ "segments": [{ "key": "a" }, { "key": "b" }], "layers": [{ "key": "l" }],
            "holdout": { "percentage": 5.0, "salt": "h" } });
        let before = environment([], shared);
        let mut after = before.clone();
        for part in parts(before.shared.clone()) {
            after.put_part(&part);
        }
        assert_eq!(after.shared, before.shared, "in their order");
        for part in parts(before.shared.clone()) {
            let (kind, key) = part.name();
            after.remove_part(kind, key);
        }
        assert_eq!(after.shared, SharedWire::default());
    }
}
