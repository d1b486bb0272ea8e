//! `flagfuse openapi`: the document that `/v1/openapi.json` serves, for people and for generators of clients.

use flagfuse_control_plane::api::openapi_document;

/// The document, indented.
pub(super) fn run() -> anyhow::Result<String> {
    Ok(openapi_document().to_pretty_json()?)
}
