//! Which version a region should hold when regions get versions one after the other. Pure: reads no database and no clock.
//!
//! A version goes on to a stage once every replica of every earlier stage has acknowledged it, or a later one, for as long
//! as the environment's soak takes. A replica that refuses a version does not acknowledge it, so that later stages keep
//! what they have. What is urgent goes everywhere at once; and because a snapshot carries the whole environment, so does
//! an ordinary change before it that was still on its way: two contents under one version would be equivocation.
//!
//! A region never goes back: what one of its replicas stored stays its target, whatever becomes of the stages.

use std::collections::BTreeMap;

use flagfuse_shared::contract::replica::Urgency;
use flagfuse_shared::ids::{SnapshotVersion, UnixMillis};
use serde::Serialize;

use crate::model::fleet::ReplicaName;
use crate::model::safety::Stages;

/// A version that can be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SendableVersion {
    pub version: SnapshotVersion,
    /// Whether it waits for anything.
    pub urgency: Urgency,
}

/// A replica stored a version that this control plane signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Acknowledgement {
    pub replica: ReplicaName,
    pub version: SnapshotVersion,
    /// When the receipt arrived, by our own clock: no other one is compared with `now`.
    pub acked_ms: UnixMillis,
}

/// What is known of one environment.
#[derive(Debug, Clone, Copy)]
pub struct StageFacts<'k> {
    /// The order of the regions.
    pub stages: &'k Stages,
    /// How long a version stays with a stage.
    pub soak_ms: u64,
    /// Versions that can be sent, the newest first.
    pub sendable: &'k [SendableVersion],
    /// Every replica there is, heard of or not.
    pub replicas: &'k [ReplicaName],
    /// Receipts of sendable versions, in any order.
    pub acks: &'k [Acknowledgement],
    /// Replicas whose last word about the environment was a refusal.
    pub refusing: &'k [ReplicaName],
}

/// What a region should hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placement {
    /// The version; `None` when nothing was published.
    pub version: Option<SnapshotVersion>,
    /// Why it is not the newest.
    pub wait: Option<Wait>,
}

/// What the newest version waits for on its way to a region.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "waits_for", rename_all = "snake_case")]
pub enum Wait {
    /// A replica of an earlier stage refused it.
    Refusal { replica: ReplicaName },
    /// A replica of an earlier stage has not acknowledged it.
    Acknowledgement { replica: ReplicaName },
    /// Every earlier stage has it, but not for long enough.
    Soak {
        /// When that will be over.
        until_ms: UnixMillis,
    },
}

/// The version that `region` should hold at `now`.
pub fn place(facts: &StageFacts<'_>, region: &str, now: UnixMillis) -> Placement {
    let Some(newest) = facts.sendable.first() else { return Placement { version: None, wait: None } };
    let firsts = Firsts::of(facts);
    let version = facts.due(&firsts, region, now);
    let stage = facts.stages.of_region(region);
    let wait = facts.wait(&firsts, stage, *newest, now).filter(|_| version != Some(newest.version));
    Placement { version, wait }
}

/// What keeps `version`, and those after it, from `region` at `now`; `None` when nothing does.
pub fn wait(facts: &StageFacts<'_>, region: &str, version: SnapshotVersion, now: UnixMillis) -> Option<Wait> {
    let sendable = facts.sendable.iter().find(|sendable| sendable.version == version)?;
    let firsts = Firsts::of(facts);
    if facts.due(&firsts, region, now) >= Some(version) {
        return None;
    }
    facts.wait(&firsts, facts.stages.of_region(region), *sendable, now)
}

/// For each replica: versions in descending order with the first time that it, or a later one, was acknowledged.
struct Firsts<'k>(BTreeMap<&'k ReplicaName, Vec<(SnapshotVersion, UnixMillis)>>);

