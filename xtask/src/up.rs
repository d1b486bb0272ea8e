//! `cargo xtask up`: build, start, create the demo project, print where everything is, stay until Ctrl-C.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use serde_json::{Value, json};

use crate::dashboard::build_dashboard;
use crate::demo_project::{self, ENVIRONMENT, PROJECT};
use crate::http::Client;
use crate::output::output;
use crate::plane::{START_LIMIT, set_database};
use crate::ports::{self, WantedPort};
use crate::private::write_private;
use crate::stack::{Stack, StackConfig, build};
use crate::tools::progress;
use crate::wait::eventually;
use crate::workerd::Region;

/// The region of a stack whose regions are not named.
const DEFAULT_REGION: &str = "local";
/// A workerd of so many regions still starts within seconds.
const REGION_COUNT_MAX: usize = 8;
/// A process that keeps ending needs a person.
const REVIVAL_COUNT_MAX: u32 = 20;
/// Long enough to see the other process serve alone.
const REVIVAL_PAUSE: Duration = Duration::from_secs(2);

/// How the command was called.
#[derive(Debug, Clone)]
pub struct UpOptions {
    /// Data folder.
    pub data_dir: PathBuf,
    /// Port of the control plane.
    pub control_plane_port: u16,
    /// Port of the first isolate; the others take the next ones.
    pub edge_port: u16,
    /// Regions of one isolate each; empty for one region of two.
    pub region_names: Vec<String>,
    /// The control plane's database; without one, a file in the data folder.
    pub database_url: Option<String>,
}

impl UpOptions {
    /// Reads `--data DIR`, `--control-plane-port N`, `--edge-port N`, `--regions NAME,NAME` and `--database-url URL`.
    pub fn parse(root: &Path, arguments: &[String]) -> Result<Self> {
        let mut options = Self {
            data_dir: root.join(".flagfuse"),
            control_plane_port: 7400,
            edge_port: 8787,
            region_names: Vec::new(),
            database_url: None,
        };
        let mut rest = arguments.iter();
        while let Some(name) = rest.next() {
            let value = rest.next().with_context(|| format!("{name} needs a value"))?;
            match name.as_str() {
                "--data" => options.data_dir = PathBuf::from(value),
                "--control-plane-port" => options.control_plane_port = port(name, value)?,
                "--edge-port" => options.edge_port = port(name, value)?,
                "--regions" => options.region_names = region_names(value)?,
                "--database-url" => options.database_url = Some(value.clone()),
                _ => bail!(
                    "unknown option {name}; known: --data DIR, --control-plane-port N, --edge-port N, --regions NAME,NAME, \
                     --database-url URL"
                ),
            }
        }
        Ok(options)
    }

    /// The regions with the ports of their isolates.
    fn regions(&self) -> Vec<Region> {
        if self.region_names.is_empty() {
            return vec![Region::new(DEFAULT_REGION, &[self.edge_port, self.edge_port.saturating_add(1)])];
        }
        let ports = self.edge_port..;
        self.region_names.iter().zip(ports).map(|(name, port)| Region::new(name, &[port])).collect()
    }
}

fn region_names(list: &str) -> Result<Vec<String>> {
    let names: Vec<String> = list.split(',').map(str::to_owned).collect();
    let is_name = |name: &String| {
        (1..=32).contains(&name.len())
            && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
    };
    if let Some(name) = names.iter().find(|name| !is_name(name)) {
        bail!(
            "--regions {list:?}: {name:?} is not a region's name: 1 to 32 of a-z, 0-9 and `-`, separated by commas"
        );
    }
    if names.len() > REGION_COUNT_MAX {
        bail!("--regions names {} regions, the limit is {REGION_COUNT_MAX}", names.len());
    }
    if let Some(name) =
        names.iter().enumerate().find(|(at, name)| names[..*at].contains(name)).map(|(_, name)| name)
    {
        bail!("--regions {list:?}: {name:?} is repeated");
    }
    Ok(names)
}

fn port(name: &str, value: &str) -> Result<u16> {
    match value.parse::<u16>() {
        Ok(port) if (1..u16::MAX).contains(&port) => Ok(port),
        _ => bail!("{name} is {value:?}, allowed is 1 to 65534"),
    }
}

