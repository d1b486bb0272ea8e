//! `flagfuse token create`: a token from whoever has the data folder.

use anyhow::bail;
use flagfuse_control_plane::clock::Clock;
use flagfuse_control_plane::credential::{Bearer, TokenKind};
use flagfuse_control_plane::plane::ControlPlane;

use super::arguments::TokenCreateArgs;

/// The new token, which is shown this once.
pub(crate) async fn create(args: TokenCreateArgs) -> anyhow::Result<String> {
    let bearer = match (args.kind, args.place.scope()) {
        (TokenKind::Client, Some(scope)) => Bearer::Environment(scope),
        (TokenKind::Client, None) => bail!("a client key needs --project and --environment"),
        (TokenKind::Admin | TokenKind::Viewer | TokenKind::Ingest, None) => {
            Bearer::Tenant(args.place.tenant().clone())
        }
        (TokenKind::Admin | TokenKind::Viewer | TokenKind::Ingest, Some(_)) => {
            bail!("--project and --environment are for client keys")
        }
    };
    let plane = ControlPlane::unlock(&args.data.location()?, args.data.passphrase()?, Clock::System).await?;
    let text = plane.create_token(args.kind, bearer, &args.name).await?;
    plane.store.close().await;
    Ok(text)
}
