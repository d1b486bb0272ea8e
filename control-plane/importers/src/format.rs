//! Which importer reads which format, in JSON or YAML. Reads no file and stores nothing: `change` does.

use std::borrow::Cow;

use flagfuse_shared::limits::IMPORT_LEN_MAX;
use serde::{Deserialize, Serialize};

use crate::{ImportError, Imported, flagd, launchdarkly, unleash, without_mark, yaml};

/// Another system's way to write flags down.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Format {
    /// A client features document, or an export.
    Unleash,
    /// A flag definition.
    Flagd,
    /// What `…/sdk/latest-all` answers.
    #[serde(rename = "launchdarkly")]
    LaunchDarkly,
}

impl Format {
    /// Every format there is.
    pub const ALL: [Self; 3] = [Self::Unleash, Self::Flagd, Self::LaunchDarkly];

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
        Format::Unleash => unleash::import,
        Format::Flagd => |document, _| flagd::import(&json_of(document)?),
        Format::LaunchDarkly => |document, _| launchdarkly::import(document),
    }
}

/// A flagd definition as JSON. JSON that begins like the object it has to be is left as it is; anything else is YAML.
fn json_of(document: &[u8]) -> Result<Cow<'_, [u8]>, ImportError> {
    let is_json = without_mark(document).trim_ascii_start().starts_with(b"{");
    if is_json || document.len() > IMPORT_LEN_MAX {
        return Ok(Cow::Borrowed(document));
    }
    // What is no UTF-8 is named where JSON is read.
    let Ok(text) = std::str::from_utf8(without_mark(document)) else { return Ok(Cow::Borrowed(document)) };
    let shape = |detail| ImportError::Shape { format: "a flagd definition", detail };
    let value = yaml::parse(text).map_err(|error| shape(error.to_string()))?;
    serde_json::to_vec(&value).map(Cow::Owned).map_err(|error| shape(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const YAML: &str = "# yaml-language-server: $schema=https://flagd.dev/schema/v0/flags.json\n\
        $schema: https://flagd.dev/schema/v0/flags.json\nflags:\n  welcome:\n    state: ENABLED\n    variants: &bool\n\
        \x20     on: true\n      off: false\n    defaultVariant: off\n    targeting:\n      if:\n\
        \x20     - sem_ver: [{var: version}, '>=', '1.2']\n      - on\n  other:\n    state: DISABLED\n    variants: *bool\n";

    #[test]
    fn a_flagd_definition_may_be_yaml() {
        let json = serde_json::json!({ "flags": {
            "welcome": { "state": "ENABLED", "variants": { "on": true, "off": false }, "defaultVariant": "off",
                "targeting": { "if": [{ "sem_ver": [{ "var": "version" }, ">=", "1.2"] }, "on"] } },
            "other": { "state": "DISABLED", "variants": { "on": true, "off": false } },
        } });
        let import = |document: &[u8]| importer(Format::Flagd)(document, None);
        let expected = import(json.to_string().as_bytes()).unwrap();
        assert_eq!((expected.flags.len(), &expected.refused), (2, &Vec::new()));
        for mark in ["", "\u{feff}"] {
            assert_eq!(import(format!("{mark}{YAML}").as_bytes()), Ok(expected.clone()));
            assert_eq!(import(format!("{mark}\n{json}").as_bytes()), Ok(expected.clone()));
        }
    }

    #[test]
    fn what_is_neither_is_refused() {
        let rows: [(&[u8], &str); 6] = [
            (b"", "it must be a JSON object"),
            (b"[]", "it must be a JSON object"),
            (b"{flags: {}}", "key must be a string at line 1"),
            (b"flags: {\n", "line "),
            (b"\xff\xfef\0", "UTF-16"),
            (b"flags: \xe4", "the document cannot be read as a flagd definition"),
        ];
        for (document, expected) in rows {
            let found = importer(Format::Flagd)(document, None).unwrap_err().to_string();
            assert!(found.contains(expected), "{found}");
        }
        let long = vec![b' '; IMPORT_LEN_MAX + 1];
        let found = importer(Format::Flagd)(&long, None);
        assert!(matches!(found, Err(ImportError::TooLong { .. })), "{found:?}");
    }
}
