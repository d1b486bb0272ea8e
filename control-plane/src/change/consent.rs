//! Who is asked before a change that alters many decisions, and what counts as their yes. Pure: changes nothing.

use flagfuse_inspect::diff::Kind;
use flagfuse_shared::definition::FlagWire;
use flagfuse_shared::digest::Digest;
use serde_json::{Value, json};

use super::altered::Altered;
use super::confirm::{Above, Given};
use super::edit::{Edit, Power};
use super::error::ChangeError;
use super::kinds::Change;

/// Whether whoever makes a change can be asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Consent {
    /// Nobody is there: a fuse, a job, an operator at the command line.
    NotAsked,
    /// A person, with the confirmation that came with the request.
    Person(Option<Digest>),
}

impl Consent {
    /// A fuse is never held up, whoever moves it: it trips because something is wrong, and going back from there has its
    /// own rules. Everything else a person may be asked about.
    pub(super) const fn about(self, change: &Change) -> Self {
        match change {
            Change::FuseTransition { .. } | Change::Rollout { .. } => Self::NotAsked,
            _ => self,
        }
    }

    /// The same of an edit: who switches off is not asked.
    pub(super) const fn about_edit(self, edit: &Edit) -> Self {
        match edit {
            Edit::Switch { to: Power::Off, .. } => Self::NotAsked,
            Edit::Switch { to: Power::On, .. }
            | Edit::Flag { .. }
            | Edit::ProjectFlag { .. }
            | Edit::Copy { .. }
            | Edit::Settings { .. } => self,
        }
    }

    /// Refuses what needs a yes and does not have it.
    pub(super) fn check(self, altered: &[Altered]) -> Result<(), ChangeError> {
        let Self::Person(given) = self else { return Ok(()) };
        let Some(above) = above(altered) else { return Ok(()) };
        let confirmation = confirmation(altered);
        if given == Some(confirmation) {
            return Ok(());
        }
        let diffs = altered.iter().map(Altered::detail).collect();
        let given = if given.is_some() { Given::Other } else { Given::Nothing };
        Err(ChangeError::ConfirmationNeeded { above: Box::new(above), given, confirmation, diffs })
    }
}

/// `None` when nobody has to be asked.
pub(super) fn above(altered: &[Altered]) -> Option<Above> {
    let beyond = altered.iter().filter(|altered| !is_switch_off(altered)).flat_map(|altered| {
        let limit = altered.confirm_above;
        let flags = altered.diff.flags.iter();
        flags.filter_map(move |flag| {
            let limit_pct = limit?.get();
            (flag.changed_pct() > f64::from(limit_pct)).then(|| Above {
                flag: flag.flag.clone(),
                environment: altered.scope.environment.to_string(),
                changed_pct: flag.changed_pct(),
                limit_pct,
            })
        })
    });
    beyond.max_by(|left, right| left.changed_pct.total_cmp(&right.changed_pct))
}

/// Whether nothing happens but that flags are off afterwards. A kill must not wait for a second look; but one that also
/// changes what "off" serves is no kill.
fn is_switch_off(altered: &Altered) -> bool {
    let is_off = |key: &str| match (altered.flag_before(key), altered.after.flags.get(key)) {
        (Some(before), Some(after)) => !after.enabled && off_value(before) == off_value(after),
        (_, _) => false,
    };
    !altered.is_shared_altered()
        && altered.diff.flags.iter().all(|flag| match flag.kind {
            Kind::Altered => is_off(&flag.flag),
            Kind::Added | Kind::Removed => false,
            Kind::Dependent => true,
        })
}

/// What a flag serves while it is off; `None` for the default in the caller's code.
fn off_value(flag: &FlagWire) -> Option<&Value> {
    let off = flag.off_variation.as_ref()?;
    flag.variations.iter().find(|variation| variation.key == *off).map(|variation| &variation.value)
}

/// Names the versions that the change was made on, what it would publish and what that does: a yes to this is a yes to
/// nothing else.
pub(super) fn confirmation(altered: &[Altered]) -> Digest {
    let parts = altered.iter().map(|altered| {
        let content = json!({ "flags": altered.after.flags, "shared": altered.after.shared });
        json!({
            "scope": altered.scope.to_string(), "base": altered.base, "diff": altered.diff,
            "content": Digest::of(content.to_string().as_bytes()),
        })
    });
    Digest::of(Value::Array(parts.collect()).to_string().as_bytes())
}

