//! Child processes that never outlive their owner, whichever way the owner ends. Knows nothing of what they do.

use std::os::unix::process::CommandExt as _;
use std::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

/// Waits for its standard input to close, which the kernel does even when the owner is killed, then kills group `$1`.
/// Ignores the terminal's Ctrl-C: the owner gets it too and decides.
const REAPER_SCRIPT: &str = r#"trap "" INT TERM HUP; cat >/dev/null; kill -9 "-$1" 2>/dev/null"#;
const POLL: Duration = Duration::from_millis(10);
/// How long a build may take, with others in front of it that hold the same lock.
pub const COMPILE_LIMIT: Duration = Duration::from_hours(1);
/// How long an installation from a registry may take.
pub const INSTALL_LIMIT: Duration = Duration::from_mins(15);

/// A running child and its own children, one process group. Dropping it kills them with SIGKILL, so whatever they
/// acknowledged must already be durable.
#[derive(Debug)]
pub struct OwnedProcess {
    name: String,
    child: Child,
    reaper: Child,
}

impl OwnedProcess {
    /// Starts `command` with nothing to read; `name` is for messages.
    pub fn spawn(name: &str, command: &mut Command) -> Result<Self> {
        Self::spawn_reading(name, command, Stdio::null())
    }

    /// The same with something on its standard input.
    pub fn spawn_reading(name: &str, command: &mut Command, input: Stdio) -> Result<Self> {
        let mut child = command
            .stdin(input)
            .process_group(0)
            .spawn()
            // Not the whole command: its variables may be secrets.
            .with_context(|| format!("starting {name} ({})", command.get_program().display()))?;
        let reaper = Command::new("sh")
            .args(["-c", REAPER_SCRIPT, "reaper", &child.id().to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        match reaper {
            Ok(reaper) => Ok(Self { name: name.to_owned(), child, reaper }),
            Err(error) => {
                kill_group(&mut child);
                Err(error).context("starting sh, which ends child processes when their owner dies")
            }
        }
    }

    /// Process id, for tests that kill it from outside.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// The child's standard input when it was piped; `None` the second time.
    pub const fn take_stdin(&mut self) -> Option<ChildStdin> {
        self.child.stdin.take()
    }

    /// The same of its standard output.
    pub const fn take_stdout(&mut self) -> Option<ChildStdout> {
        self.child.stdout.take()
    }

    /// The same of its standard error.
    pub const fn take_stderr(&mut self) -> Option<ChildStderr> {
        self.child.stderr.take()
    }

    /// How it ended; `None` when it still runs after `limit`.
    pub fn wait_for(&mut self, limit: Duration) -> Result<Option<ExitStatus>> {
        let began = Instant::now();
        loop {
            let status = self.exit_status()?;
            if status.is_some() || began.elapsed() >= limit {
                return Ok(status);
            }
            thread::sleep(POLL);
        }
    }

    /// `Some` once the child has ended.
    pub fn exit_status(&mut self) -> Result<Option<ExitStatus>> {
        self.child.try_wait().with_context(|| format!("asking whether {} still runs", self.name))
    }

    /// Kills the group with SIGKILL and waits until the child is gone.
    pub fn kill(&mut self) {
        // The reaper goes first: once the child is waited for, its process id may belong to somebody else.
        let _ = self.reaper.kill();
        let _ = self.reaper.wait();
        kill_group(&mut self.child);
    }
}

/// The standard library kills single processes only; the child leads a group of its own, which bears its number.
fn kill_group(child: &mut Child) {
    let group = format!("-{}", child.id());
    let _ = Command::new("kill").args(["-9", "--", &group]).stderr(Stdio::null()).status();
    let _ = child.kill();
    let _ = child.wait();
}

impl Drop for OwnedProcess {
    fn drop(&mut self) {
        self.kill();
    }
}

/// `cargo`, as a shell would start it. What cargo tells the programs it runs (`cargo xtask`, a test) is about their own
/// package: build scripts that ask for it, ring's is one, would run anew whenever another program builds the same tree.
pub fn cargo() -> Command {
    let mut cargo = Command::new("cargo");
    for (name, _) in std::env::vars_os() {
        if name.to_str().is_some_and(is_about_the_caller) {
            cargo.env_remove(name);
        }
    }
    cargo
}

/// Puts a linter, which compiles what it lints, in the place of the compiler of the workspace's own crates.
const WORKSPACE_WRAPPER: &str = "RUSTC_WORKSPACE_WRAPPER";

/// [`cargo`] for what is measured and deployed: a linter that compiles optimises less.
pub fn optimising_cargo() -> Command {
    let mut cargo = cargo();
    cargo.env_remove(WORKSPACE_WRAPPER);
    cargo
}

/// The same command behind whatever else runs. Compiling the control plane takes longest, at its end on one processor: what is
/// made beside it is ready as soon, and the control plane sooner, when it takes only what is left.
pub(crate) fn behind_others(command: &Command) -> Command {
    let mut behind = Command::new("nice");
    behind.args(["-n", "10"]).arg(command.get_program()).args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => behind.env(name, value),
            None => behind.env_remove(name),
        };
    }
    if let Some(folder) = command.get_current_dir() {
        behind.current_dir(folder);
    }
    behind
}

