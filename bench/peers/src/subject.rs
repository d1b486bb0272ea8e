//! What every engine under test does: the four workloads. Never measures.

/// An engine with 1,000 flags loaded and contexts prepared in its own best form.
///
/// `turn` chooses flag and person, see [`flagfuse_bench_ours::flags::turn`]; the answers prove that the work was done.
pub trait Subject {
    /// Name of the crate.
    fn name(&self) -> &'static str;

    /// One boolean flag with a 50 % rollout, looked up by key: 1 when it is on, else 0.
    fn a(&mut self, turn: usize) -> u64;

    /// One flag with three conditions and a three-way split, looked up by key: the first byte of the variation's name.
    fn b(&mut self, turn: usize) -> u64;

    /// All flags for one person: how many have an answer.
    fn c(&mut self, turn: usize) -> u64;

    /// From the bytes of the configuration to an engine that can answer: how many flags it has.
    fn load(&mut self) -> u64;
}
