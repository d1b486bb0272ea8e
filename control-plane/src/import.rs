//! Which importer reads which format. Reads no file and stores nothing: `change` does.

use flagfuse_shared::import::{ImportError, Imported};
use flagfuse_shared::{flagd, launchdarkly, unleash};
use serde::{Deserialize, Serialize};

/// Another system's way to write flags down.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum Format {
    /// A client features document, or an export.
    Unleash,
    /// A flag definition.
    Flagd,
    /// What `…/sdk/latest-all` answers.
    #[value(name = "launchdarkly")]
    #[serde(rename = "launchdarkly")]
    LaunchDarkly,
}

impl Format {
    /// The word in the API, on the command line and in the audit trail.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unleash => "unleash",
            Self::Flagd => "flagd",
            Self::LaunchDarkly => "launchdarkly",
        }
    }
}

/// A document, and for documents of several environments the name of the one that counts → flags in our model.
pub type Importer = fn(&[u8], Option<&str>) -> Result<Imported, ImportError>;

/// The importer of a format.
pub fn importer(format: Format) -> Importer {
    match format {
        Format::Unleash => unleash::import::import,
        Format::Flagd => |document, _| flagd::import(document),
        Format::LaunchDarkly => |document, _| launchdarkly::import(document),
    }
}
