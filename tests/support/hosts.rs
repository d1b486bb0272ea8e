//! Where the module of the determinism test runs: workerd, Node.js, Chromium. Each takes a request in JSON and gives the
//! answer of `tests/determinism/hosts/run.js`.

use std::fmt;
use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread;

use anyhow::{Context as _, Result, anyhow};
use serde_json::Value;
use xtask::http::Client;
use xtask::output::Dialogue;
use xtask::ports;
use xtask::process::OwnedProcess;
use xtask::wasm_build::WasmBundle;
use xtask::workerd::{log_tail, start_plain};

use crate::{COMMAND_LIMIT, PATIENCE, SCRIPT_LIMIT, fresh_dir, root};

type Ask = dyn FnMut(&Value) -> Result<Value> + Send;

/// Something that runs the module.
pub struct Host {
    /// For messages.
    pub name: &'static str,
    ask: Box<Ask>,
}

impl fmt::Debug for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Host").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Host {
    /// One request, one answer.
    pub fn ask(&mut self, request: &Value) -> Result<Value> {
        (self.ask)(request).with_context(|| format!("in {}", self.name))
    }

    /// No host at all: a function in its place.
    pub fn pretending(name: &'static str, answer: impl Fn(&Value) -> Value + Send + 'static) -> Self {
        Self { name, ask: Box::new(move |request| Ok(answer(request))) }
    }

    /// workerd with nothing but the module and a socket.
    pub fn workerd(bundle: &WasmBundle) -> Result<Self> {
        let dir = fresh_dir("determinism-workerd");
        let port = ports::free(1)?.pop().context("no free port")?;
        let running = start_plain(root(), bundle, &dir, port)?;
        let client = Client::new(&format!("http://127.0.0.1:{port}"), None);
        let ask = move |request: &Value| {
            let _runs = &running;
            client.post("/", request)?.ok().with_context(|| log_tail(&dir.join("workerd.log")))
        };
        Ok(Self { name: "workerd", ask: Box::new(ask) })
    }

    /// The Node.js that builds need anyway.
    pub fn node(bundle: &WasmBundle) -> Result<Self> {
        let mut command = Command::new("node");
        command
            // The generated module lies in a folder without a package of its own.
            .arg("--disable-warning=MODULE_TYPELESS_PACKAGE_JSON")
            .arg(bundle.dir.join("node.mjs"));
        let mut node = Dialogue::start("node", &mut command)?;
        let ask =
            move |request: &Value| Ok(serde_json::from_str(&node.ask(&request.to_string(), COMMAND_LIMIT)?)?);
        Ok(Self { name: "Node.js", ask: Box::new(ask) })
    }

    /// Debian's Chromium without a window, on a page that this process serves. `None` when it is not installed.
    pub fn chromium(bundle: &WasmBundle) -> Result<Option<Self>> {
        let Some(binary) = chromium_binary()? else { return Ok(None) };
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let url = format!("http://{}/page.html", listener.local_addr()?);
        let profile = fresh_dir("determinism-chromium");
        let log = fs::File::create(profile.join("chromium.log"))?;
        let mut command = Command::new(binary);
        command
            .args(["--headless", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"])
            // As root, in a container, Chromium has no sandbox; the page is ours alone.
            .args(["--no-sandbox", "--disable-background-networking", "--disable-sync"])
            .arg(format!("--user-data-dir={}", profile.display()))
            .arg(url)
            .stdout(log.try_clone()?)
            .stderr(log);
        let (to_page, requests) = channel();
        let (answers, from_page) = channel();
        Page { dir: bundle.dir.clone(), requests: Mutex::new(requests), answers }.serve(listener);
        let process = OwnedProcess::spawn("chromium", &mut command)?;
        let ask = move |request: &Value| {
            let _runs = &process;
            to_page.send(request.to_string())?;
            let answer = from_page.recv_timeout(COMMAND_LIMIT).context("no answer from the page")?;
            Ok(serde_json::from_str(&answer)?)
        };
        Ok(Some(Self { name: "Chromium", ask: Box::new(ask) }))
    }
}

/// Where Chromium is; the one without windows takes a third of the processor. On a CI machine it is installed when it is
/// missing, elsewhere that is the developer's decision.
#[expect(
    clippy::disallowed_methods,
    reason = "whether a missing browser may be skipped is for the machine to say"
)]
pub fn chromium_binary() -> Result<Option<String>> {
    let find = || {
        let names = ["chromium-headless-shell", "chromium", "chromium-browser", "google-chrome"];
        names.into_iter().map(|name| format!("/usr/bin/{name}")).find(|path| Path::new(path).exists())
    };
    if let Some(path) = find() {
        return Ok(Some(path));
    }
    if std::env::var("CI").is_err() {
        return Ok(None);
    }
    // One program of tests at a time: the others wait, and find it.
    let lock = fs::File::create(root().join("target/chromium.lock"))?;
    lock.lock()?;
    if let Some(path) = find() {
        return Ok(Some(path));
    }
    let install = ["install", "-y", "-qq", "--no-install-recommends", "chromium"];
    for arguments in [&["update", "-qq"][..], &install] {
        let mut command = Command::new("apt-get");
        command.args(arguments).env("DEBIAN_FRONTEND", "noninteractive").stdout(Stdio::null());
        let what = "installing chromium (as root, with apt-get)";
        xtask::process::run_within(what, &mut command, SCRIPT_LIMIT)?;
    }
    find().context("chromium was installed and is not there").map(Some)
}