/// Runs until a process ends or Ctrl-C.
pub fn up(root: &Path, options: &UpOptions) -> Result<()> {
    let began = Instant::now();
    let regions = options.regions();
    ports::check(&wanted_ports(options, &regions))?;
    let _alone = lock(&options.data_dir)?;
    let built = with_dashboard(root, || build(root))?;
    let config = StackConfig {
        data_dir: options.data_dir.clone(),
        control_plane_port: options.control_plane_port,
        regions,
        shards: 1,
        tick_ms: 500,
        link_delay_ms: None,
        edge_vars: BTreeMap::new(),
        open_file_count_max: None,
        database_url: options.database_url.clone(),
    };
    progress("starting edge and control plane");
    let mut stack = Stack::start(root, &built, config)?;
    demo_project::ensure(&stack.admin())?;
    let client_key = client_key(&options.data_dir, &stack.admin())?;
    wait_until_served(&stack, &client_key)?;
    let dev_path = write_dev(&options.data_dir, &stack, &client_key)?;
    let link = sign_in_link(&stack, options.database_url.as_deref())?;
    print_summary(&stack, &client_key, (&dev_path, &link), began.elapsed());
    // Either process may be killed at any time while the other one goes on; that is worth trying, so it is not the end.
    for _ in 0..REVIVAL_COUNT_MAX {
        loop {
            thread::sleep(REVIVAL_PAUSE);
            if let Some(what) = stack.revive()? {
                progress(&format!("{what}\nit runs again; nothing acknowledged is lost"));
                break;
            }
        }
    }
    bail!("processes ended {REVIVAL_COUNT_MAX} times, see the logs in {}", options.data_dir.display())
}

/// Builds the dashboard while something else is built: what is fetched keeps no processor busy.
fn with_dashboard<T>(root: &Path, build: impl FnOnce() -> Result<T>) -> Result<T> {
    thread::scope(|scope| {
        let dashboard = scope.spawn(|| build_dashboard(root));
        let built = build();
        dashboard.join().map_err(|_| anyhow!("building the dashboard panicked"))??;
        built
    })
}

fn wanted_ports(options: &UpOptions, regions: &[Region]) -> Vec<WantedPort> {
    let isolates = regions.iter().flat_map(|region| &region.isolates);
    let edge = isolates.map(|(_, port)| WantedPort { port: *port, listener: "edge", option: "--edge-port" });
    let control_plane = WantedPort {
        port: options.control_plane_port,
        listener: "control plane",
        option: "--control-plane-port",
    };
    std::iter::once(control_plane).chain(edge).collect()
}

/// Two at once on one data folder would write each other's databases; the lock ends with the process.
fn lock(data_dir: &Path) -> Result<fs::File> {
    fs::create_dir_all(data_dir).with_context(|| format!("creating {}", data_dir.display()))?;
    let path = data_dir.join("up.lock");
    let file = fs::File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&path)
        .with_context(|| format!("opening {}", path.display()))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(fs::TryLockError::WouldBlock) => bail!(
            "another `cargo xtask up` runs on {}: stop it, or choose another folder with --data DIR",
            data_dir.display()
        ),
        Err(fs::TryLockError::Error(error)) => {
            Err(error).with_context(|| format!("locking {}", path.display()))
        }
    }
}

/// The client key of the last run while it is still valid, or a new one.
fn client_key(data_dir: &Path, admin: &Client) -> Result<String> {
    if let Ok(dev) = read_dev(data_dir)
        && let Some(key) = dev["client_key"].as_str()
    {
        return Ok(key.to_owned());
    }
    demo_project::create_client_key(admin)
}

/// What `up` wrote for other commands.
pub fn read_dev(data_dir: &Path) -> Result<Value> {
    let path = data_dir.join("dev.json");
    let text = fs::read_to_string(&path)
        .with_context(|| format!("reading {}: is `cargo xtask up` running?", path.display()))?;
    serde_json::from_str(&text).with_context(|| format!("reading {}", path.display()))
}

fn write_dev(data_dir: &Path, stack: &Stack, client_key: &str) -> Result<PathBuf> {
    let path = data_dir.join("dev.json");
    let dev = json!({
        "control_plane": stack.control_plane_url(),
        "edge": stack.edge_url(0),
        "edges": stack.edge_urls(),
        "regions": regions(stack),
        "database": stack.database(),
        "admin_token": stack.secrets().admin_token,
        "client_key": client_key,
        "project": PROJECT,
        "environment": ENVIRONMENT,
    });
    write_private(&path, &format!("{dev:#}\n"))?;
    Ok(path)
}

/// The isolates' URLs by region.
fn regions(stack: &Stack) -> BTreeMap<&str, Vec<String>> {
    let urls = |region: &Region| {
        region.isolates.iter().map(|(_, port)| format!("http://127.0.0.1:{port}")).collect()
    };
    stack.regions().iter().map(|region| (region.name.as_str(), urls(region))).collect()
}

/// A link with which the owner signs in once.
fn sign_in_link(stack: &Stack, database_url: Option<&str>) -> Result<String> {
    let mut command = Command::new(stack.program());
    command.args(["login-link", "--url", &stack.control_plane_url(), "--data"]);
    command.arg(stack.data_dir().join("control-plane"));
    set_database(&mut command, database_url);
    let output = output("flagfuse login-link", &mut command, START_LIMIT)?;
    if !output.status.success() {
        bail!("flagfuse login-link failed: {}", String::from_utf8_lossy(&output.stderr).trim_end());
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim_end().to_owned())
}

