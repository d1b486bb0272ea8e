//! Changes of tokens. Sees digests only; the secret was shown to its owner and is known to nobody else.

use flagfuse_shared::digest::Digest;
use flagfuse_shared::ids::{EnvironmentKey, ProjectKey, Scope};
use flagfuse_shared::limits::STRING_LEN_MAX;
use serde_json::{Map, json};

use super::action::Action;
use super::effect::{Effect, Publication};
use super::error::ChangeError;
use super::kinds::Actor;
use super::resource::Resource;
use super::writing::Writing;
use crate::model::token::TokenKind;
use crate::store::StoreError;
use crate::store::tokens::{self, TokenRow};

pub(super) async fn create(
    writing: &mut Writing<'_>,
    token: TokenRow,
    secret: Digest,
) -> Result<Vec<Effect>, ChangeError> {
    if token.name.len() > STRING_LEN_MAX {
        let len = token.name.len();
        return Err(ChangeError::TooLong { field: "name", len, len_max: STRING_LEN_MAX });
    }
    let scope = scope_of(writing.actor, &token)?;
    if let Some(scope) = &scope {
        writing.require_environment(scope).await?;
    }
    tokens::insert(writing.conn, &token, &secret).await?;
    Ok(vec![effect(Action::CreateToken, &token, scope)])
}

pub(super) async fn revoke(writing: &mut Writing<'_>, token_id: &str) -> Result<Vec<Effect>, ChangeError> {
    let token = tokens::revoke(writing.conn, &writing.actor.tenant, token_id, writing.now)
        .await?
        .ok_or_else(|| ChangeError::Unknown { what: Resource::Token, key: token_id.to_owned() })?;
    let scope = scope_of(writing.actor, &token)?;
    Ok(vec![effect(Action::RevokeToken, &token, scope)])
}

/// The environment of a client key or a server's; the other kinds have none.
fn scope_of(actor: &Actor, token: &TokenRow) -> Result<Option<Scope>, StoreError> {
    let (Some(project), Some(environment)) = (&token.project, &token.environment) else {
        return Ok(None);
    };
    let bad = |column, found: &str| StoreError::Corrupt { column, found: found.to_owned() };
    Ok(Some(Scope {
        tenant: actor.tenant.clone(),
        project: ProjectKey::parse(project).map_err(|_| bad("tokens.project", project))?,
        environment: EnvironmentKey::parse(environment)
            .map_err(|_| bad("tokens.environment", environment))?,
    }))
}

fn effect(action: Action, token: &TokenRow, scope: Option<Scope>) -> Effect {
    Effect {
        action,
        subject: token.token_id.clone(),
        detail: json!({ "kind": token.kind, "name": token.name }),
        // The edge checks client keys against the snapshot, so it has to hear of this one.
        publication: match token.kind {
            TokenKind::Client => Publication::Needed,
            TokenKind::Admin | TokenKind::Viewer | TokenKind::Ingest | TokenKind::Server => {
                Publication::NotNeeded
            }
        },
        scope,
        revision: None,
        notes: Map::new(),
    }
}
