//! Changes of tokens. Sees digests only; the secret was shown to its owner and is known to nobody else.

use flagfuse_shared::digest::Digest;
use flagfuse_shared::ids::{EnvironmentKey, ProjectKey, Scope, UnixMillis};
use flagfuse_shared::limits::STRING_LEN_MAX;
use serde_json::{Map, json};

use super::action::Action;
use super::effect::{Effect, Publication};
use super::error::ChangeError;
use super::kinds::Actor;
use super::resource::Resource;
use super::writing::Writing;
use crate::model::rights::Place;
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
    match (token.place(), &scope) {
        (Some(Place::Project(project)), _) => writing.require_project(&project).await?,
        (_, Some(scope)) => writing.require_environment(scope).await?,
        (_, None) => {}
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

/// A successor of the same kind, name and place; both are valid until `expires_ms`.
pub(super) async fn rotate(
    writing: &mut Writing<'_>,
    token_id: &str,
    (successor, secret): (TokenRow, Digest),
    expires_ms: UnixMillis,
) -> Result<Vec<Effect>, ChangeError> {
    let unknown = || ChangeError::Unknown { what: Resource::Token, key: token_id.to_owned() };
    let tenant = &writing.actor.tenant;
    let token = tokens::token(writing.conn, tenant, token_id).await?;
    let token = token.filter(|token| token.is_valid(writing.now)).ok_or_else(unknown)?;
    let scope = scope_of(writing.actor, &token)?;
    tokens::insert(writing.conn, &successor, &secret).await?;
    tokens::replace(writing.conn, tenant, token_id, &successor.token_id, expires_ms).await?;
    let mut effect = effect(Action::RotateToken, &token, scope);
    if let Some(fields) = effect.detail.as_object_mut() {
        fields.insert("successor".to_owned(), json!(successor.token_id));
        fields.insert("expires_ms".to_owned(), json!(expires_ms));
    }
    Ok(vec![effect])
}

/// The environment of a token that is valid in one; the others have none.
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
        detail: json!({ "kind": token.kind, "name": token.name, "project": token.project }),
        // The edge checks client keys against the snapshot, so it has to hear of this one.
        publication: match token.kind {
            TokenKind::Client => Publication::Needed,
            TokenKind::Admin
            | TokenKind::Editor
            | TokenKind::Viewer
            | TokenKind::Ingest
            | TokenKind::Server
            | TokenKind::Metrics => Publication::NotNeeded,
        },
        scope,
        revision: None,
        notes: Map::new(),
    }
}
