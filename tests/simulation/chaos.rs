//! What befalls a world: crashes, pauses, cuts, weather, an adversary, keys that change, disks and databases that are lost.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;

use super::database::Database;
use super::network::{Relay, Weather};
use super::replica::ReplicaHost;
use super::signer::Releasers;
use super::sim::{Node, Sim};
use super::world::World;

/// How long a crash waits for a write.
const CRASH_PATIENCE_MS: u64 = 1_000;

pub(crate) struct Chaos {
    world: Rc<World>,
    sim: Sim,
    backup: RefCell<Option<Database>>,
    /// Such a world loses no disk besides: a version that both the database and the only replica that had it have lost is
    /// nobody's memory, and nobody could refuse to sign its number again.
    has_restore: Cell<bool>,
    is_restored: Cell<bool>,
    rotations: Cell<u8>,
    is_on: Cell<bool>,
}

impl Chaos {
    pub(crate) fn new(world: &Rc<World>) -> Self {
        Self {
            world: Rc::clone(world),
            sim: world.cast.sim.clone(),
            backup: RefCell::new(None),
            has_restore: Cell::new(false),
            is_restored: Cell::new(false),
            rotations: Cell::new(0),
            is_on: Cell::new(true),
        }
    }

    pub(crate) const fn is_restored(&self) -> bool {
        self.is_restored.get()
    }

    /// What this world has to endure.
    pub(crate) fn begin(self: &Rc<Self>) {
        self.change_weather();
        // Not by chance: a handful of seeds has to see a restore.
        let has_restore = self.world.cast.seed.is_multiple_of(3);
        let has_relay = self.sim.chance().permille(400);
        self.has_restore.set(has_restore);
        let tells =
            format_args!("storm begins; somebody sits on the line: {has_relay}, a restore: {has_restore}");
        self.sim.log(Node::World, tells);
        self.repeat(150, 1_500, Self::befall);
        self.repeat(2_000, 6_000, |chaos| chaos.change_weather());
        if has_relay {
            self.world.cast.adversary().meddling = 400;
            self.repeat(20, 250, |chaos| {
                chaos.world.cast.adversary().strike(&chaos.world.cast.replicas());
            });
            self.repeat(200, 1_000, |chaos| chaos.world.cast.adversary().repeat_beats());
        }
        if has_restore {
            self.plan_restore();
        }
    }

    fn repeat(self: &Rc<Self>, low_ms: u64, high_ms: u64, act: impl Fn(&Rc<Self>) + 'static) {
        let chaos = Rc::clone(self);
        self.sim.clone().spawn(Node::World, async move {
            loop {
                let pause_ms = chaos.sim.chance().between(low_ms, high_ms);
                chaos.sim.sleep(pause_ms).await;
                if !chaos.is_on.get() {
                    return;
                }
                act(&chaos);
            }
        });
    }

    /// Does something later, storm or not.
    fn after(self: &Rc<Self>, ms: u64, act: impl FnOnce(&Rc<Self>) + 'static) {
        let chaos = Rc::clone(self);
        self.sim.clone().spawn(Node::World, async move {
            chaos.sim.sleep(ms).await;
            act(&chaos);
        });
    }

    fn change_weather(&self) {
        let chance = self.sim.chance();
        let relay = if chance.permille(300) { Relay::Hostile } else { Relay::Honest };
        let delay_ms = *chance.pick(&[(1, 8), (5, 60), (50, 150)]);
        let (lost, doubled, late) =
            (*chance.pick(&[0, 10, 100]), *chance.pick(&[0, 20, 100]), *chance.pick(&[0, 50]));
        let weather = Weather { delay_ms, lost, doubled, late, late_ms: chance.between(50, 2_500), relay };
        self.sim.log(Node::World, format_args!("{weather:?}"));
        self.sim.network().weather = weather;
    }

    fn befall(self: &Rc<Self>) {
        let kind = self.sim.chance().below(13);
        match kind {
            0 | 1 => self.crash_replica(),
            2 => self.crash_plane(),
            3 => self.pause_plane(),
            4 => self.lose_isolate(),
            5 | 6 => self.cut_off(),
            7 | 8 => self.cut_plane(),
            9 => self.crash_buffer(),
            10 => self.rotate(),
            11 => self.slow_down_plane(),
            _ => self.lose_disk(),
        }
    }

