//! The kinds of tokens. Pure.

use serde::{Deserialize, Serialize};

/// What a token is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TokenKind {
    /// Reads and changes everything of its tenant.
    Admin,
    /// Reads everything of its tenant.
    Viewer,
    /// What edges present with batches of events.
    Ingest,
    /// What clients present to the edge; publishable, valid for one environment.
    Client,
    /// What the customer's servers send events with; secret, valid for one environment.
    Server,
}

impl TokenKind {
    /// The word in JSON and SQL.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Admin => "admin",
            Self::Viewer => "viewer",
            Self::Ingest => "ingest",
            Self::Client => "client",
            Self::Server => "server",
        }
    }

    /// Every kind there is.
    pub const ALL: [Self; 5] = [Self::Admin, Self::Viewer, Self::Ingest, Self::Client, Self::Server];

    /// The kind of a word.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == text)
    }

    /// Whether it is valid for one environment instead of the whole tenant.
    pub const fn is_of_environment(self) -> bool {
        matches!(self, Self::Client | Self::Server)
    }
}
