//! Who is asked before a change that alters many decisions, and what counts as their yes. Pure: changes nothing.

use flagfuse_inspect::diff::Kind;
use flagfuse_shared::definition::FlagWire;
use flagfuse_shared::digest::Digest;
use serde_json::{Value, json};

use super::decisions::Altered;
use super::edit::{Edit, Power};
use super::{Change, ChangeError};

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
            Change::FuseTransition { .. } => Self::NotAsked,
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
            | Edit::Settings { .. } => self,
        }
    }

    /// Refuses what needs a yes and does not have it.
    pub(super) fn check(self, altered: &[Altered]) -> Result<(), ChangeError> {
        let Self::Person(given) = self else { return Ok(()) };
        let Some(above) = Above::of(altered) else { return Ok(()) };
        let confirmation = confirmation(altered);
        if given == Some(confirmation) {
            return Ok(());
        }
        let told = altered.iter().map(Altered::told).collect();
        let given = if given.is_some() { Given::Other } else { Given::Nothing };
        Err(ChangeError::ConfirmationNeeded { above: Box::new(above), given, confirmation, told })
    }
}

/// The flag that changes most beyond what its environment lets pass.
#[derive(Debug, Clone, PartialEq)]
pub struct Above {
    /// Which flag.
    pub flag: String,
    /// In which environment.
    pub environment: String,
    /// Share of its sampled decisions that change.
    pub changed_pct: f64,
    /// The environment's setting.
    pub limit_pct: u8,
}

/// What a person sent along.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Given {
    /// No confirmation.
    Nothing,
    /// One of another change, or of an environment that has moved on.
    Other,
}

impl Above {
    /// `None` when nobody has to be asked.
    pub(super) fn of(altered: &[Altered]) -> Option<Self> {
        let beyond = altered.iter().filter(|altered| !is_switch_off(altered)).flat_map(|altered| {
            let limit = altered.confirm_above;
            let flags = altered.diff.flags.iter();
            flags.filter_map(move |flag| {
                let limit_pct = limit?.get();
                (flag.changed_pct() > f64::from(limit_pct)).then(|| Self {
                    flag: flag.flag.clone(),
                    environment: altered.scope.environment.to_string(),
                    changed_pct: flag.changed_pct(),
                    limit_pct,
                })
            })
        });
        beyond.max_by(|left, right| left.changed_pct.total_cmp(&right.changed_pct))
    }
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