#[cfg(test)]
mod tests {
    use flagfuse_shared::ids::{FlagKey, Scope};

    use super::*;
    use crate::change::testing::{altered, environment, flag};

    /// A share of the units in the place of none; `percentage` of a rule counts buckets, so the sample comes near it.
    fn rollout(percentage: u32, patch: &Value) -> FlagWire {
        let mut all =
            json!({ "rules": [{ "key": "r", "percentage": percentage, "split": [{ "variation": "on" }] }] });
        for (name, value) in patch.as_object().unwrap() {
            all[name] = value.clone();
        }
        flag("f", &all)
    }

    fn change(before: FlagWire, after: FlagWire, limit_pct: Option<u64>) -> [Altered; 1] {
        [altered(environment([before], json!({})), environment([after], json!({})), limit_pct)]
    }

    #[test]
    fn who_changes_more_than_agreed_is_asked_and_nobody_else() {
        let to = |percentage, limit| change(flag("f", &json!({})), rollout(percentage, &json!({})), limit);
        assert_eq!(above(&to(100, None)), None, "no limit");
        assert_eq!(above(&to(100, Some(100))), None, "at the limit");
        let found = above(&to(100, Some(99))).unwrap();
        assert_eq!((found.flag.as_str(), found.environment.as_str(), found.limit_pct), ("f", "e", 99));
        assert!((found.changed_pct - 100.0).abs() < 1e-9);
        let both = [to(20, Some(1)), to(60, Some(1))].into_iter().flatten().collect::<Vec<_>>();
        assert!(above(&both).unwrap().changed_pct > 40.0, "the flag that changes most");
    }

    #[test]
    fn killing_is_not_asked_about_unless_it_changes_what_off_serves() {
        let on = || rollout(100, &json!({ "off_variation": "off" }));
        let off = |patch: &Value| FlagWire { enabled: false, ..rollout(100, patch) };
        let same = json!({ "off_variation": "off" });
        assert_eq!(above(&change(on(), off(&same), Some(0))), None);
        let other = json!({ "off_variation": "off", "variations": [
            { "key": "on", "value": true }, { "key": "off", "value": true }, { "key": "no", "value": false },
        ], "default_variation": "no" });
        assert!(above(&change(on(), off(&other), Some(0))).is_some(), "off serves the feature now");
        assert!(
            above(&change(on(), off(&json!({})), Some(0))).is_some(),
            "the caller's default is not \"off\""
        );
        assert!(above(&change(off(&same), on(), Some(0))).is_some());
    }

    #[test]
    fn a_confirmation_fits_one_change_of_one_version() {
        let made = || change(flag("f", &json!({})), rollout(100, &json!({})), Some(10));
        let yes = confirmation(&made());
        assert!(
            Consent::NotAsked.check(&made()).is_ok() && Consent::Person(Some(yes)).check(&made()).is_ok()
        );
        let given = |consent: Consent, altered: &[Altered]| match consent.check(altered) {
            Err(ChangeError::ConfirmationNeeded { given, diffs, .. }) => {
                assert_eq!(diffs.len(), altered.len());
                given
            }
            other => panic!("{other:?}"),
        };
        assert_eq!(given(Consent::Person(None), &made()), Given::Nothing);
        let mut later = made();
        for altered in &mut later {
            altered.base.seq += 1;
        }
        assert_eq!(given(Consent::Person(Some(yes)), &later), Given::Other);
        let other = change(flag("f", &json!({})), rollout(99, &json!({})), Some(10));
        assert_eq!(given(Consent::Person(Some(yes)), &other), Given::Other);
    }

    #[test]
    fn fuses_and_switches_to_off_ask_nobody() {
        let (scope, flag) = (Scope::parse("t/p/e").unwrap(), FlagKey::parse("f").unwrap());
        let asked = Consent::Person(None);
        for (to, expected) in [(Power::Off, Consent::NotAsked), (Power::On, asked)] {
            let edit = Edit::Switch { scope: scope.clone(), flag: flag.clone(), to };
            assert_eq!(asked.about_edit(&edit), expected);
        }
        let change = Change::DeleteFuse { scope, flag };
        assert_eq!(asked.about(&change), asked);
    }
}
