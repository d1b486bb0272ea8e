//! Other systems' documents → flags in our model, which decide as they did there or are refused by name. Pure: reads no file
//! and stores nothing. The edge knows none of this.

mod budget;
mod document;
pub mod flagd;
mod format;
mod formula;
mod imported;
pub mod launchdarkly;
pub mod unleash;
mod version;
mod yaml;

pub use self::document::without_mark;
pub use self::format::{Format, Importer, importer};
pub use self::imported::{ImportError, Imported, Note, Refused};
