//! Compiles a crate into the modules that workerd, browsers and Node.js load. Never runs them.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow};

use crate::process::{COMPILE_LIMIT, behind_others, cargo, optimising_cargo, run_within};
use crate::tools::{self, progress};

/// A crate that becomes Wasm.
#[derive(Debug, Clone, Copy)]
pub struct WasmCrate {
    /// What people call it; names the folder of its fast build.
    pub name: &'static str,
    /// Cargo's package, whose library is a `cdylib`.
    pub package: &'static str,
    /// Packages that are built with it: with the features of all, what they have in common is compiled once.
    pub company: &'static [&'static str],
    /// File name of the generated module, without its ending.
    pub module: &'static str,
    /// Who loads it.
    pub host: Host,
    /// Modules written by hand that are copied beside the generated one, the entry module first.
    pub beside: &'static [&'static str],
    /// Where the optimised build goes.
    pub optimised_dir: &'static str,
}

/// Who loads a module.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Host {
    /// workerd alone, which hands compiled modules to imports and keeps going after a trap.
    Worker,
    /// Browsers, Node.js and workers: the importer brings the Wasm.
    Any,
}

/// The worker.
pub const EDGE: WasmCrate = WasmCrate {
    name: "edge",
    package: "flagfuse-edge",
    company: &[],
    module: "index",
    host: Host::Worker,
    beside: &["edge/src/entry.js"],
    optimised_dir: "edge/build",
};

/// The evaluator for browsers and Node.js.
pub const EVALUATOR: WasmCrate = WasmCrate {
    name: "evaluator",
    package: "flagfuse-evaluator",
    company: &[],
    module: "evaluator",
    host: Host::Any,
    beside: &[],
    optimised_dir: "sdk/evaluator/pkg",
};

/// The evaluator together with the generator of the determinism test.
pub const DETERMINISM: WasmCrate = WasmCrate {
    name: "determinism-module",
    package: "flagfuse-determinism",
    company: &["flagfuse-edge"],
    module: "determinism",
    host: Host::Any,
    beside: &[
        "tests/determinism/hosts/worker.js",
        "tests/determinism/hosts/run.js",
        "tests/determinism/hosts/node.mjs",
        "tests/determinism/hosts/page.html",
    ],
    optimised_dir: "target/determinism-optimised",
};

/// How much time the build may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WasmProfile {
    /// Sooner there, and slower: for development and tests.
    Fast,
    /// A release, shrunk by `wasm-opt` too: what is deployed and measured.
    Optimised,
}

impl WasmProfile {
    /// Cargo's name of it; the folder below `target` is called the same.
    const fn name(self) -> &'static str {
        match self {
            Self::Fast => "wasm-dev",
            Self::Optimised => "release",
        }
    }
}

/// The program that generates bindings, of the package of the same name.
pub(crate) const GENERATOR: &str = "wasm-bindgen-module";

/// A folder with everything that is loaded.
#[derive(Debug, Clone)]
pub struct WasmBundle {
    /// Where the modules are.
    pub dir: PathBuf,
    /// Paths inside `dir`, the entry module first.
    pub modules: Vec<String>,
}

/// Builds a crate. Cheap when nothing changed: cargo decides that, the later steps follow the Wasm's modification time.
pub fn build_wasm(root: &Path, what: &WasmCrate, profile: WasmProfile) -> Result<WasmBundle> {
    tools::wasm_target(root)?;
    let name = what.name;
    progress(&format!("compiling the {name} to Wasm"));
    let mut build = optimising_cargo();
    build
        .args(["build", "--profile", profile.name(), "--target", tools::WASM_TARGET])
        .args(["--package", what.package])
        .args(what.company.iter().flat_map(|package| ["--package", package]))
        .current_dir(root);
    run_within(&format!("compiling the {name}"), &mut behind_others(&build), COMPILE_LIMIT)?;
    let file = format!("{}.wasm", what.package.replace('-', "_"));
    let dir = match profile {
        WasmProfile::Fast => root.join("target").join(name),
        WasmProfile::Optimised => root.join(what.optimised_dir),
    };
    let parts = Parts {
        name,
        module: what.module,
        host: what.host,
        compiled: root.join("target").join(tools::WASM_TARGET).join(profile.name()).join(file),
        beside: what.beside.iter().map(|path| root.join(path)).collect(),
        dir,
    };
    assemble(root, parts, profile)
}

