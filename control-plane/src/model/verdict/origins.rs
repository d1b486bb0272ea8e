//! Who sent the events behind a finding, and whether they are enough to act on. Pure; only ever takes a trip away.
//!
//! Anybody may hold a client key, and units can be made up. What costs an attacker something is networks: so events that
//! clients sent switch a feature off only when they came from several.

pub use flagfuse_cells::Source;
use serde::{Deserialize, Serialize};

/// Whether whoever has a client key could have sent it.
const fn is_client(source: Source) -> bool {
    match source {
        Source::Client | Source::Open => true,
        Source::Edge | Source::Server => false,
    }
}

/// Who sent the harmful events of a guardrail: those of exposed units, or where fewer are harm, the exposed units.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Origins {
    /// Kinds of senders.
    pub sources: Vec<Source>,
    /// Different networks, as far as they are counted.
    pub networks: u64,
}

impl Origins {
    /// Whether they may trip a fuse that asks for `min_networks` where clients sent some of them.
    pub fn are_enough(&self, min_networks: u64) -> bool {
        self.networks >= min_networks || !self.sources.iter().any(|source| is_client(*source))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_clients_sent_needs_networks_and_what_edges_and_servers_sent_does_not() {
        let rows: [(&[Source], u64, bool); 7] = [
            (&[Source::Client], 2, false),
            (&[Source::Client], 3, true),
            (&[Source::Open], 2, false),
            (&[Source::Edge], 1, true),
            (&[Source::Server], 1, true),
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
