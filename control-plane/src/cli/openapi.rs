//! `flagfuse openapi`: the document that `/v1/openapi.json` serves, for people and for generators of clients; or the table of
//! codes that docs/api.md has.

use flagfuse_control_plane::api::openapi_document;
use flagfuse_control_plane::error::Code;

use super::arguments::OpenapiArgs;

/// The document, indented, or the table of codes.
pub(super) fn run(args: &OpenapiArgs) -> anyhow::Result<String> {
    if args.codes {
        return Ok(Code::table().trim_end().to_owned());
    }
    Ok(openapi_document().to_pretty_json()?)
}
