//! What people say of flags. The words of `model::flag_details`.

use serde::Deserialize;
use utoipa::ToSchema;

/// What people say of a flag, with everything that can be said.
#[derive(ToSchema)]
pub(in crate::api) struct FlagDetails {
    /// What people call it; empty where they call it by its key.
    #[schema(max_length = 256)]
    name: String,
    /// What it is for, in a few sentences.
    #[schema(max_length = 4096)]
    description: String,
    /// A person or a team; empty where nobody is named.
    #[schema(max_length = 256)]
    owner: String,
    /// Words to find it by.
    #[schema(max_items = 20)]
    tags: Vec<String>,
    /// What it is for, in a word.
    #[schema(required)]
    kind: Option<FlagKind>,
    /// When it should be gone from the code. Nothing happens then.
    #[schema(required, format = "uint64")]
    expires_ms: Option<u64>,
    /// Whether people are done with it. It is served as before.
    archived: bool,
}

/// What is to be said of a flag. What is left out is empty.
#[derive(Deserialize, ToSchema)]
#[schema(example = json!({ "name": "New checkout", "owner": "payments", "tags": ["web"], "kind": "release" }))]
#[serde(deny_unknown_fields)]
pub(in crate::api) struct FlagDetailsBody {
    /// What people call it.
    #[serde(default)]
    #[schema(max_length = 256)]
    name: String,
    /// What it is for, in a few sentences.
    #[serde(default)]
    #[schema(max_length = 4096)]
    description: String,
    /// A person or a team.
    #[serde(default)]
    #[schema(max_length = 256)]
    owner: String,
    /// Words to find it by, each once, of at most 64 bytes.
    #[serde(default)]
    #[schema(max_items = 20)]
    tags: Vec<String>,
    /// What it is for, in a word.
    kind: Option<FlagKind>,
    /// When it should be gone from the code. Nothing happens then.
    #[schema(format = "uint64")]
    expires_ms: Option<u64>,
    /// Whether people are done with it.
    #[serde(default)]
    archived: bool,
}

/// What a flag is for.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(in crate::api) enum FlagKind {
    /// Brings a feature to people, and goes then.
    Release,
    /// Compares variants.
    Experiment,
    /// A switch for those who run the system.
    Ops,
    /// Gives a feature to those who may have it, for good.
    Permission,
}