impl<'k> Firsts<'k> {
    fn of(facts: &StageFacts<'k>) -> Self {
        let mut firsts: BTreeMap<&ReplicaName, Vec<(SnapshotVersion, UnixMillis)>> = BTreeMap::new();
        for ack in facts.acks {
            firsts.entry(&ack.replica).or_default().push((ack.version, ack.acked_ms));
        }
        for list in firsts.values_mut() {
            list.sort_unstable_by(|left, right| right.cmp(left));
            let mut earliest = UnixMillis(u64::MAX);
            for (_, acked_ms) in list {
                earliest = earliest.min(*acked_ms);
                *acked_ms = earliest;
            }
        }
        Self(firsts)
    }

    /// When a replica first held `version` or a later one.
    fn held_since(&self, replica: &ReplicaName, version: SnapshotVersion) -> Option<UnixMillis> {
        let list = self.0.get(replica)?;
        let behind = list.partition_point(|(later, _)| *later >= version);
        list.get(behind.checked_sub(1)?).map(|(_, acked_ms)| *acked_ms)
    }
}

impl StageFacts<'_> {
    /// The version that a region should hold.
    fn due(&self, firsts: &Firsts<'_>, region: &str, now: UnixMillis) -> Option<SnapshotVersion> {
        let stage = self.stages.of_region(region);
        let own = |ack: &&Acknowledgement| ack.replica.region == region;
        // Not what has left the history: it could not be sent again.
        let is_sendable =
            |version: &SnapshotVersion| self.sendable.iter().any(|other| other.version == *version);
        let held = self.acks.iter().filter(own).map(|ack| ack.version).filter(is_sendable).max();
        let due = self.sendable.iter().find(|sendable| self.wait(firsts, stage, **sendable, now).is_none());
        let due = due.map(|sendable| sendable.version).max(held);
        // A region that never had anything has nothing to keep: the version that was tried for the longest time.
        due.or_else(|| self.sendable.last().map(|sendable| sendable.version))
    }

    /// What keeps a version from a stage; `None` when nothing does.
    fn wait(
        &self,
        firsts: &Firsts<'_>,
        stage: usize,
        sendable: SendableVersion,
        now: UnixMillis,
    ) -> Option<Wait> {
        if sendable.urgency == Urgency::Urgent {
            return None;
        }
        let earlier =
            || self.replicas.iter().filter(|replica| self.stages.of_region(&replica.region) < stage);
        let missing = |replica: &&ReplicaName| firsts.held_since(replica, sendable.version).is_none();
        if let Some(replica) = earlier().filter(missing).find(|replica| self.refusing.contains(replica)) {
            return Some(Wait::Refusal { replica: replica.clone() });
        }
        if let Some(replica) = earlier().find(missing) {
            return Some(Wait::Acknowledgement { replica: replica.clone() });
        }
        let last = earlier().filter_map(|replica| firsts.held_since(replica, sendable.version)).max()?;
        let until_ms = last.plus(self.soak_ms);
        (now < until_ms).then_some(Wait::Soak { until_ms })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOAK_MS: u64 = 60_000;

    /// Two replicas in each of four regions; the last two form the last stage, one of them without being named.
    struct World {
        stages: Stages,
        sendable: Vec<SendableVersion>,
        replicas: Vec<ReplicaName>,
        acks: Vec<Acknowledgement>,
        refusing: Vec<ReplicaName>,
    }

    fn replica(region: &str, shard: u16) -> ReplicaName {
        ReplicaName { region: region.to_owned(), shard }
    }

    fn version(seq: u64) -> SnapshotVersion {
        SnapshotVersion { epoch: 1, seq }
    }

    impl World {
        /// Versions 1 ..= `newest`; everybody has had the first for ever.
        fn new(newest: u64) -> Self {
            let regions = ["canary", "eu", "us", "asia"];
            let stages = [["canary"], ["eu"], ["us"]].map(|stage| stage.map(str::to_owned).to_vec()).to_vec();
            let mut world = Self {
                stages: Stages::try_from(stages).unwrap(),
                sendable: (1..=newest)
                    .rev()
                    .map(|seq| SendableVersion { version: version(seq), urgency: Urgency::Ordinary })
                    .collect(),
                replicas: regions
                    .iter()
                    .flat_map(|region| [replica(region, 0), replica(region, 1)])
                    .collect(),
                acks: Vec::new(),
                refusing: Vec::new(),
            };
            for region in regions {
                world.ack(region, 1, 0);
            }
            world
        }

        fn ack_shard(&mut self, region: &str, shard: u16, seq: u64, at_ms: u64) {
            let (replica, version) = (replica(region, shard), version(seq));
            self.acks.push(Acknowledgement { replica, version, acked_ms: UnixMillis(at_ms) });
        }

        fn ack(&mut self, region: &str, seq: u64, at_ms: u64) {
            self.ack_shard(region, 0, seq, at_ms);
            self.ack_shard(region, 1, seq, at_ms);
        }

        fn place(&self, region: &str, now: u64) -> Placement {
            let facts = StageFacts {
                stages: &self.stages,
                soak_ms: SOAK_MS,
                sendable: &self.sendable,
                replicas: &self.replicas,
                acks: &self.acks,
                refusing: &self.refusing,
            };
            place(&facts, region, UnixMillis(now))
        }

        fn seqs(&self, now: u64) -> [u64; 4] {
            ["canary", "eu", "us", "asia"].map(|region| self.place(region, now).version.unwrap().seq)
        }
    }

    const LATER: u64 = 10_000_000;

    #[test]
    fn a_version_goes_from_stage_to_stage_when_it_has_soaked() {
        let mut world = World::new(2);
        assert_eq!(world.seqs(LATER), [2, 1, 1, 1]);
        world.ack("canary", 2, LATER);
        assert_eq!(world.seqs(LATER + SOAK_MS - 1), [2, 1, 1, 1], "a millisecond too early");
        assert_eq!(world.seqs(LATER + SOAK_MS), [2, 2, 1, 1]);
        world.ack("eu", 2, LATER + SOAK_MS);
        assert_eq!(world.seqs(LATER + 2 * SOAK_MS - 1), [2, 2, 1, 1]);
        assert_eq!(world.seqs(LATER + 2 * SOAK_MS), [2, 2, 2, 2]);
        assert_eq!(world.place("asia", LATER + 2 * SOAK_MS).wait, None);
    }

    #[test]
    fn one_replica_that_has_not_answered_holds_the_stages_behind_it() {
        let mut world = World::new(2);
        world.ack_shard("canary", 0, 2, LATER);
        let wait = world.place("eu", 2 * LATER).wait;
        assert_eq!(wait, Some(Wait::Acknowledgement { replica: replica("canary", 1) }));
        assert_eq!(world.seqs(2 * LATER), [2, 1, 1, 1]);
        world.ack_shard("canary", 1, 2, 2 * LATER);
        let wait = world.place("eu", 2 * LATER + 1).wait;
        assert_eq!(wait, Some(Wait::Soak { until_ms: UnixMillis(2 * LATER + SOAK_MS) }));
    }

    #[test]
    fn a_refusal_holds_them_too_and_says_so() {
        let mut world = World::new(2);
        world.ack_shard("canary", 0, 2, LATER);
        world.refusing.push(replica("canary", 1));
        assert_eq!(world.seqs(2 * LATER), [2, 1, 1, 1]);
        let wait = world.place("us", 2 * LATER).wait;
        assert_eq!(wait, Some(Wait::Refusal { replica: replica("canary", 1) }));
        // A later version that is taken heals it.
        world.sendable.insert(0, SendableVersion { version: version(3), urgency: Urgency::Ordinary });
        world.refusing.clear();
        world.ack("canary", 3, 2 * LATER);
        assert_eq!(world.seqs(2 * LATER + SOAK_MS), [3, 3, 1, 1]);
    }

    #[test]
    fn changes_that_come_faster_than_they_soak_arrive_all_the_same() {
        let mut world = World::new(6);
        for seq in 2..=6 {
            world.ack("canary", seq, LATER + seq * SOAK_MS / 2);
        }
        // Version 4 came at LATER + 2 soaks: it, and those after it, are a soak old one by one.
        assert_eq!(world.seqs(LATER + 3 * SOAK_MS), [6, 4, 1, 1]);
        // A version that a replica skipped counts as taken with the one after it.
        let skipped =
            Acknowledgement { acked_ms: UnixMillis(LATER), ..world.acks.remove(world.acks.len() - 4) };
        assert_eq!(skipped.version, version(5));
        assert_eq!(world.seqs(LATER + 3 * SOAK_MS), [6, 4, 1, 1]);
    }

    #[test]
    fn what_is_urgent_goes_everywhere_and_takes_along_what_was_before_it() {
        let mut world = World::new(3);
        if let Some(newest) = world.sendable.first_mut() {
            newest.urgency = Urgency::Urgent;
        }
        assert_eq!(world.seqs(LATER), [3, 3, 3, 3]);
        world.sendable.insert(0, SendableVersion { version: version(4), urgency: Urgency::Ordinary });
        assert_eq!(world.seqs(LATER), [4, 3, 3, 3], "what comes after it waits again");
    }

    #[test]
    fn a_region_never_goes_back() {
        let mut world = World::new(3);
        for region in ["canary", "eu", "us", "asia"] {
            world.ack(region, 3, LATER);
        }
        // A new replica in the first stage, and a new order: nobody acknowledged anything there.
        world.replicas.push(replica("canary", 2));
        assert_eq!(world.seqs(LATER), [3, 3, 3, 3]);
        assert_eq!(world.place("asia", LATER).wait, None);
        world.stages = Stages::try_from(vec![vec!["asia".to_owned()], vec!["canary".to_owned()]]).unwrap();
        world.sendable.insert(0, SendableVersion { version: version(4), urgency: Urgency::Ordinary });
        assert_eq!(world.seqs(LATER), [3, 3, 3, 4]);
    }

    #[test]
    fn a_region_that_has_nothing_gets_what_was_tried_longest() {
        let mut world = World::new(3);
        world.acks.clear();
        assert_eq!(world.seqs(LATER), [3, 1, 1, 1]);
        world.sendable.clear();
        assert_eq!(world.place("eu", LATER), Placement { version: None, wait: None });
    }

    #[test]
    fn without_stages_every_region_gets_the_newest_at_once() {
        let mut world = World::new(3);
        world.stages = Stages::default();
        assert_eq!(world.seqs(1), [3, 3, 3, 3]);
    }

    /// Over random histories: nothing reaches a stage before its time, and nothing ever goes back.
    #[test]
    fn no_order_of_events_overtakes_a_stage() {
        for seed in 0..100_u64 {
            let mut state = seed;
            let mut below = |end: u64| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                (state >> 33) % end
            };
            let mut world = World::new(1);
            let mut now = LATER;
            let mut before = world.seqs(now);
            for _ in 0..60 {
                now += below(SOAK_MS);
                if below(3) == 0 {
                    let newest = world.sendable[0].version.seq + 1;
                    let urgency = if below(12) == 0 { Urgency::Urgent } else { Urgency::Ordinary };
                    world.sendable.insert(0, SendableVersion { version: version(newest), urgency });
                } else {
                    let replica = world.replicas[usize::try_from(below(8)).unwrap()].clone();
                    let target = world.place(&replica.region, now).version.unwrap();
                    world.ack_shard(&replica.region, replica.shard, target.seq, now);
                }
                let after = world.seqs(now);
                assert!(after.iter().zip(before).all(|(after, before)| *after >= before), "seed {seed}");
                assert!(after.is_sorted_by(|early, late| early >= late), "seed {seed}: {after:?}");
                for (stage, (target, old)) in after.into_iter().zip(before).enumerate() {
                    let is_urgent = |sendable: &SendableVersion| {
                        sendable.version.seq == target && sendable.urgency == Urgency::Urgent
                    };
                    if target == old || stage == 0 || world.sendable.iter().any(is_urgent) {
                        continue;
                    }
                    let earlier = world.replicas.iter().take(2 * stage.min(2));
                    for replica in earlier {
                        let has = |ack: &&Acknowledgement| {
                            ack.replica == *replica && ack.version >= version(target)
                        };
                        let first = world.acks.iter().filter(has).map(|ack| ack.acked_ms).min();
                        assert!(
                            first.is_some_and(|first| now >= first.0 + SOAK_MS),
                            "seed {seed}: {replica:?}"
                        );
                    }
                }
                before = after;
            }
        }
    }
}