/// Whether whatever is compiled of the workspace is linted, too, as CI has it.
#[expect(clippy::disallowed_methods, reason = "cargo's own variable, which it is told by")]
pub(crate) fn compiles_with_lints() -> bool {
    std::env::var(WORKSPACE_WRAPPER).is_ok_and(|wrapper| wrapper.ends_with("clippy-driver"))
}

fn is_about_the_caller(name: &str) -> bool {
    const PREFIXES: [&str; 4] = ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_BIN_", "CARGO_CRATE_"];
    PREFIXES.iter().any(|prefix| name.starts_with(prefix))
        || name == "OUT_DIR"
        || name == "CARGO_PRIMARY_PACKAGE"
}

/// The same as [`run`], but whoever runs longer than `limit` is killed with its children, which is an error too. It has
/// nothing to read.
pub fn run_within(what: &str, command: &mut Command, limit: Duration) -> Result<()> {
    match OwnedProcess::spawn(what, command)?.wait_for(limit)? {
        Some(status) if status.success() => Ok(()),
        Some(status) => bail!("{what} ended with {status} ({command:?})"),
        None => bail!("{what}: not done within {} s, so it was killed ({command:?})", limit.as_secs()),
    }
}

/// Runs `command` to its end with its output visible, on the terminal of whoever watches; anything but success is an error
/// that names `what`.
pub fn run(what: &str, command: &mut Command) -> Result<()> {
    let status = command
        .status()
        .with_context(|| format!("{what}: cannot start {}", command.get_program().display()))?;
    if !status.success() {
        bail!("{what} ended with {status} ({command:?})");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use anyhow::ensure;

    use super::*;
    use crate::wait::eventually;

    #[test]
    fn a_dropped_process_is_gone() {
        let mut process = OwnedProcess::spawn("sleep", Command::new("sleep").arg("60")).unwrap();
        assert!(process.exit_status().unwrap().is_none());
        process.kill();
        assert!(process.exit_status().unwrap().is_some());
    }

    #[test]
    fn what_goes_behind_others_is_the_same_command() {
        let mut command = Command::new("sh");
        command.args(["-c", r#"echo "$(nice) $1 $SAID ${HOME-none} $PWD""#, "sh", "a b"]);
        command.env("SAID", "more").env_remove("HOME").current_dir("/");
        let told = |mut command: Command| String::from_utf8(command.output().unwrap().stdout).unwrap();
        let behind = told(behind_others(&command));
        let (nice, rest) = behind.split_once(' ').unwrap();
        let before = told(command);
        let (nice_before, rest_before) = before.split_once(' ').unwrap();
        assert_eq!((rest, rest_before), ("a b more none /\n", "a b more none /\n"));
        // Nothing goes further behind than 19.
        let expected = (nice_before.parse::<i32>().unwrap() + 10).min(19);
        assert_eq!(nice.parse::<i32>().unwrap(), expected);
    }

    #[test]
    fn the_whole_group_dies_with_its_owner() {
        let mut command = Command::new("sh");
        command.args(["-c", "sleep 60 & wait"]);
        let mut process = OwnedProcess::spawn("a parent", &mut command).unwrap();
        // What the kernel does when the owner is killed: it closes the owner's end of the pipe.
        drop(process.reaper.stdin.take());
        eventually("the child dies", Duration::from_mins(1), || {
            ensure!(process.exit_status()?.is_some(), "it still runs");
            let members = Command::new("pgrep").args(["-g", &process.id().to_string()]).output()?;
            ensure!(members.stdout.is_empty(), "its own child still runs");
            Ok(())
        })
        .unwrap();
    }

    #[test]
    fn a_nested_cargo_hears_nothing_of_the_package_that_calls_it() {
        // Cargo tells this test about its own package.
        assert!(std::env::var_os("CARGO_MANIFEST_DIR").is_some());
        let cargo = cargo();
        let gone: Vec<_> =
            cargo.get_envs().filter(|(_, value)| value.is_none()).map(|(name, _)| name).collect();
        for name in ["CARGO_MANIFEST_DIR", "CARGO_PKG_NAME", "CARGO_PKG_VERSION_PATCH"] {
            assert!(gone.contains(&std::ffi::OsStr::new(name)), "{name} is passed on");
        }
        for kept in ["CARGO_BUILD_JOBS", "CARGO_HOME", "CARGO_TARGET_DIR", "PATH", "RUSTUP_TOOLCHAIN"] {
            assert!(!is_about_the_caller(kept), "{kept} is the user's");
        }
    }

    #[test]
    fn a_failing_command_is_an_error_with_its_name() {
        for run in
            [run, |what: &str, command: &mut Command| run_within(what, command, Duration::from_mins(1))]
        {
            let error = run("the check", &mut Command::new("false")).unwrap_err().to_string();
            assert!(error.starts_with("the check ended with"), "{error}");
        }
    }

    #[test]
    fn a_command_that_hangs_is_killed_at_its_bound() {
        let began = Instant::now();
        let mut command = Command::new("sh");
        let error =
            run_within("the check", command.args(["-c", "sleep 600 & wait"]), Duration::from_millis(300));
        let error = error.unwrap_err().to_string();
        assert!(error.starts_with("the check: not done within 0 s, so it was killed"), "{error}");
        assert!(began.elapsed() < Duration::from_mins(5), "nobody waited for what it left behind");
    }
}
