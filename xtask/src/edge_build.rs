//! Compiles the edge, and the workers of benchmarks, into the modules that workerd and wrangler load. Never runs them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, anyhow};

use crate::process::run;
use crate::tools::{self, progress};

/// File name of the module that imports the others.
pub const ENTRY: &str = "entry.js";
const WASM: &str = "index_bg.wasm";

/// How much time the build may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EdgeProfile {
    /// rustc's release build as it is: for development and tests.
    Fast,
    /// Shrunk by `wasm-opt` too: what is deployed and measured.
    Optimised,
}

/// A folder with everything a worker consists of.
#[derive(Debug, Clone)]
pub struct EdgeBundle {
    /// Where the modules are.
    pub dir: PathBuf,
    /// Paths inside `dir`, the entry module first.
    pub modules: Vec<String>,
}

/// Builds the edge. Cheap when nothing changed: cargo decides that, the later steps follow the Wasm's modification time.
pub fn build_edge(root: &Path, profile: EdgeProfile) -> Result<EdgeBundle> {
    tools::wasm_target(root)?;
    progress("compiling the edge to Wasm");
    run(
        "compiling the edge",
        Command::new("cargo")
            .args(["build", "--release", "--target", tools::WASM_TARGET, "--package", "flagfuse-edge"])
            .current_dir(root),
    )?;
    let compiled = root.join("target/wasm32-unknown-unknown/release/flagfuse_edge.wasm");
    let dir = match profile {
        EdgeProfile::Fast => root.join("target/edge"),
        EdgeProfile::Optimised => root.join("edge/build"),
    };
    bundle(root, &compiled, &root.join("edge/src").join(ENTRY), dir, profile)
}

/// Builds a worker of `bench/workers` as the edge is built for deployment.
pub fn build_bench_worker(root: &Path, name: &str) -> Result<EdgeBundle> {
    tools::wasm_target(root)?;
    progress(&format!("compiling the worker {name:?} to Wasm"));
    let workspace = root.join("bench/workers");
    let target_dir = root.join("target/bench-build/workers");
    run(
        "compiling a worker",
        Command::new("cargo")
            .args(["build", "--release", "--target", tools::WASM_TARGET])
            .args(["--package", &format!("flagfuse-bench-{name}"), "--target-dir"])
            .arg(&target_dir)
            .current_dir(&workspace),
    )?;
    let release_dir = target_dir.join(tools::WASM_TARGET).join("release");
    let compiled = release_dir.join(format!("flagfuse_bench_{name}.wasm"));
    let dir = target_dir.join(name);
    bundle(root, &compiled, &workspace.join(name).join(ENTRY), dir, EdgeProfile::Optimised)
}

/// From compiled Wasm and an entry module to a folder that workerd can load.
fn bundle(
    root: &Path,
    compiled: &Path,
    entry: &Path,
    dir: PathBuf,
    profile: EdgeProfile,
) -> Result<EdgeBundle> {
    if is_older(&dir.join(WASM), compiled)? {
        bind(root, compiled, &dir)?;
        if profile == EdgeProfile::Optimised {
            optimise(root, &dir.join(WASM))?;
        }
    }
    fs::copy(entry, dir.join(ENTRY)).with_context(|| format!("copying {}", entry.display()))?;
    let modules = modules(&dir)?;
    Ok(EdgeBundle { dir, modules })
}

/// Generates the JavaScript between workerd and the compiled Rust code.
fn bind(root: &Path, compiled: &Path, dir: &Path) -> Result<()> {
    progress("generating a worker's bindings (compiles the generator the first time)");
    if dir.exists() {
        fs::remove_dir_all(dir).with_context(|| format!("emptying {}", dir.display()))?;
    }
    fs::create_dir_all(dir).with_context(|| format!("creating {}", dir.display()))?;
    run(
        "generating a worker's bindings",
        Command::new("cargo")
            .args(["run", "--quiet", "--package", "xtask", "--features", "bindgen"])
            .args(["--bin", "wasm-bindgen-module", "--"])
            .args([compiled, dir])
            .current_dir(root),
    )?;
    // `import source` is a later stage of the same proposal; workerd gives a compiled module to a plain import.
    let index = dir.join("index.js");
    let text = fs::read_to_string(&index).with_context(|| format!("reading {}", index.display()))?;
    fs::write(&index, text.replace("import source ", "import ")).context("writing a worker's bindings")
}

/// Shrinks the Wasm in place and drops its names. Features are listed because "all" would include encodings that
/// workerd does not read yet.
fn optimise(root: &Path, wasm: &Path) -> Result<()> {
    progress("shrinking a worker's Wasm");
    run(
        "wasm-opt",
        tools::wasm_opt(root)?.arg(wasm).arg("-o").arg(wasm).args(["-O3", "--strip-debug"]).args(
            [
                "mutable-globals",
                "sign-ext",
                "nontrapping-float-to-int",
                "bulk-memory",
                "multivalue",
                "reference-types",
                "exception-handling",
            ]
            .map(|feature| format!("--enable-{feature}")),
        ),
    )
}

/// Whether `made` is missing or was written before `source`.
fn is_older(made: &Path, source: &Path) -> Result<bool> {
    let source_time = fs::metadata(source)
        .and_then(|data| data.modified())
        .with_context(|| format!("looking at {}", source.display()))?;
    Ok(fs::metadata(made).and_then(|data| data.modified()).map_or(true, |made_time| made_time < source_time))
}

/// All modules of a bundle, the entry first, the rest in the order of their paths.
fn modules(dir: &Path) -> Result<Vec<String>> {
    let mut found = Vec::new();
    let mut folders = vec![dir.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).with_context(|| format!("listing {}", folder.display()))? {
            let path = entry?.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "js" || extension == "wasm") {
                let inside = path
                    .strip_prefix(dir)?
                    .to_str()
                    .ok_or_else(|| anyhow!("{} is not UTF-8", path.display()))?;
                found.push(inside.to_owned());
            }
        }
    }
    found.sort_by_key(|module| (module != ENTRY, module.clone()));
    Ok(found)
}