    /// Any moment will do; the best one is while something is being written, so half of the crashes wait for that.
    fn crash_replica(self: &Rc<Self>) {
        let replica = Rc::clone(self.sim.chance().pick(&self.world.cast.replicas()));
        let is_patient = self.sim.chance().permille(500);
        let chaos = Rc::clone(self);
        self.sim.clone().spawn(Node::World, async move {
            let limit_ms = chaos.sim.now_ms() + CRASH_PATIENCE_MS;
            while is_patient && chaos.is_on.get() && !replica.is_writing() && chaos.sim.now_ms() < limit_ms {
                chaos.sim.sleep(1).await;
            }
            if chaos.is_on.get() && !chaos.sim.is_down(replica.node) {
                chaos.crash_for_a_while(replica);
            }
        });
    }

    fn crash_for_a_while(self: &Rc<Self>, replica: Rc<ReplicaHost>) {
        replica.crash();
        let back_ms = self.sim.chance().between(5, 3_000);
        self.after(back_ms, move |chaos| {
            if chaos.sim.is_down(replica.node) {
                replica.wake(&chaos.world.planes);
            }
        });
    }

    /// A disk that is lost comes back empty: one at a time, and every second one where no control plane can be heard.
    fn lose_disk(self: &Rc<Self>) {
        let replica = Rc::clone(self.sim.chance().pick(&self.world.cast.replicas()));
        if self.sim.is_down(replica.node) || self.has_restore.get() {
            return;
        }
        if self.sim.chance().permille(500) {
            let planes = self.world.planes.all.iter().map(|plane| plane.node);
            self.cut_for_a_while(planes.map(|plane| (plane, replica.node)).collect());
        }
        replica.wipe();
        replica.wake(&self.world.planes);
    }

    fn crash_plane(self: &Rc<Self>) {
        let plane = self.world.planes.any();
        if self.sim.is_down(plane.node) {
            return;
        }
        plane.crash();
        let back_ms = self.sim.chance().between(50, 4_000);
        self.after(back_ms, move |chaos| {
            if chaos.sim.is_down(plane.node) {
                plane.wake();
            }
        });
    }

    fn pause_plane(self: &Rc<Self>) {
        let plane = self.world.planes.any().node;
        self.sim.pause(plane);
        let back_ms = self.sim.chance().between(50, 4_000);
        self.after(back_ms, move |chaos| chaos.sim.resume(plane));
    }

    /// A control plane waits for its disk while a replica cannot hear the others: what it reads is old when it gets it.
    fn slow_down_plane(self: &Rc<Self>) {
        let (slow, lasts_ms) = (self.world.planes.any(), self.sim.chance().between(1_000, 8_000));
        slow.reads_slowly_until_ms.set(self.sim.now_ms() + lasts_ms);
        self.sim.log(slow.node, format_args!("reads slowly for {lasts_ms} ms"));
        let replica = self.sim.chance().pick(&self.world.cast.replicas()).node;
        let others = self.world.planes.all.iter().map(|plane| plane.node).filter(|node| *node != slow.node);
        self.cut_for_a_while(others.map(|other| (other, replica)).collect());
    }

    fn lose_isolate(self: &Rc<Self>) {
        let isolate = Rc::clone(self.sim.chance().pick(&self.world.isolates));
        isolate.vanish();
        isolate.wake();
    }

    fn crash_buffer(self: &Rc<Self>) {
        let buffer = Rc::clone(self.sim.chance().pick(&self.world.buffers));
        if self.sim.is_down(buffer.node) {
            return;
        }
        buffer.crash();
        let back_ms = self.sim.chance().between(5, 2_000);
        self.after(back_ms, move |chaos| {
            if chaos.sim.is_down(buffer.node) {
                buffer.wake(&chaos.world.planes);
            }
        });
    }

    /// An isolate cannot reach its replica, in one direction or both; or a whole region cannot.
    fn cut_off(self: &Rc<Self>) {
        let isolate = Rc::clone(self.sim.chance().pick(&self.world.isolates));
        let mut pairs: Vec<_> = isolate.sources().iter().map(|replica| (isolate.node, *replica)).collect();
        if self.sim.chance().permille(500) {
            pairs.extend(pairs.clone().into_iter().map(|(isolate, replica)| (replica, isolate)));
        }
        self.cut_for_a_while(pairs);
    }

