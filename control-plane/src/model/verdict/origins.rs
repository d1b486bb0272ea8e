//! Who sent the events behind a finding, and whether they are enough to act on. Pure; only ever takes a trip away.
//!
//! Anybody may hold a client key, and units can be made up: by events, or by asking for a flag, which the edge records. What
//! costs an attacker something is networks. So units whose events came from anywhere but a server switch a feature off only
//! when they enrolled from several.

pub use flagfuse_cells::Source;
use serde::{Deserialize, Serialize};

/// Whether whoever has a client key can bring it about. The edge records whatever unit it is asked for.
const fn is_public(source: Source) -> bool {
    match source {
        Source::Edge | Source::Client | Source::Open => true,
        Source::Server => false,
    }
}

/// Who sent the harmful events of a guardrail: those of exposed units, or where fewer are harm, the exposed units.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Origins {
    /// Kinds of senders.
    pub sources: Vec<Source>,
    /// Different networks from which their units enrolled, as far as they are counted; all that are unknown are one.
    pub networks: u64,
}

impl Origins {
    /// Whether they may trip a fuse that asks for `min_networks` where anybody could have brought some of them about.
    pub fn are_enough(&self, min_networks: u64) -> bool {
        self.networks >= min_networks || !self.sources.iter().any(|source| is_public(*source))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_anybody_can_bring_about_needs_networks_and_what_servers_sent_does_not() {
        let rows: [(&[Source], u64, bool); 9] = [
            (&[Source::Client], 2, false),
            (&[Source::Client], 3, true),
            (&[Source::Open], 2, false),
            (&[Source::Edge], 2, false),
            (&[Source::Edge], 3, true),
            (&[Source::Server], 1, true),
            (&[Source::Edge, Source::Server], 2, false),
            (&[Source::Edge, Source::Client], 2, false),
            (&[], 0, true),
        ];
        for (sources, networks, expected) in rows {
            let origins = Origins { sources: sources.to_vec(), networks };
            assert_eq!(origins.are_enough(3), expected, "{origins:?}");
            assert!(origins.are_enough(networks), "{origins:?}");
        }
        let of_number = |number: i64| u8::try_from(number).ok().and_then(Source::from_number);
        let numbers = (-1..5).map(of_number).collect::<Vec<_>>();
        let known = [Source::Edge, Source::Client, Source::Open, Source::Server].map(Some);
        assert_eq!(numbers, [&[None], &known[..], &[None]].concat());
    }
}
