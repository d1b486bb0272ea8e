//! Walks a document in a folder that stands for a clone: every block is run as it stands, in order, in one shell. `cargo` is a
//! stand-in there, since nothing is compiled twice: it hands out what is built, and stays away from the network.
#![expect(
    clippy::disallowed_methods,
    reason = "real commands take real time, on the PATH of whoever runs the test"
)]

use std::fs;
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use support::hosts::chromium_binary;
use support::{COMMAND_LIMIT, eventually, fresh_dir, output, root};
use xtask::output::Dialogue;
use xtask::postgres::Postgres;
use xtask::process::{COMPILE_LIMIT, OwnedProcess, cargo, run_within};
use xtask::stack::build;
use xtask::tools;

use super::document::{Block, blocks, broken_promise, command};

/// The ports that the documents name.
const PORTS: [u16; 3] = [7400, 8787, 8788];
/// How long `up` may take to end, and what it had started after it.
const GOODBYE: Duration = Duration::from_mins(1);
/// What stays for as long as the walk lasts.
const LONG_RUNNING: &str = "cargo xtask up";

/// Begins a line that needs a server.
const PSQL: &str = "psql ";

/// A line of a document that is not run, and why.
pub(crate) type Skipped = (&'static str, &'static str);

/// A folder that stands for a clone, and a shell in it.
pub(crate) struct Walk {
    dir: PathBuf,
    shell: Dialogue,
    /// The server that `psql` finds, where there is one.
    postgres: Option<Postgres>,
    /// `up`, once it was started.
    running: Option<Running>,
}

/// Whether the documents' ports are free; the first that is taken.
fn free_ports() -> Result<()> {
    let taken = |port| format!("port {port} on 127.0.0.1 is taken");
    PORTS.iter().try_for_each(|port| {
        TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).map(drop).with_context(|| taken(port))
    })
}

/// `up` with all that it has started. Killed at once, with its group, it could not take its own processes along.
struct Running(OwnedProcess);

impl Drop for Running {
    fn drop(&mut self) {
        let id = self.0.id().to_string();
        // What a terminal's end does. Whatever goes wrong here, the kill comes after it.
        let _ = Command::new("kill").args(["-TERM", &id]).status();
        let _ = self.0.wait_for(GOODBYE);
        // Those that end its processes are in its group too.
        let _ = eventually("`up` has taken everything along", GOODBYE, free_ports);
    }
}

impl Walk {
    /// An empty clone; says plainly which port is taken.
    pub(crate) fn begin(name: &str) -> Result<Self> {
        // The walk before this one may just be ending.
        eventually("the walk can begin", GOODBYE, free_ports).with_context(|| {
            format!(
                "{name} uses the ports that it names as they stand: end what listens there (a `cargo xtask up` of your own?) \
                 and run this test again"
            )
        })?;
        let built = build(root())?;
        let mut xtask = cargo();
        xtask.args(["build", "--quiet", "--package", "xtask"]).current_dir(root());
        run_within("building xtask", &mut xtask, COMPILE_LIMIT)?;
        // Installs what the JavaScript of the documents imports.
        tools::node_22(root())?;
        tools::browser_packages(root())?;
        tools::workerd(root())?;
        let dir = fresh_dir(name);
        for linked in ["wrangler.toml", "node_modules"] {
            symlink(root().join(linked), dir.join(linked))?;
        }
        stand_in(&dir, &built.control_plane, &built.edge.dir)?;
        let postgres = Postgres::private_for_tests()?;
        let mut command = Command::new("sh");
        command
            .envs(postgres.iter().flat_map(Postgres::libpq_variables))
            .current_dir(&dir)
            .env("PATH", path_in(&dir))
            .env("HOME", dir.join("home"))
            .args(["-c", "set -e; while read -r script; do . \"$script\" > \"$script.out\" 2>&1 < /dev/null; echo done; done"]);
        fs::create_dir_all(dir.join("home"))?;
        Ok(Self { shell: Dialogue::start("the reader's shell", &mut command)?, dir, postgres, running: None })
    }

    /// Runs every block of `document`. Each entry of `skipped` has to be a line there.
    pub(crate) fn through(&mut self, document: &str, skipped: &[Skipped]) -> Result<()> {
        let text = fs::read_to_string(root().join(document))?;
        let all = blocks(&text);
        let lines: Vec<&str> = all.iter().flat_map(|block| &block.lines).map(|line| command(line)).collect();
        for (line, reason) in skipped {
            ensure!(
                lines.contains(line),
                "{document} has no line {line:?} any more, which was skipped: {reason}"
            );
        }
        for block in &all {
            let place = format!("{document}:{}", block.line);
            let began = Instant::now();
            self.block(block, skipped).with_context(|| format!("the block at {place}"))?;
            println!("{place}: {} ms", began.elapsed().as_millis());
        }
        Ok(())
    }

    fn block(&mut self, block: &Block, skipped: &[Skipped]) -> Result<()> {
        match block.language.as_str() {
            "sh" if self.postgres.is_none() && block.lines.iter().any(|line| line.starts_with(PSQL)) => {
                eprintln!("SKIPPED: the block with {PSQL}: there is no PostgreSQL here");
                Ok(())
            }
            "sh" => {
                if block.lines.iter().any(|line| command(line) == LONG_RUNNING) {
                    self.start()?;
                }
                let is_left_out =
                    |line: &str| line == LONG_RUNNING || skipped.iter().any(|(skipped, _)| *skipped == line);
                self.shell(block, &block.script(is_left_out))
            }
            "js" if block.script(|_| false).contains("@openfeature/web-sdk") => self.page(block),
            "js" => self.server(block),
            _ => Ok(()),
        }
    }

