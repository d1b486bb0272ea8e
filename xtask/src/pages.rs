//! Visitors in a real browser: pages of an installed Chromium, with OpenFeature's web SDK and the package for pages in them.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use crate::output::Dialogue;
use crate::tools;
use crate::traffic::{Behaviour, Visit};

/// How long a group of visitors may take; each wait inside has a bound of its own, which is shorter.
const GROUP_LIMIT: Duration = Duration::from_mins(3);
/// Parts of a chance.
const WHOLE: f64 = 1_000_000.0;

/// A browser with a page for each isolate.
#[derive(Debug)]
pub struct Pages(Dialogue);

impl Pages {
    /// Starts the browser, whose visitors meet `flag` at these edges; an error where there is no Chromium.
    pub fn open(root: &Path, edges: &[String], key: &str, flag: &str, behaviour: Behaviour) -> Result<Self> {
        tools::web_package(root)?;
        let chances = [behaviour.converting_on, behaviour.converting_off]
            .map(|buckets| (f64::from(buckets) / WHOLE).to_string());
        let mut node = Command::new("node");
        node.arg(root.join("sdk/web/test/crowd.mjs")).args([key, flag]).args(chances).args(edges);
        Ok(Self(Dialogue::start("the visitors' browser", &mut node)?))
    }

    /// These units visit, one after the other on each isolate's page; with the isolate's place among the edges.
    pub fn visit(&mut self, units: &[String]) -> Result<Vec<(usize, Visit)>> {
        let line = self.0.ask(&json!({ "units": units }).to_string(), GROUP_LIMIT)?;
        let told: Value = serde_json::from_str(&line).with_context(|| line.clone())?;
        if let Some(error) = told["error"].as_str() {
            bail!("{error}");
        }
        told["visits"].as_array().context("no visits")?.iter().map(read).collect()
    }
}

fn read(told: &Value) -> Result<(usize, Visit)> {
    let missing = |name: &str| format!("no {name} in {told}");
    let is = |name: &str| told[name].as_bool().with_context(|| missing(name));
    let number = |name: &str| told[name].as_u64().with_context(|| missing(name));
    let visit = Visit {
        saw_feature: is("saw_feature")?,
        converted: is("converted")?,
        version: told["version"].as_str().with_context(|| missing("version"))?.to_owned(),
        answered_ms: number("answered_ms")?,
    };
    Ok((usize::try_from(number("isolate")?)?, visit))
}
