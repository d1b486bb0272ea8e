//! The only writer of flags: validate, write, audit, sign and queue, in one transaction; then wake the pushers.
//!
//! A person and a fuse come through the same door, so both get the same checks, the same audit row and the same
//! publication. Never judges whether a change is wise.
//!
//! - `kinds`, `resource`, `edit`, `proposal`: what somebody asks for, and the change that it comes to as things stand
//! - `subject`, `state`, `precondition`, `precondition_check`, `consent`, `loss`, `decisions`, `altered`: what may speak against
//!   it, and who has to confirm it
//! - `flag`, `inheritance`, `details`, `part`, `import`, `revert`, `fuse`, `ramp`, `together`, `rollout`, `scope`, `slo`, `token`, `people`: one file a kind of change
//! - `environment`, `flags_by_key`, `attempt`, `fuse_lock`, `reach`, `same`, `fields`, `named`: what those share
//! - `writing`, `effect`, `action`, `record`, `notice`, `outcome`: what every one of them is handed, and what it leaves behind
//! - `lock`, `transaction`: all of it in order, with as much locked as is checked

mod action;
mod altered;
mod attempt;
mod confirm;
mod consent;
mod decisions;
mod details;
mod edit;
mod effect;
mod environment;
mod error;
mod fields;
mod flag;
mod flags_by_key;
mod fuse;
mod fuse_lock;
mod import;
mod inheritance;
mod kinds;
mod lock;
mod loss;
mod many;
mod named;
mod notice;
mod outcome;
mod part;
mod people;
mod people_change;
mod precondition;
mod precondition_check;
mod proposal;
mod ramp;
mod reach;
mod record;
mod resource;
mod revert;
mod rollout;
mod same;
mod scope;
mod slice_trip;
mod slo;
mod slo_change;
mod state;
mod subject;
#[cfg(test)]
pub(crate) mod testing;
mod together;
mod token;
mod transaction;
mod writing;

pub use self::confirm::{Above, Given, Lost};
pub use self::consent::Consent;
pub use self::edit::{Edit, Power, SettingsPatch};
pub use self::environment::PartWire;
pub use self::error::{ChangeError, Conflict};
pub use self::kinds::{Actor, Change, Decider, Existing, Fuses, Import, RolloutStep};
pub use self::loss::project_tag;
pub use self::outcome::{Applied, Rehearsed};
pub use self::people::is_visible;
pub use self::people_change::{CodeToMake, PeopleChange, Proof};
pub use self::precondition::{HeaderFault, Preconditions, Tag, Unmet};
pub use self::proposal::{Proposal, Terms};
pub use self::resource::Resource;
pub use self::slo_change::SloChange;
pub use self::subject::Subject;
pub use self::transaction::{apply, propose, rehearse};