    /// Starts what stays, and waits until it has said where everything is.
    fn start(&mut self) -> Result<()> {
        let said = self.dir.join("up.out");
        let mut up = Command::new("cargo");
        up.args(["xtask", "up"])
            .current_dir(&self.dir)
            .env("PATH", path_in(&self.dir))
            .stdout(fs::File::create(&said)?)
            .stderr(Stdio::inherit());
        let running = self.running.insert(Running(OwnedProcess::spawn(LONG_RUNNING, &mut up)?));
        eventually("`up` says that it runs", COMPILE_LIMIT, || {
            if let Some(status) = running.0.exit_status()? {
                return Ok(Err(format!("`up` ended with {status}")));
            }
            ensure!(fs::read_to_string(&said)?.contains("Flagfuse runs"), "it has said nothing yet");
            Ok(Ok(()))
        })?
        .map_err(anyhow::Error::msg)
    }

    fn shell(&mut self, block: &Block, script: &str) -> Result<()> {
        let path = self.dir.join(format!("block-{}.sh", block.line));
        fs::write(&path, script)?;
        let said = || fs::read_to_string(path.with_extension("sh.out")).unwrap_or_default();
        let done = self.shell.ask(&path.display().to_string(), COMMAND_LIMIT);
        done.with_context(|| format!("a command failed; the block had said:\n{}", said()))?;
        kept(block, &said())
    }

    /// In Node.js, with the variables that the shell has exported.
    fn server(&mut self, block: &Block) -> Result<()> {
        let path = self.dir.join(format!("block-{}.mjs", block.line));
        fs::write(&path, block.script(|_| false))?;
        link_packages(&self.dir, "tests/node")?;
        let script = format!("node {}", path.display());
        self.shell(block, &script)
    }

    /// In Chromium, bundled, in a page that carries what the block says it carries.
    fn page(&mut self, block: &Block) -> Result<()> {
        let Some(chromium) = chromium_binary()? else {
            eprintln!("SKIPPED: the page: Chromium is not installed (on Debian: apt-get install chromium)");
            return Ok(());
        };
        let path = self.dir.join("page").join(format!("block-{}.js", block.line));
        fs::create_dir_all(self.dir.join("page"))?;
        fs::write(&path, block.script(|_| false))?;
        let dev: serde_json::Value = serde_json::from_slice(&fs::read(self.dir.join(".flagfuse/dev.json"))?)?;
        let text = |name: &str| dev[name].as_str().with_context(|| format!("dev.json has no {name}"));
        let promise = block.promises().join("");
        let mut node = tools::node_22(root())?;
        node.arg(root().join("tests/browser/readme.mjs"))
            .args([&chromium, &path.display().to_string()])
            .args([text("edge")?, text("client_key")?, &promise]);
        let found = output("the page", &mut node, COMMAND_LIMIT);
        let said = String::from_utf8_lossy(&found.stdout).into_owned();
        ensure!(found.status.success(), "{said}{}", String::from_utf8_lossy(&found.stderr));
        kept(block, &said)
    }
}

fn kept(block: &Block, said: &str) -> Result<()> {
    match broken_promise(&block.promises(), said) {
        None => Ok(()),
        Some(promise) => bail!("the document promises {promise:?}; the block said:\n{said}"),
    }
}

fn real_path() -> String {
    std::env::var("PATH").unwrap_or_default()
}

/// Where programs are found in the folder: the stand-in first.
fn path_in(dir: &Path) -> String {
    format!("{}:{}", dir.join("bin").display(), real_path())
}

/// `node_modules` of the folder's JavaScript.
fn link_packages(dir: &Path, packages: &str) -> Result<()> {
    let link = dir.join("node_modules");
    fs::remove_file(&link)?;
    Ok(symlink(root().join(packages).join("node_modules"), link)?)
}

/// The `cargo` of the walk, whose own programs have the real one, and a `sleep` with patience.
fn stand_in(dir: &Path, control_plane: &Path, edge: &Path) -> Result<()> {
    let bin = dir.join("bin");
    fs::create_dir_all(&bin)?;
    let (path, home) = (real_path(), std::env::var("HOME").unwrap_or_default());
    let script = format!(
        r#"#!/bin/sh
PATH='{path}' HOME='{home}'
case "$1 $2" in
  "xtask up" | "xtask demo") verb=$2; shift 2; exec '{xtask}' "$verb" --data "$PWD/.flagfuse" "$@" ;;
  "xtask build") [ "$3" = dashboard ] || {{ mkdir -p edge && cp -R '{edge}' edge/build; }} ;;
  "xtask wrangler") exec '{xtask}' wrangler "$3" --dry-run --outdir "$PWD/deployed" "$4" "$PWD/$5" ;;
  "build --release") mkdir -p target/release && ln -sf '{control_plane}' target/release/flagfuse ;;
  *) echo "the walk has no stand-in for cargo $*" >&2; exit 1 ;;
esac
"#,
        xtask = root().join("target/debug/xtask").display(),
        edge = edge.display(),
        control_plane = control_plane.display(),
    );
    // A machine that runs everything, and more, on two cores takes longer than a reader's, and pauses.
    let sleep = format!("#!/bin/sh\nPATH='{path}'\nexec sleep $(($1 * 3 + 5))\n", path = real_path());
    for (name, script) in [("cargo", script), ("sleep", sleep)] {
        let path = bin.join(name);
        fs::write(&path, script)?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755))?;
    }
    Ok(())
}
