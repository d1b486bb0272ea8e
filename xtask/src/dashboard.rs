//! Builds the dashboard: types from the API's document, compiled and packed into the folder that the control plane serves.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use flagfuse_shared::digest::Digest;

use crate::process::{INSTALL_LIMIT, behind_others, run_within};
use crate::tools::{self, DASHBOARD, progress};

/// What the types of requests and answers are made of.
const DOCUMENT: &str = "control-plane/openapi.json";
/// Beside `src`.
const SOURCES: [&str; 5] =
    ["index.html", "package.json", "package-lock.json", "tsconfig.json", "vite.config.js"];
/// Digest of the sources that a build was made from.
const BUILT_FROM: &str = "dist/built-from";

/// Builds it unless its sources are those of the last build. Installs its packages first where they changed.
pub fn build_dashboard(root: &Path) -> Result<()> {
    tools::dashboard_packages(root)?;
    let _alone = tools::alone(root)?;
    let folder = root.join(DASHBOARD);
    let sources = digest(root)?;
    let built_from = folder.join(BUILT_FROM);
    if fs::read_to_string(&built_from).is_ok_and(|have| have == sources) {
        return Ok(());
    }
    progress("building the dashboard");
    for script in ["types", "check", "build"] {
        let mut npm = Command::new("npm");
        npm.args(["run", "--silent", script]).current_dir(&folder);
        run_within(&format!("npm run {script} in {DASHBOARD}"), &mut behind_others(&npm), INSTALL_LIMIT)?;
    }
    fs::write(&built_from, sources).with_context(|| format!("writing {}", built_from.display()))
}

/// Names and contents of everything that the build reads, as one word.
fn digest(root: &Path) -> Result<String> {
    let folder = root.join(DASHBOARD);
    let mut paths: Vec<PathBuf> = SOURCES.iter().map(|name| folder.join(name)).collect();
    paths.push(root.join(DOCUMENT));
    let mut folders = vec![folder.join("src")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).with_context(|| format!("listing {}", folder.display()))? {
            let path = entry?.path();
            if path.is_dir() { folders.push(path) } else { paths.push(path) }
        }
    }
    paths.sort();
    let mut all = Vec::new();
    for path in paths {
        all.extend_from_slice(path.strip_prefix(root)?.to_string_lossy().as_bytes());
        all.push(0);
        let bytes = fs::read(&path).with_context(|| format!("reading {}", path.display()))?;
        all.extend_from_slice(Digest::of(&bytes).to_string().as_bytes());
    }
    Ok(Digest::of(&all).to_string())
}
