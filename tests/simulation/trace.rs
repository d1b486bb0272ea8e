//! What happened, in order: a hash over all of it and the last lines for whoever has to read it. Never decides anything.

use std::collections::VecDeque;

/// Lines printed when an invariant does not hold. Answers are many and tell little: fewer of them are kept.
const EVENT_COUNT_KEPT: usize = 400;
const ANSWER_COUNT_KEPT: usize = 12;
/// FNV-1a's offset basis and prime: two runs of one seed are compared by it, nobody has to resist an attack.
const FNV_OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
const FNV_PRIME: u64 = 0x0000_0100_0000_01b3;

pub(crate) struct Trace {
    hash: u64,
    count: u64,
    events: VecDeque<String>,
    answers: VecDeque<String>,
    is_whole: bool,
}

/// How much a line tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Event,
    Answer,
}

impl Trace {
    /// Who asks for one seed wants to read all of it.
    pub(crate) fn new() -> Self {
        let is_whole = std::env::var_os("FLAGFUSE_SEED").is_some();
        Self { hash: FNV_OFFSET, count: 0, events: VecDeque::new(), answers: VecDeque::new(), is_whole }
    }

    pub(crate) fn add(&mut self, kind: Kind, line: String) {
        for byte in line.bytes().chain([b'\n']) {
            self.hash = (self.hash ^ u64::from(byte)).wrapping_mul(FNV_PRIME);
        }
        self.count += 1;
        let (kept, count_max) = match kind {
            Kind::Event => (&mut self.events, EVENT_COUNT_KEPT),
            Kind::Answer => (&mut self.answers, ANSWER_COUNT_KEPT),
        };
        if kept.len() == count_max && !self.is_whole {
            kept.pop_front();
        }
        kept.push_back(line);
    }

    /// Equal for equal runs.
    pub(crate) const fn hash(&self) -> u64 {
        self.hash
    }

    pub(crate) const fn count(&self) -> u64 {
        self.count
    }

    pub(crate) fn tail(&self) -> String {
        let mut tail = String::new();
        for line in self.events.iter().chain(&self.answers) {
            tail.push_str("  ");
            tail.push_str(line);
            tail.push('\n');
        }
        tail
    }
}
