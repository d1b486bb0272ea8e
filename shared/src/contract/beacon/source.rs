//! Who reported events, and what the edge could make sure of.

use serde::{Deserialize, Serialize};

/// Who reported events. Each has buffers of its own, so that no flood of one delays the other's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EventSource {
    /// The edge itself: exposures that it recorded when it answered.
    Edge,
    /// Clients, which may report whatever they like: events and usage.
    Client,
}

impl EventSource {
    /// Every source there is.
    pub const ALL: [Self; 2] = [Self::Edge, Self::Client];

    /// The word in JSON and in a buffer's name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Edge => "edge",
            Self::Client => "client",
        }
    }
}

/// What the edge could make sure of when events arrived. Evidence names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SourceMark {
    /// The edge recorded it itself, when it answered.
    Edge,
    /// A client sent it with a ticket of its unit, environment and time.
    Ticket,
    /// The same, and the customer's server had signed the unit for which the edge made the ticket.
    Signed,
    /// A client sent it to an edge that has no secret for tickets.
    Open,
    /// A client sent it without a ticket that is good for it: it counts for no fuse.
    None,
    /// A server sent it with a secret key.
    Server,
}

impl SourceMark {
    /// Every mark there is.
    pub const ALL: [Self; 6] = [Self::Edge, Self::Ticket, Self::Signed, Self::Open, Self::None, Self::Server];

    /// The word in JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Edge => "edge",
            Self::Ticket => "ticket",
            Self::Signed => "signed",
            Self::Open => "open",
            Self::None => "none",
            Self::Server => "server",
        }
    }
}
