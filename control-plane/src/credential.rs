//! Makes tokens and client keys. The text is shown once; only its digest goes on.

use flagfuse_shared::digest::{Digest, hex};
use flagfuse_shared::ids::{Scope, TenantKey, UnixMillis};

pub use crate::model::token::TokenKind;
use crate::random;
use crate::store::tokens::TokenRow;

/// For whom a token is made.
#[derive(Debug, Clone)]
pub enum Bearer {
    /// A person or a program of the tenant.
    Tenant(TenantKey),
    /// The clients or the servers of one environment.
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

/// Makes a token of 256 random bits.
pub fn generate(
    kind: TokenKind,
    bearer: Bearer,
    name: &str,
    now: UnixMillis,
) -> Result<Credential, getrandom::Error> {
    let secret = hex(&random::bytes_32()?);
    let (text, tenant, scope) = match bearer {
        Bearer::Tenant(tenant) => (format!("ff_{}_{secret}", kind.as_str()), tenant, None),
        Bearer::Environment(scope) => {
            // A client key's text says where to look; a secret one tells nothing.
            let text = match kind {
                TokenKind::Client => format!("{}:{}.{secret}", scope.project, scope.environment),
                _ => format!("ff_{}_{secret}", kind.as_str()),
            };
            (text, scope.tenant.clone(), Some(scope))
        }
    };
    let digest = Digest::of(text.as_bytes());
    let row = TokenRow {
        token_id: hex(random::bytes_32()?.first_chunk::<8>().map_or(&[][..], |half| half)),
        tenant: tenant.to_string(),
        kind,
        name: name.to_owned(),
        project: scope.as_ref().map(|scope| scope.project.to_string()),
        environment: scope.as_ref().map(|scope| scope.environment.to_string()),
        created_ms: now,
        revoked_ms: None,
    };
    Ok(Credential { text, digest, row })
}
