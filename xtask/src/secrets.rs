//! The secrets of a development stack: drawn once, kept with mode 0600 in its data folder, and of one database.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use crate::output::output;
use crate::plane::{START_LIMIT, set_database};
use crate::private::write_private;
use crate::tools::progress;

/// What the file says of a stack whose database is in its folder.
const OWN_DATABASE: &str = "sqlite";

/// Secrets of a development stack.
#[derive(Debug, Clone)]
pub struct Secrets {
    /// Full rights at the control plane.
    pub admin_token: String,
    /// What the edge presents to the control plane.
    pub ingest_token: String,
    /// What the control plane presents to the edge.
    pub push_token: String,
    /// What stream tokens are made with.
    pub stream_secret: String,
    /// What tickets are made with.
    pub ticket_secret: String,
    /// Public keys of the development root.
    pub root_public_keys: Vec<String>,
}

impl Secrets {
    /// Reads the secrets in the folder, or initialises the control plane's data and draws them.
    pub fn of(control_plane: &Path, data_dir: &Path, database_url: Option<&str>) -> Result<Self> {
        let path = data_dir.join("secrets.json");
        let database = shown(database_url);
        if !path.exists() {
            let mut all = init(control_plane, data_dir, database_url)?;
            // It is good for ten minutes, and `up` makes one when everything runs.
            all.as_object_mut().map(|all| all.remove("sign_in_link"));
            all["push_token"] = json!(random_hex()?);
            all["database"] = json!(database);
            write_private(&path, &format!("{all:#}\n"))?;
        }
        let text = fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
        let mut all: Value =
            serde_json::from_str(&text).with_context(|| format!("reading {}", path.display()))?;
        // Older data was on SQLite always, and lacks secrets that came later.
        let made_on = all["database"].as_str().unwrap_or(OWN_DATABASE);
        if made_on != database {
            bail!(
                "{} belongs to a stack on {made_on}, not on {database}: choose another folder with --data DIR",
                data_dir.display()
            );
        }
        for later in ["stream_secret", "ticket_secret"] {
            if all.get(later).is_none() {
                all[later] = json!(random_hex()?);
                write_private(&path, &format!("{all:#}\n"))?;
            }
        }
        Self::read(&all, &path)
    }

    fn read(all: &Value, path: &Path) -> Result<Self> {
        let text_of = |name: &str| {
            let value = all.get(name).and_then(Value::as_str).map(str::to_owned);
            value.with_context(|| {
                format!("{} has no {name}: remove the data folder and start anew", path.display())
            })
        };
        Ok(Self {
            admin_token: text_of("admin_token")?,
            ingest_token: text_of("ingest_token")?,
            push_token: text_of("push_token")?,
            stream_secret: text_of("stream_secret")?,
            ticket_secret: text_of("ticket_secret")?,
            root_public_keys: serde_json::from_value(all["root_public_keys"].clone())
                .context("root_public_keys is not a list of texts")?,
        })
    }
}

/// What `flagfuse init` answers.
fn init(control_plane: &Path, data_dir: &Path, database_url: Option<&str>) -> Result<Value> {
    let mut init = Command::new(control_plane);
    init.args(["init", "--json", "--data"]).arg(data_dir.join("control-plane"));
    set_database(&mut init, database_url);
    let output = output("flagfuse init", &mut init, START_LIMIT)?;
    // What it says about development keys is for whoever watches.
    progress(String::from_utf8_lossy(&output.stderr).trim_end());
    if !output.status.success() {
        bail!("flagfuse init failed with {}", output.status);
    }
    serde_json::from_slice(&output.stdout).context("reading flagfuse init's answer")
}

/// A database without who connects, and without the settings behind a `?`.
pub(crate) fn shown(database_url: Option<&str>) -> String {
    let Some(url) = database_url else { return OWN_DATABASE.to_owned() };
    let (scheme, rest) = url.split_once("://").unwrap_or(("", url));
    let rest = rest.split('?').next().unwrap_or_default();
    let place = rest.rsplit_once('@').map_or(rest, |(_, place)| place);
    format!("{scheme}://{place}")
}

/// 32 hexadecimal digits from the operating system.
fn random_hex() -> Result<String> {
    use std::io::Read as _;
    let mut bytes = [0_u8; 16];
    fs::File::open("/dev/urandom")
        .and_then(|mut file| file.read_exact(&mut bytes))
        .context("reading /dev/urandom")?;
    Ok(flagfuse_shared::digest::hex(&bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_database_is_shown_without_who_connects() {
        let rows = [
            (None, "sqlite"),
            (Some("postgres://ada:s3cret@host:5433/flags?sslmode=require"), "postgres://host:5433/flags"),
            (Some("postgres://host/flags?password=s3cret"), "postgres://host/flags"),
            (Some("sqlite:///x/flags.db"), "sqlite:///x/flags.db"),
        ];
        for (url, expected) in rows {
            assert_eq!(shown(url), expected);
        }
    }

    #[test]
    fn a_folder_is_of_one_database_and_says_which_when_another_is_asked_for() {
        let folder = std::env::temp_dir().join(format!("flagfuse-secrets-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let mut all = json!({
            "admin_token": "a", "ingest_token": "i", "push_token": "p", "root_public_keys": ["r"],
        });
        let of = |url| Secrets::of(Path::new("/nowhere"), &folder, url).map_err(|error| error.to_string());
        // As an older `up` wrote it: on SQLite, without a stream secret.
        fs::write(folder.join("secrets.json"), all.to_string()).unwrap();
        let secrets = of(None).unwrap();
        assert_eq!((secrets.stream_secret.len(), secrets.ticket_secret.len()), (32, 32));
        let refused = of(Some("postgres://ada:s3cret@host/flags")).unwrap_err();
        assert!(refused.contains("on sqlite, not on postgres://host/flags"), "{refused}");
        assert!(refused.contains("--data DIR") && !refused.contains("s3cret"), "{refused}");
        all["database"] = json!("postgres://host/flags");
        fs::write(folder.join("secrets.json"), all.to_string()).unwrap();
        of(Some("postgres://eve@host/flags")).unwrap();
        assert!(of(None).unwrap_err().contains("on postgres://host/flags, not on sqlite"));
        fs::remove_dir_all(&folder).unwrap();
    }
}
