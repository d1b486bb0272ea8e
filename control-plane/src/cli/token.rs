//! `flagfuse token create`: a token from whoever has the data folder.

use anyhow::bail;
use flagfuse_control_plane::clock::Clock;
use flagfuse_control_plane::credential::Bearer;
use flagfuse_control_plane::plane::ControlPlane;

use super::arguments::TokenCreateArgs;

/// The new token, which is shown this once.
pub(crate) async fn create(args: TokenCreateArgs) -> anyhow::Result<String> {
    let bearer = match (args.kind, args.place.scope()) {
        (kind, Some(scope)) if kind.is_of_environment() => Bearer::Environment(scope),
        (kind, None) if kind.is_of_environment() => {
            bail!("a token of kind {} needs --project and --environment", kind.as_str())
        }
        (_, None) => Bearer::Tenant(args.place.tenant().clone()),
        (_, Some(_)) => bail!("--project and --environment are for tokens of kind client and server"),
    };
    let plane = ControlPlane::unlock(&args.data.location()?, args.data.passphrase()?, Clock::System).await?;
    let text = plane.create_token(args.kind, bearer, &args.name).await?;
    plane.store.close().await;
    Ok(text)
}