/// Every isolate answers with the client key before the user is told about it.
fn wait_until_served(stack: &Stack, client_key: &str) -> Result<()> {
    for url in stack.edge_urls() {
        let client = Client::new(&url, Some(client_key));
        let question = json!({ "context": { "targetingKey": "you" } });
        eventually(&format!("{url} serves the demo environment"), START_LIMIT, || {
            client.post("/ofrep/v1/evaluate/flags/theme", &question)?.ok()
        })?;
    }
    Ok(())
}

#[expect(clippy::print_stdout, reason = "this is the command's result")]
fn print_summary(stack: &Stack, client_key: &str, (dev_path, link): (&Path, &str), took: Duration) {
    let edges = match stack.regions() {
        [_] => stack.edge_urls().join("  and  "),
        _ => regions(stack)
            .iter()
            .map(|(name, urls)| format!("{name} {}", urls.join(" ")))
            .collect::<Vec<_>>()
            .join("  and  "),
    };
    println!(
        "
Flagfuse runs ({:.1} s). Its root key is a 1-of-1 development key: for this machine only.

  control plane   {}
  database        {}
  edge isolates   {edges}
  project         {PROJECT}, environment {ENVIRONMENT}
  client key      {client_key}
  admin token     {}
  all of it       {}
  sign in         {link}
                  (once, within ten minutes; `flagfuse login-link` makes another one)

Ask the edge:
  curl -s -X POST {}/ofrep/v1/evaluate/flags/banner-text \\
    -H 'Authorization: Bearer {client_key}' \\
    -d '{{\"context\":{{\"targetingKey\":\"you\",\"country\":\"DE\"}}}}'

Watch a harmful feature being switched off:   cargo xtask demo
Stop with Ctrl-C; flags, circuits and events are kept.",
        took.as_secs_f64(),
        stack.control_plane_url(),
        stack.database(),
        stack.secrets().admin_token,
        dev_path.display(),
        stack.edge_url(0),
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(arguments: &[&str]) -> Result<UpOptions> {
        let arguments: Vec<String> = arguments.iter().map(|argument| (*argument).to_owned()).collect();
        UpOptions::parse(Path::new("/"), &arguments)
    }

    #[test]
    fn without_names_there_is_one_region_of_two_isolates_and_with_them_each_has_one() {
        let ports = |options: &UpOptions| -> Vec<(String, Vec<u16>)> {
            let ports = |region: Region| region.isolates.iter().map(|(_, port)| *port).collect();
            options.regions().into_iter().map(|region| (region.name.clone(), ports(region))).collect()
        };
        assert_eq!(ports(&parse(&[]).unwrap()), [("local".to_owned(), vec![8787, 8788])]);
        let three = parse(&["--regions", "canary,eu,us-1", "--edge-port", "9000"]).unwrap();
        let expected = [("canary", 9000), ("eu", 9001), ("us-1", 9002)];
        assert_eq!(ports(&three), expected.map(|(name, port)| (name.to_owned(), vec![port])));
    }

    #[test]
    fn a_list_that_names_no_regions_is_refused_and_says_which_part() {
        for (list, said) in
            [("", "\"\" is not"), ("eu,", "\"\" is not"), ("eu,US", "\"US\""), ("eu,eu", "repeated")]
        {
            let error = parse(&["--regions", list]).unwrap_err().to_string();
            assert!(error.contains(said), "{list:?}: {error}");
        }
        let names =
            |count: usize| (0..count).map(|number| format!("r{number}")).collect::<Vec<_>>().join(",");
        assert!(parse(&["--regions", &names(REGION_COUNT_MAX)]).is_ok());
        assert!(parse(&["--regions", &names(REGION_COUNT_MAX + 1)]).is_err());
    }

    #[test]
    fn the_database_is_in_the_data_folder_unless_one_is_named() {
        assert_eq!(parse(&[]).unwrap().database_url, None);
        let named = parse(&["--database-url", "postgres://host/flags"]).unwrap();
        assert_eq!(named.database_url.as_deref(), Some("postgres://host/flags"));
        assert!(parse(&["--database-url"]).unwrap_err().to_string().contains("needs a value"));
    }

    #[test]
    fn a_data_folder_serves_one_stack_at_a_time() {
        let folder = std::env::temp_dir().join(format!("flagfuse-up-lock-{}", std::process::id()));
        let first = lock(&folder).unwrap();
        let error = lock(&folder).unwrap_err().to_string();
        assert!(error.contains("--data DIR"), "{error}");
        drop(first);
        // A child that another test's thread forks holds the lock too, until it runs its own program.
        let freed = "the lock is free, once nobody is between fork and exec";
        eventually(freed, START_LIMIT, || lock(&folder)).unwrap();
        fs::remove_dir_all(&folder).unwrap();
    }
}
