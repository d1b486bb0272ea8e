//! The replicas there should be, and their names. Pure: knows nothing of what they hold.

use serde::Serialize;

/// One of a region's replicas.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct ReplicaName {
    pub region: String,
    /// Which of the region's replicas.
    pub shard: u16,
}

impl std::fmt::Display for ReplicaName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.region, self.shard)
    }
}

/// The replicas there should be: every region has the same number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fleet {
    /// Names of the regions.
    pub regions: Vec<String>,
    /// Replicas of each.
    pub shards: u16,
}

impl Fleet {
    /// Each of them, by region and shard.
    pub fn replicas(&self) -> impl Iterator<Item = ReplicaName> + '_ {
        let of = |region: &String| {
            let region = region.clone();
            (0..self.shards).map(move |shard| ReplicaName { region: region.clone(), shard })
        };
        self.regions.iter().flat_map(of)
    }
}
