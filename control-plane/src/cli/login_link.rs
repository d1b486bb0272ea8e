//! `flagfuse login-link`: a way in for whoever has the data folder.

use std::io::Write as _;

use anyhow::Context as _;
use flagfuse_control_plane::clock::Clock;
use flagfuse_control_plane::plane::ControlPlane;

use super::arguments::LoginLinkArgs;
use super::say;

/// Prints the link alone, so that a program can pass it on; what is to be known of it is on standard error.
pub(crate) async fn run(args: LoginLinkArgs) -> anyhow::Result<()> {
    let plane = ControlPlane::unlock(&args.data.location()?, args.data.passphrase()?, Clock::System).await?;
    let made = plane.sign_in_code(&args.of.tenant, &args.sign_in.user).await?;
    plane.store.close().await;
    let who = if made.is_new { "the new owner" } else { "the member" };
    let told = format!("signs in {who} {} once, within ten minutes\n", made.name);
    std::io::stderr().write_all(told.as_bytes()).context("writing to standard error")?;
    say(&args.sign_in.link(&made.code))
}