    /// A region, or one replica, hears nothing of one control plane or of all of them.
    fn cut_plane(self: &Rc<Self>) {
        let replica = self.sim.chance().pick(&self.world.cast.replicas()).node;
        let is_region = self.sim.chance().permille(500);
        let concerned = |node: &Node| match (*node, replica) {
            (Node::Replica(region, _), Node::Replica(of, _)) if is_region => region == of,
            (node, of) => node == of,
        };
        let replicas: Vec<_> = self.world.cast.replica_nodes().into_iter().filter(concerned).collect();
        let (is_one, is_both_ways) = (self.sim.chance().permille(300), self.sim.chance().permille(600));
        let planes =
            self.world.planes.all.iter().take(if is_one { 1 } else { usize::MAX }).map(|plane| plane.node);
        let mut pairs = Vec::new();
        for plane in planes {
            for replica in &replicas {
                pairs.push((plane, *replica));
                if is_both_ways {
                    pairs.push((*replica, plane));
                }
            }
        }
        self.cut_for_a_while(pairs);
    }

    fn cut_for_a_while(self: &Rc<Self>, pairs: Vec<(Node, Node)>) {
        let back_ms = self.sim.chance().between(100, 6_000);
        for (from, to) in &pairs {
            self.sim.log(Node::World, format_args!("cut {from} to {to} for {back_ms} ms"));
            self.sim.network().cut(*from, *to);
        }
        self.after(back_ms, move |chaos| {
            for (from, to) in pairs {
                chaos.sim.network().mend(from, to);
            }
        });
    }

    /// The first release key gives way to the second, in two steps.
    fn rotate(&self) {
        let releasers = match self.rotations.get() {
            0 => Releasers::Both,
            1 => Releasers::Second,
            _ => return,
        };
        let plane = self.world.planes.any();
        if self.sim.is_down(plane.node) || self.is_restored.get() {
            return;
        }
        self.rotations.set(self.rotations.get() + 1);
        self.sim.log(plane.node, format_args!("rotates to {releasers:?}"));
        plane.rotate(releasers);
    }

    /// Takes a backup, and later puts it back: all control planes stop, and find an older database.
    fn plan_restore(self: &Rc<Self>) {
        let (backup_ms, restore_ms) =
            (self.sim.chance().between(500, 4_000), self.sim.chance().between(1_000, 6_000));
        self.after(backup_ms, |chaos| {
            let backup = chaos.world.database.borrow().clone();
            chaos.backup.replace(Some(backup));
            chaos.sim.log(Node::World, "takes a backup");
        });
        self.after(backup_ms + restore_ms, |chaos| {
            if let Some(backup) = chaos.backup.take() {
                chaos.restore(backup);
            }
        });
    }

    fn restore(self: &Rc<Self>, mut backup: Database) {
        self.sim.log(Node::World, "restores the backup");
        self.is_restored.set(true);
        for plane in &self.world.planes.all {
            plane.crash();
        }
        // Events and keys live apart: what is counted is restored from elsewhere, and operators keep the newest keyset.
        backup.keep_apart(&self.world.database.borrow());
        let newest = backup.environments.values().filter_map(|environment| {
            let held = environment.frames.last()?.held;
            Some((environment.scope.clone(), held.version))
        });
        let newest: BTreeMap<_, _> = newest.collect();
        self.world.database.replace(backup);
        self.world.cast.oracle().restored(&newest);
        for plane in &self.world.planes.all {
            plane.wake();
        }
    }

    /// Everything heals.
    pub(crate) fn end(&self) {
        self.sim.log(Node::World, "heals");
        self.is_on.set(false);
        self.sim.network().heal();
        self.world.cast.adversary().goes_away();
        for replica in self.world.cast.replicas() {
            if self.sim.is_down(replica.node) {
                replica.wake(&self.world.planes);
            }
        }
        for plane in &self.world.planes.all {
            self.sim.resume(plane.node);
            plane.reads_slowly_until_ms.set(0);
            if self.sim.is_down(plane.node) {
                plane.wake();
            }
        }
        for buffer in &self.world.buffers {
            if self.sim.is_down(buffer.node) {
                buffer.wake(&self.world.planes);
            }
        }
    }
}
