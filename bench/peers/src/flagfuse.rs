//! Ours: `flagfuse-shared`. Not equal: c renders the OFREP body too. Load reads and compiles the payload; checking its
//! signatures and digest, which no peer has, comes on top (`Ours::admit`).

use flagfuse_bench_ours::evaluator::Ours;

use crate::subject::Subject;

pub struct Flagfuse {
    name: &'static str,
    ours: Ours,
}

impl Flagfuse {
    /// `name` tells apart two of them, which shows the noise of the machine.
    pub fn new(name: &'static str) -> Self {
        Self { name, ours: Ours::set_up() }
    }
}

impl Subject for Flagfuse {
    fn name(&self) -> &'static str {
        self.name
    }

    fn a(&mut self, turn: usize) -> u64 {
        self.ours.a(turn)
    }

    fn b(&mut self, turn: usize) -> u64 {
        self.ours.b(turn)
    }

    fn c(&mut self, turn: usize) -> u64 {
        self.ours.c(turn)
    }

    fn load(&mut self) -> u64 {
        self.ours.load()
    }
}
