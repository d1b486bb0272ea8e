//! Makes tokens, client keys, sessions and the codes of sign-in links. The text is shown once; only its digest goes on.

use flagfuse_shared::digest::{Digest, hex};
use flagfuse_shared::ids::{ProjectKey, Scope, TenantKey, UnixMillis};

pub use crate::model::token::TokenKind;
use crate::random;
use crate::store::tokens::TokenRow;

/// For whom a token is made.
#[derive(Debug, Clone)]
pub enum Bearer {
    /// A person or a program of the tenant.
    Tenant(TenantKey),
    /// The same in one project.
    Project(TenantKey, ProjectKey),
    /// The clients or the servers of one environment, or a program that has to do with nothing else.
    Environment(Scope),
}

/// A new token: `text` for its owner, `row` and `digest` for the database.
pub struct Credential {
    /// The secret text; show it once.
    pub text: String,
    pub digest: Digest,
    /// Everything else.
    pub row: TokenRow,
}

impl std::fmt::Debug for Credential {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Credential({})", self.row.token_id)
    }
}

/// A secret of 256 random bits: its text for whoever it lets in, its digest for the database.
pub struct Secret {
    /// Show it once.
    pub text: String,
    pub digest: Digest,
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret")
    }
}

impl Secret {
    fn random(prefix: &str) -> Result<Self, getrandom::Error> {
        let text = format!("{prefix}{}", hex(&random::bytes_32()?));
        let digest = Digest::of(text.as_bytes());
        Ok(Self { text, digest })
    }

    /// What a browser has of a session.
    pub fn of_session() -> Result<Self, getrandom::Error> {
        Self::random("ff_session_")
    }

    /// The code of a sign-in link.
    pub fn of_link() -> Result<Self, getrandom::Error> {
        Self::random("ff_login_")
    }
}

/// A public name of something, which nobody chooses: 64 random bits.
pub fn public_id() -> Result<String, getrandom::Error> {
    Ok(hex(random::bytes_32()?.first_chunk::<8>().map_or(&[][..], |half| half)))
}

/// Makes a token of 256 random bits that ends when somebody ends it.
pub fn generate(
    kind: TokenKind,
    bearer: Bearer,
    name: &str,
    now: UnixMillis,
) -> Result<Credential, getrandom::Error> {
    let (tenant, project, environment) = match bearer {
        Bearer::Tenant(tenant) => (tenant, None, None),
        Bearer::Project(tenant, project) => (tenant, Some(project), None),
        Bearer::Environment(Scope { tenant, project, environment }) => {
            (tenant, Some(project), Some(environment))
        }
    };
    let Secret { text, digest } = match (kind, &project, &environment) {
        // A client key's text says where to look; a secret one tells nothing.
        (TokenKind::Client, Some(project), Some(environment)) => {
            Secret::random(&format!("{project}:{environment}."))?
        }
        _ => Secret::random(&format!("ff_{}_", kind.as_str()))?,
    };
    let row = TokenRow {
        token_id: public_id()?,
        tenant: tenant.to_string(),
        kind,
        name: name.to_owned(),
        project: project.map(|project| project.to_string()),
        environment: environment.map(|environment| environment.to_string()),
        created_ms: now,
        revoked_ms: None,
        expires_ms: None,
        used_ms: None,
        replaced_by: None,
        revision: 1,
    };
    Ok(Credential { text, digest, row })
}
