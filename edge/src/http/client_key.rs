//! Reads the credentials of a request. Never decides whether a client key is valid: that is the snapshot's word.

use flagfuse_shared::digest::Digest;
use flagfuse_shared::ids::{EnvironmentKey, ProjectKey, client_key_scope};

use crate::error::EdgeError;

/// A well-formed client key and the environment it names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientKey {
    /// The key as presented; only its digest may be stored or compared.
    pub text: String,
    /// The project it names.
    pub project: ProjectKey,
    /// The environment it names.
    pub environment: EnvironmentKey,
}

/// The client key of a request, from the first place that has one: `Authorization`, `X-API-Key`, the query.
pub fn client_key(
    authorization: Option<String>,
    api_key: impl FnOnce() -> Option<String>,
    query_key: Option<String>,
) -> Result<ClientKey, EdgeError> {
    let presented =
        authorization.map(|value| without_scheme(&value).to_owned()).or_else(api_key).or(query_key);
    let text = presented.filter(|text| !text.is_empty()).ok_or(EdgeError::KeyMissing)?;
    let (project, environment) = client_key_scope(&text).ok_or_else(|| malformed(&text))?;
    Ok(ClientKey { text, project, environment })
}

/// What a text is that is not a client key, by how it begins.
fn malformed(text: &str) -> EdgeError {
    let kinds = [("ff_admin_", "an admin"), ("ff_viewer_", "a viewer"), ("ff_ingest_", "an ingest")];
    let kind = kinds.into_iter().find(|(prefix, _)| text.starts_with(prefix));
    kind.map_or(EdgeError::KeyMalformed, |(_, kind)| EdgeError::KeyOfControlPlane { kind })
}

/// Whether `authorization` carries the token whose digest is `expected`.
///
/// Digests are compared, not tokens: how far a comparison gets says nothing useful about the token.
pub fn is_push_token(authorization: Option<&str>, expected: Option<&Digest>) -> bool {
    match (authorization, expected) {
        (Some(value), Some(expected)) => Digest::of(without_scheme(value).as_bytes()) == *expected,
        _ => false,
    }
}

/// `Bearer token` or a bare token → the token. The scheme's case does not matter (RFC 9110, 11.1).
fn without_scheme(value: &str) -> &str {
    match value.split_once(' ') {
        Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") => token.trim(),
        _ => value.trim(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_found_wherever_a_client_may_put_it() {
        let key = || Some("demo:dev.s3cret".to_owned());
        let bearer = Some("bearer demo:dev.s3cret".to_owned());
        for found in [
            client_key(bearer, || None, None),
            client_key(key(), || None, None),
            client_key(None, key, None),
            client_key(None, || None, key()),
        ] {
            let found = found.unwrap();
            assert_eq!((found.text.as_str(), found.project.as_str()), ("demo:dev.s3cret", "demo"));
        }
    }

    #[test]
    fn a_missing_and_a_malformed_key_differ() {
        assert_eq!(client_key(None, || None, None), Err(EdgeError::KeyMissing));
        assert_eq!(client_key(Some("Bearer ".to_owned()), || None, None), Err(EdgeError::KeyMissing));
        assert_eq!(
            client_key(Some("Bearer nonsense".to_owned()), || None, None),
            Err(EdgeError::KeyMalformed)
        );
    }

    #[test]
    fn a_token_of_the_control_plane_is_called_by_its_kind_whether_it_is_valid_or_not() {
        for (text, kind) in
            [("ff_admin_0123", "an admin"), ("ff_viewer_x", "a viewer"), ("ff_ingest_", "an ingest")]
        {
            let refused = client_key(Some(format!("Bearer {text}")), || None, None);
            assert_eq!(refused, Err(EdgeError::KeyOfControlPlane { kind }), "{text}");
        }
        assert_eq!(client_key(Some("ff_other_1".to_owned()), || None, None), Err(EdgeError::KeyMalformed));
    }

    #[test]
    fn only_the_configured_push_token_opens_the_door() {
        let expected = Digest::of(b"secret");
        assert!(is_push_token(Some("Bearer secret"), Some(&expected)));
        for refused in [None, Some(""), Some("Bearer secre"), Some("Bearer")] {
            assert!(!is_push_token(refused, Some(&expected)));
        }
        assert!(!is_push_token(Some("Bearer secret"), None), "without a configured token nobody may push");
    }
}
