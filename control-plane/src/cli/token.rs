//! `flagfuse token create`: a token from whoever has the data folder.

use anyhow::bail;
use flagfuse_control_plane::clock::Clock;
use flagfuse_control_plane::credential::Bearer;
use flagfuse_control_plane::model::token::Extent;
use flagfuse_control_plane::plane::ControlPlane;

use super::arguments::TokenCreateArgs;

/// The new token, which is shown this once.
pub(crate) async fn create(args: TokenCreateArgs) -> anyhow::Result<String> {
    let kind = args.kind.as_str();
    let bearer = match (args.kind.extent(), args.place.scope()) {
        (Extent::Environment | Extent::Any, Some(scope)) => Bearer::Environment(scope),
        (Extent::Environment, None) => bail!("a token of kind {kind} needs --project and --environment"),
        (Extent::Any, None) => Bearer::Tenant(args.place.tenant().clone()),
    };
    let plane = ControlPlane::unlock(&args.data.location()?, args.data.passphrase()?, Clock::System).await?;
    let text = plane.create_token(args.kind, bearer, &args.name).await?;
    plane.store.close().await;
    Ok(text)
}