/// Builds a worker of `bench/workers` as the edge is built for deployment.
pub fn build_bench_worker(root: &Path, name: &str) -> Result<WasmBundle> {
    tools::wasm_target(root)?;
    progress(&format!("compiling the worker {name:?} to Wasm"));
    let workspace = root.join("bench/workers");
    let target_dir = root.join("target/bench-build/workers");
    run_within(
        "compiling a worker",
        optimising_cargo()
            .args(["build", "--release", "--target", tools::WASM_TARGET])
            .args(["--package", &format!("flagfuse-bench-{name}"), "--target-dir"])
            .arg(&target_dir)
            .current_dir(&workspace),
        COMPILE_LIMIT,
    )?;
    let release_dir = target_dir.join(tools::WASM_TARGET).join("release");
    let parts = Parts {
        name: &format!("worker {name:?}"),
        module: EDGE.module,
        host: EDGE.host,
        compiled: release_dir.join(format!("flagfuse_bench_{name}.wasm")),
        beside: vec![workspace.join(name).join("entry.js")],
        dir: target_dir.join(name),
    };
    assemble(root, parts, WasmProfile::Optimised)
}

/// What a bundle is put together from, and where.
struct Parts<'p> {
    name: &'p str,
    module: &'p str,
    host: Host,
    compiled: PathBuf,
    beside: Vec<PathBuf>,
    dir: PathBuf,
}

/// From compiled Wasm and modules written by hand to a folder that can be loaded.
fn assemble(root: &Path, parts: Parts<'_>, profile: WasmProfile) -> Result<WasmBundle> {
    let wasm = parts.dir.join(format!("{}_bg.wasm", parts.module));
    if is_older(&wasm, &parts.compiled)? {
        bind(root, &parts)?;
        if profile == WasmProfile::Optimised {
            optimise(root, parts.name, &wasm)?;
        }
    }
    for from in &parts.beside {
        let to = parts.dir.join(from.file_name().unwrap_or_default());
        fs::copy(from, &to).with_context(|| format!("writing {}", to.display()))?;
    }
    let entry = parts.beside.first().and_then(|path| path.file_name()).unwrap_or_default();
    let modules = modules(&parts.dir, &entry.to_string_lossy())?;
    Ok(WasmBundle { dir: parts.dir, modules })
}

/// Generates the JavaScript between the host and the compiled Rust code.
fn bind(root: &Path, parts: &Parts<'_>) -> Result<()> {
    let Parts { name, module, dir, .. } = parts;
    progress(&format!("generating the {name}'s bindings"));
    if dir.exists() {
        fs::remove_dir_all(dir).with_context(|| format!("emptying {}", dir.display()))?;
    }
    fs::create_dir_all(dir).with_context(|| format!("creating {}", dir.display()))?;
    let host = match parts.host {
        Host::Worker => "worker",
        Host::Any => "any",
    };
    run_within(
        &format!("generating the {name}'s bindings"),
        cargo()
            // With the features of the whole workspace, and so as it was built beside the control plane.
            .args(["run", "--quiet", "--bin", GENERATOR, "--", host, module])
            .args([&parts.compiled, dir])
            .current_dir(root),
        COMPILE_LIMIT,
    )?;
    if parts.host == Host::Any {
        return Ok(());
    }
    // `import source` is a later stage of the same proposal; workerd gives a compiled module to a plain import.
    let module = dir.join(format!("{module}.js"));
    let text = fs::read_to_string(&module).with_context(|| format!("reading {}", module.display()))?;
    fs::write(&module, text.replace("import source ", "import ")).context("writing the bindings")
}

/// Shrinks the Wasm in place and drops its names. Features are listed because "all" would include encodings that
/// workerd does not read yet.
fn optimise(root: &Path, name: &str, wasm: &Path) -> Result<()> {
    progress(&format!("shrinking the {name}'s Wasm"));
    run_within(
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
        COMPILE_LIMIT,
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
fn modules(dir: &Path, entry: &str) -> Result<Vec<String>> {
    let mut found = Vec::new();
    let mut folders = vec![dir.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for item in fs::read_dir(&folder).with_context(|| format!("listing {}", folder.display()))? {
            let path = item?.path();
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
    found.sort_by_key(|module| (module != entry, module.clone()));
    Ok(found)
}
