//! The kinds of tokens. Pure.

use serde::{Deserialize, Serialize};

use super::rights::Right;

/// What a token is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TokenKind {
    /// Reads and changes everything in its place.
    Admin,
    /// Reads everything in its place and changes flags, fuses and what they share.
    Editor,
    /// Reads everything in its place.
    Viewer,
    /// What edges present with batches of events.
    Ingest,
    /// What clients present to the edge; publishable, valid for one environment.
    Client,
    /// What the customer's servers send events with; secret, valid for one environment.
    Server,
    /// Reads `/metrics` and nothing else.
    Metrics,
}

/// How much of a tenant a token of a kind may be valid for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Extent {
    /// All of it, a project, or an environment.
    Any,
    /// One environment.
    Environment,
}

impl TokenKind {
    /// The word in JSON and SQL.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Admin => "admin",
            Self::Editor => "editor",
            Self::Viewer => "viewer",
            Self::Ingest => "ingest",
            Self::Client => "client",
            Self::Server => "server",
            Self::Metrics => "metrics",
        }
    }

    /// Every kind there is.
    pub const ALL: [Self; 7] =
        [Self::Admin, Self::Editor, Self::Viewer, Self::Ingest, Self::Client, Self::Server, Self::Metrics];

    /// The kind of a word.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == text)
    }

    /// What it may do. No machine approves what another one wants, and none makes owners.
    pub const fn rights(self) -> &'static [Right] {
        match self {
            Self::Admin => &[Right::Read, Right::Scrape, Right::Edit, Right::Administer],
            Self::Editor => &[Right::Read, Right::Scrape, Right::Edit],
            Self::Viewer => &[Right::Read, Right::Scrape],
            Self::Ingest => &[Right::Deliver],
            Self::Server => &[Right::Send],
            Self::Metrics => &[Right::Scrape],
            // For the edge alone.
            Self::Client => &[],
        }
    }

    /// How much of a tenant it may be valid for. What a replica pulls is of the whole tenant, so an `ingest` token for less
    /// delivers events and nothing else.
    pub const fn extent(self) -> Extent {
        match self {
            Self::Admin | Self::Editor | Self::Viewer | Self::Ingest | Self::Metrics => Extent::Any,
            Self::Client | Self::Server => Extent::Environment,
        }
    }
}
