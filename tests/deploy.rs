//! `wrangler.toml` as a user would deploy it: wrangler accepts it, and `wrangler dev` serves the same worker.

use std::process::Stdio;

use support::{Client, PATIENCE, SCRIPT_LIMIT, eventually, fresh_dir, output, root};
use xtask::output::Gathered;
use xtask::ports;
use xtask::process::OwnedProcess;
use xtask::tools::wrangler;

#[test]
fn wrangler_accepts_and_serves_the_worker() {
    let out = fresh_dir("wrangler-out");
    let mut command = wrangler(root()).unwrap();
    command.args(["deploy", "--dry-run", "--outdir"]).arg(&out);
    let output = output("wrangler deploy", &mut command, SCRIPT_LIMIT);
    let said =
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{said}");
    for expected in ["REPLICA", "BUFFER", "--dry-run: exiting now"] {
        assert!(said.contains(expected), "{expected:?} is missing in\n{said}");
    }

    let port = ports::free(1).unwrap()[0].to_string();
    let mut command = wrangler(root()).unwrap();
    command
        .args(["dev", "--port", &port, "--inspector-port", "0", "--show-interactive-dev-session=false"])
        .arg("--persist-to")
        .arg(fresh_dir("wrangler-state"))
        .env("CI", "true")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut dev = OwnedProcess::spawn("wrangler dev", &mut command).unwrap();
    let said = [dev.take_stdout().map(Gathered::from), dev.take_stderr().map(Gathered::from)];
    let client = Client::new(&format!("http://127.0.0.1:{port}"), None);
    let healthy = eventually("wrangler dev answers", PATIENCE * 4, || {
        if let Some(status) = dev.exit_status()? {
            return Ok(Err(format!("wrangler dev ended with {status}")));
        }
        let answer = client.get("/healthz")?;
        anyhow::ensure!(answer.status == 200, "status {}", answer.status);
        Ok(Ok(()))
    });
    let unauthorized = client.post("/ofrep/v1/evaluate/flags/x", &serde_json::json!({}));
    dev.kill();
    let log: String =
        said.iter().flatten().map(|said| String::from_utf8_lossy(&said.all()).into_owned()).collect();
    assert_eq!(healthy.unwrap_or_else(|error| Err(error.to_string())), Ok(()), "{log}");
    assert_eq!(unauthorized.unwrap().status, 401);
}
