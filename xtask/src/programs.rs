//! The programs of tests that cargo compiles of the workspace. Knows nothing of how often they are run.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant, UNIX_EPOCH};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::output::output;
use crate::process::{COMPILE_LIMIT, OwnedProcess, cargo, compiles_with_lints};
use crate::tools::progress;

/// The package whose tests are stories on real processes and the simulation, and the one other program of that kind.
const STORIES: (&str, &str) = ("flagfuse-tests", "flagfuse-control-plane/suite");
/// The program whose modules are run one by one.
const IN_PARTS: &str = "flagfuse-tests/stories";
/// How long a program may take to name its tests.
const LIST_LIMIT: Duration = Duration::from_mins(1);
const DOCTESTS: &str = "doctests";

/// A program of tests, or a part of it that is run in a process of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Program {
    /// `PACKAGE/TARGET`; of the stories `PACKAGE/MODULE`.
    pub(crate) name: String,
    /// Whether it runs real processes or the simulation.
    pub(crate) is_story: bool,
    /// `None` for the documentation's examples, which cargo runs.
    pub(crate) executable: Option<PathBuf>,
    /// The tests to run; all of them where it names none.
    pub(crate) tests: Vec<String>,
    pub(crate) package_dir: PathBuf,
    /// Differs when anything was compiled anew.
    pub(crate) stamp: String,
}

impl Program {
    /// Runs it as cargo would.
    fn command(&self) -> Command {
        let mut command = self.executable.as_ref().map_or_else(cargo, Command::new);
        if self.executable.is_none() {
            command.args(["test", "--workspace", "--doc", "--no-fail-fast"]);
        }
        if !self.tests.is_empty() {
            command.arg("--exact").args(&self.tests);
        }
        command.current_dir(&self.package_dir);
        command
    }

    /// Name of a file for its output: a library and a program of one package may have the same name, but not the same
    /// executable.
    pub(crate) fn log_name(&self) -> String {
        let executable =
            self.executable.as_ref().and_then(|path| path.file_name()).and_then(|name| name.to_str());
        match self.name.rsplit_once('/') {
            Some((_, part)) if !self.tests.is_empty() => format!("{part}.log"),
            _ => format!("{}.log", executable.unwrap_or(&self.name)),
        }
    }

    /// One program for each module of this one, for a process of its own: what a process has but once (an open file limit,
    /// a world that its tests share) is not another module's, and several run side by side.
    fn parts(&self) -> Result<Vec<Self>> {
        let mut list = self.command();
        let list = output(&self.name, list.args(["--list", "--format", "terse"]), LIST_LIMIT)?;
        if !list.status.success() || list.stdout.is_empty() {
            bail!("{} names no tests: {}", self.name, String::from_utf8_lossy(&list.stderr));
        }
        let package = self.name.split('/').next().unwrap_or_default();
        let parts = by_module(&String::from_utf8_lossy(&list.stdout))
            .into_iter()
            .map(|(module, tests)| Self { name: format!("{package}/{module}"), tests, ..self.clone() });
        Ok(parts.collect())
    }

    /// Runs it to its end, its output in a file.
    pub(crate) fn run(&self, variables: &[(&str, &str)], log_path: &Path, limit: Duration) -> Result<Ended> {
        let log = fs::File::create(log_path).with_context(|| format!("creating {}", log_path.display()))?;
        let mut command = self.command();
        command.envs(variables.iter().copied()).stdout(Stdio::from(log.try_clone()?)).stderr(log);
        let began = Instant::now();
        let failure = match OwnedProcess::spawn(&self.name, &mut command)?.wait_for(limit)? {
            Some(status) if status.success() => None,
            Some(status) => Some(format!("{status}: {}", failed(&fs::read_to_string(log_path)?))),
            None => Some(format!("not done within {} s, killed", limit.as_secs())),
        };
        Ok(Ended { seconds: began.elapsed().as_secs(), failure })
    }
}

/// How a program ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Ended {
    pub(crate) seconds: u64,
    /// Why it is no success, in one line.
    pub(crate) failure: Option<String>,
}

