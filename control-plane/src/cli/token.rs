//! `flagfuse token create`: a token from whoever has the data folder.

use anyhow::bail;
use flagfuse_control_plane::clock::Clock;
use flagfuse_control_plane::credential::{Bearer, TokenKind};
use flagfuse_control_plane::plane::ControlPlane;
use flagfuse_shared::ids::Scope;

use super::arguments::TokenCreateArgs;

/// The new token, which is shown this once.
pub(crate) async fn create(args: TokenCreateArgs) -> anyhow::Result<String> {
    let bearer = match (args.kind, args.project, args.environment) {
        (TokenKind::Client, Some(project), Some(environment)) => {
            Bearer::Environment(Scope { tenant: args.tenant, project, environment })
        }
        (TokenKind::Client, _, _) => bail!("a client key needs --project and --environment"),
        (_, None, None) => Bearer::Tenant(args.tenant),
        (_, _, _) => bail!("--project and --environment are for client keys"),
    };
    let plane = ControlPlane::unlock(&args.data.data, args.data.passphrase()?, Clock::System).await?;
    let text = plane.create_token(args.kind, bearer, &args.name).await?;
    plane.store.close().await;
    Ok(text)
}