/// The page's server: files of a folder, requests to be answered, answers.
struct Page {
    dir: PathBuf,
    requests: Mutex<Receiver<String>>,
    answers: Sender<String>,
}

impl Page {
    /// One thread a connection: browsers open some that they never use.
    fn serve(self, listener: TcpListener) {
        let page = Arc::new(self);
        thread::spawn(move || {
            for stream in listener.incoming().map_while(std::io::Result::ok) {
                let page = Arc::clone(&page);
                thread::spawn(move || page.reply(&stream));
            }
        });
    }

    fn reply(&self, mut stream: &TcpStream) -> Result<()> {
        let mut reader = BufReader::new(stream);
        let mut lines = Vec::new();
        loop {
            let mut line = String::new();
            reader.read_line(&mut line)?;
            if line.trim().is_empty() {
                break;
            }
            lines.push(line.to_ascii_lowercase());
        }
        let path = lines.first().and_then(|line| line.split(' ').nth(1)).context("no request line")?;
        let body_len = lines.iter().find_map(|line| line.strip_prefix("content-length:"));
        let mut body = vec![0; body_len.map_or(Ok(0), |text| text.trim().parse())?];
        reader.read_exact(&mut body)?;
        let (status, kind, content) = match path {
            "/next" => {
                let requests = self.requests.lock().map_err(|_| anyhow!("another connection panicked"))?;
                let next = requests.recv_timeout(PATIENCE);
                next.map_or(("410 Gone", "text/plain", Vec::new()), |request| {
                    ("200 OK", "application/json", request.into_bytes())
                })
            }
            "/answer" => {
                self.answers.send(String::from_utf8(body)?)?;
                ("204 No Content", "text/plain", Vec::new())
            }
            path => match fs::read(self.dir.join(path.trim_start_matches('/'))) {
                Ok(content) => ("200 OK", media_type(path), content),
                Err(_) => ("404 Not Found", "text/plain", Vec::new()),
            },
        };
        let len = content.len();
        write!(stream, "HTTP/1.1 {status}\r\ncontent-type: {kind}\r\ncontent-length: {len}\r\n")?;
        stream.write_all(b"connection: close\r\n\r\n")?;
        Ok(stream.write_all(&content)?)
    }
}

fn media_type(path: &str) -> &'static str {
    match Path::new(path).extension().and_then(|extension| extension.to_str()) {
        Some("html") => "text/html",
        Some("js") => "text/javascript",
        Some("wasm") => "application/wasm",
        _ => "application/octet-stream",
    }
}