/// All programs of tests of the workspace, compiled.
pub(crate) fn programs(root: &Path) -> Result<Vec<Program>> {
    progress("compiling the tests");
    let mut cargo = cargo();
    cargo.args(["test", "--workspace", "--no-run", "--message-format", "json"]).current_dir(root);
    if compiles_with_lints() {
        cargo.arg("--all-targets");
    }
    let compiled = output("compiling the tests", &mut cargo, COMPILE_LIMIT)?;
    if !compiled.status.success() {
        bail!("compiling the tests:\n{}", without_progress(&String::from_utf8_lossy(&compiled.stderr)));
    }
    let product = stamp(&root.join("target/debug/flagfuse"))?;
    let edge = root.join("target/edge");
    let edge = format!("{product} {}", stamp(&edge).unwrap_or_default());
    let messages = String::from_utf8_lossy(&compiled.stdout).into_owned();
    let mut programs = Vec::new();
    for message in messages.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok()) {
        let Some(program) = program(&message, &edge)? else { continue };
        if program.name == IN_PARTS {
            programs.extend(program.parts()?);
        } else {
            programs.push(program);
        }
    }
    let stamp = programs.iter().map(|program| program.stamp.as_str()).max().unwrap_or_default().to_owned();
    programs.push(Program {
        name: DOCTESTS.to_owned(),
        is_story: false,
        executable: None,
        tests: Vec::new(),
        package_dir: root.to_owned(),
        stamp,
    });
    programs.sort_by(|one, other| one.name.cmp(&other.name));
    Ok(programs)
}

/// What cargo said beside which crates it was at: a reader of the end or of a cut-off output finds the error.
fn without_progress(said: &str) -> String {
    let is_progress = |line: &&str| {
        let word = line.split_whitespace().next().unwrap_or_default();
        matches!(word, "Compiling" | "Downloaded" | "Downloading" | "Blocking" | "Fresh")
    };
    said.lines().filter(|line| !is_progress(line)).collect::<Vec<_>>().join("\n")
}

/// What a message of cargo's names, when it is a program of tests.
fn program(message: &Value, product: &str) -> Result<Option<Program>> {
    let (Some(executable), Some(manifest), Some(target), Some(true)) = (
        message["executable"].as_str(),
        message["manifest_path"].as_str(),
        message["target"]["name"].as_str(),
        message["profile"]["test"].as_bool(),
    ) else {
        return Ok(None);
    };
    // Compiled for its lints: it tests nothing.
    let mut kinds = message["target"]["kind"].as_array().into_iter().flatten();
    if kinds.any(|kind| kind == "bench" || kind == "example") {
        return Ok(None);
    }
    let package = package_name(message["package_id"].as_str().unwrap_or_default());
    let name = format!("{package}/{target}");
    Ok(Some(Program {
        is_story: package == STORIES.0 || name == STORIES.1,
        stamp: format!("{} {product}", stamp(Path::new(executable))?),
        executable: Some(PathBuf::from(executable)),
        tests: Vec::new(),
        package_dir: Path::new(manifest).parent().unwrap_or(Path::new(".")).to_owned(),
        name,
    }))
}

/// `path+file:///…/xtask#0.1.0` and `path+file:///…/tests#flagfuse-tests@0.1.0` are how cargo names packages.
fn package_name(id: &str) -> &str {
    let (path, fragment) = id.split_once('#').unwrap_or(("", id));
    match fragment.split_once('@') {
        Some((name, _)) => name,
        None => path.rsplit('/').next().unwrap_or(fragment),
    }
}

/// Length and time of a file, which cargo leaves alone when nothing changed.
fn stamp(path: &Path) -> Result<String> {
    let about = fs::metadata(path).with_context(|| format!("looking at {}", path.display()))?;
    let modified = about.modified()?.duration_since(UNIX_EPOCH).unwrap_or_default();
    Ok(format!("{}-{}", about.len(), modified.as_millis()))
}

/// The tests that a program lists (`MODULE::NAME: test`), by their module.
fn by_module(listed: &str) -> BTreeMap<String, Vec<String>> {
    let mut modules = BTreeMap::<String, Vec<String>>::new();
    for name in listed.lines().filter_map(|line| line.strip_suffix(": test")) {
        let module = name.split("::").next().unwrap_or(name);
        modules.entry(module.to_owned()).or_default().push(name.to_owned());
    }
    modules
}

/// The tests that a program says have failed.
fn failed(log: &str) -> String {
    let names = log.lines().filter_map(|line| line.strip_prefix("test ")?.strip_suffix(" ... FAILED"));
    names.collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packages_are_named_as_cargo_names_them() {
        assert_eq!(package_name("path+file:///x/tests#flagfuse-tests@0.1.0"), "flagfuse-tests");
        assert_eq!(package_name("path+file:///x/xtask#0.1.0"), "xtask");
    }

    #[test]
    fn each_module_of_the_stories_is_a_part_with_its_own_tests_and_no_others() {
        let modules =
            by_module("web::one: test\nweb::deep::two: test\nreadme::web::three: test\n\n2 benchmarks\n");
        let found: Vec<String> =
            modules.iter().map(|(module, tests)| format!("{module} {tests:?}")).collect();
        assert_eq!(found, [r#"readme ["readme::web::three"]"#, r#"web ["web::one", "web::deep::two"]"#]);
    }

    #[test]
    fn the_tests_that_failed_are_named() {
        let log = "test one ... ok\ntest two::three ... FAILED\ntest four ... FAILED\n";
        assert_eq!(failed(log), "two::three, four");
    }
}
