//! What goes wrong, one thing after the other, in an order that a seed repeats.

use std::collections::BTreeMap;
use std::process::Command;
use std::thread;
use std::time::Duration;

use flagfuse_shared::digest::Digest;
use support::Stack;

/// Draws faults and remembers what it broke.
#[derive(Debug)]
pub(crate) struct Faults {
    seed: u64,
    drawn: u64,
    /// How often each kind struck.
    pub(crate) applied: BTreeMap<&'static str, u32>,
}

impl Faults {
    pub(crate) const fn new(seed: u64) -> Self {
        Self { seed, drawn: 0, applied: BTreeMap::new() }
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.drawn += 1;
        let digest = Digest::of(&[self.seed.to_le_bytes(), self.drawn.to_le_bytes()].concat());
        u64::from_le_bytes(*digest.as_bytes().first_chunk().unwrap()) % bound
    }

    /// A stretch of time in which something stays broken.
    fn wait(&mut self, ms_min: u64, ms_max: u64) {
        let ms = ms_min + self.below(ms_max - ms_min);
        thread::sleep(Duration::from_millis(ms));
    }

    /// Breaks one thing, leaves it broken for a while, mends it, and leaves some peace.
    pub(crate) fn strike(&mut self, stack: &mut Stack) {
        let name = match self.below(7) {
            0 => {
                stack.kill_control_plane();
                self.wait(100, 4_000);
                stack.start_control_plane().unwrap();
                "control plane killed"
            }
            1 => {
                stack.kill_edge();
                self.wait(50, 1_000);
                stack.start_edge().unwrap();
                "edge killed"
            }
            2 => {
                let id = stack.control_plane_process_id().unwrap();
                signal(id, "-STOP");
                self.wait(200, 3_000);
                signal(id, "-CONT");
                "control plane paused"
            }
            3 => {
                let id = stack.edge_process_id().unwrap();
                signal(id, "-STOP");
                self.wait(100, 1_500);
                signal(id, "-CONT");
                "edge paused"
            }
            4 => {
                stack.links().iter().for_each(xtask::relay::Relay::cut);
                self.wait(500, 4_000);
                stack.links().iter().for_each(xtask::relay::Relay::heal);
                "every region cut off"
            }
            _ => {
                let one = usize::try_from(self.below(stack.links().len() as u64)).unwrap();
                stack.links()[one].cut();
                self.wait(200, 4_000);
                stack.links()[one].heal();
                "one region cut off"
            }
        };
        *self.applied.entry(name).or_default() += 1;
        self.wait(200, 2_000);
    }

    /// Everything runs and is connected.
    pub(crate) fn heal(stack: &mut Stack) {
        stack.links().iter().for_each(xtask::relay::Relay::heal);
        assert_eq!(stack.revive().unwrap(), None, "nothing ended by itself");
    }
}

fn signal(id: u32, name: &str) {
    assert!(Command::new("kill").args([name, &id.to_string()]).status().unwrap().success());
}
