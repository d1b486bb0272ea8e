//! `flagfuse init`: keys where there are none, a database, the first tokens.

use std::io::Write as _;
use std::path::Path;

use anyhow::Context as _;
use flagfuse_control_plane::clock::Clock;
use flagfuse_control_plane::plane;
use flagfuse_control_plane::publish::keys::files::{KEYSET_FILE, KeyFolder};
use flagfuse_control_plane::publish::keys::{Protection, create_development};
use serde_json::json;

use super::arguments::InitArgs;
use super::say;

/// Makes what is missing and prints what edges and people need.
pub(crate) async fn run(args: InitArgs) -> anyhow::Result<()> {
    let location = args.data.location()?;
    let data = &location.data;
    let passphrase = args.data.passphrase()?;
    let are_keys_there = KeyFolder::of_data(data).path(KEYSET_FILE).exists();
    if !are_keys_there {
        create_development(data, &Protection::of(passphrase.clone()), Clock::System.now())?;
        warn_of_development(data, passphrase.is_some())?;
    }
    let (tenant, user) = (&args.of.tenant, &args.owner.user);
    let made = plane::init_database(&location, (tenant, user), passphrase, Clock::System).await?;
    let link = args.owner.link(&made.sign_in_code);
    if args.json {
        let out = json!({
            "database": location.database.to_string(),
            "admin_token": made.admin_token,
            "ingest_token": made.ingest_token,
            "sign_in_link": link,
            "root_public_keys": made.root_public_keys,
            "root_threshold": made.root_threshold,
        });
        return say(&out.to_string());
    }
    say(&format!(
        "initialised {}\n\
         database:                   {}\n\
         admin token (shown once):   {}\n\
         ingest token for the edges: {}\n\
         sign in as {} (once, within ten minutes, when it is served): {link}\n\
         root public keys:           {}\n\
         root threshold:             {}",
        data.display(),
        location.database,
        made.admin_token,
        made.ingest_token,
        made.owner,
        made.root_public_keys.join(","),
        made.root_threshold,
    ))
}

/// On standard error, so that it is seen also where a program reads the answer.
fn warn_of_development(data: &Path, is_sealed: bool) -> anyhow::Result<()> {
    let dir = data.join("keys");
    let dir = dir.display();
    let clear = if is_sealed { "" } else { "private keys are written in clear, for development only\n" };
    let text = format!(
        "{clear}the root is a 1-of-1 development root and lies in {dir}/root.key: whoever reads that file can sign for \
         every edge that trusts it; `flagfuse keys init` makes roots to be carried away\n"
    );
    std::io::stderr().write_all(text.as_bytes()).context("writing to standard error")
}
