//! Events of a launch, in the order in which they become known: units that come by chance, what they do, when, and how late anybody
//! hears of it. Makes events only; what is counted of them is the ledger's business.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use flagfuse_cells::{
    Arm, Exposure, Fact, Ledger, NameNo, Outcome as Happened, PhaseId, SliceSet, Source, UnitHash,
};
use flagfuse_shared::limits::BUCKET_COUNT;

use crate::chance::{Chance, mixed};

/// When launches begin: 2026-01-01T00:00:00Z.
pub const BEGIN_MS: u64 = 1_767_225_600_000;
/// Milliseconds of an hour.
pub const HOUR_MS: u64 = 3_600_000;
const DAY_MS: u64 = 24 * HOUR_MS;

/// The unit and the moment that a rate depends on.
#[derive(Debug, Clone, Copy)]
pub struct Moment {
    /// Since the launch began.
    pub age_ms: u64,
    /// Whether the unit sees the feature.
    pub is_exposed: bool,
    /// Exposed units that came before.
    pub exposed_before: u64,
}

impl Moment {
    /// A swing over the day: 1 at midnight UTC, 1 + `amplitude` at six.
    #[expect(clippy::cast_precision_loss, reason = "milliseconds of a day")]
    pub fn diurnal(&self, amplitude: f64) -> f64 {
        let of_day = (self.age_ms % DAY_MS) as f64 / DAY_MS as f64;
        1.0 + amplitude * (std::f64::consts::TAU * of_day).sin()
    }
}

/// How likely something is, for a unit.
pub type Rate = Box<dyn Fn(&Moment) -> f64 + Send + Sync>;

/// The same for everybody.
pub fn steady(rate: f64) -> Rate {
    Box::new(move |_| rate)
}

/// A rate, and another one for exposed units.
pub fn by_arm(exposed: f64, control: f64) -> Rate {
    Box::new(move |moment| if moment.is_exposed { exposed } else { control })
}

/// When after its exposure a unit does something.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Delay {
    /// At once: within the second.
    AtOnce,
    /// Evenly from the first of these to the second, milliseconds.
    Even(u64, u64),
    /// Exponentially after the first, with this mean, milliseconds.
    Waiting(u64, u64),
}

/// What it says.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Value {
    /// Only that it happened.
    None,
    /// A number of a lognormal distribution: μ and σ of its logarithm.
    Lognormal(f64, f64),
}

/// Something that units do.
pub struct Doing {
    /// The outcome's name.
    pub name: &'static str,
    /// How likely a request of a unit is to do it.
    pub rate: Rate,
    /// When.
    pub delay: Delay,
    /// What it says.
    pub value: Value,
    /// Requests of each unit, each of which may do it.
    pub requests: u32,
    /// How alike requests of one unit are: the correlation of two of them.
    pub correlation: f64,
    /// How much later than others the outcomes of exposed units become known, milliseconds.
    pub exposed_late_ms: u64,
}

impl Doing {
    /// One request, nothing said, nobody late.
    pub fn once(name: &'static str, rate: Rate, delay: Delay) -> Self {
        Self { name, rate, delay, value: Value::None, requests: 1, correlation: 0.0, exposed_late_ms: 0 }
    }
}

/// What comes.
pub struct Traffic {
    /// Units that enrol, on average over a day.
    pub units_per_hour: f64,
    /// How much that swings over the day, 0 to 1.
    pub diurnal: f64,
    /// The part of them that is exposed, where no buckets say whom a flag exposes.
    pub exposed_share: f64,
    /// Exposures of each unit; the first that becomes known enrols it.
    pub exposures: u32,
    /// How many values each declared dimension has in its policy; a unit has one of them or another, all alike likely.
    pub dimensions: Vec<u8>,
    /// What they do.
    pub doings: Vec<Doing>,
    /// How long it takes on average until anybody knows, milliseconds.
    pub lag_ms: u64,
    /// How many events come twice.
    pub doubled: f64,
}

impl Traffic {
    /// Evenly over the day; each unit is exposed once, everybody is alike, and no event comes twice.
    pub const fn even(units_per_hour: f64, exposed_share: f64, doings: Vec<Doing>) -> Self {
        Self {
            units_per_hour,
            diurnal: 0.0,
            exposed_share,
            exposures: 1,
            dimensions: Vec::new(),
            doings,
            lag_ms: 1_000,
            doubled: 0.0,
        }
    }
}

/// Buckets whose units a flag enrols, and into which arm of which phase.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seat {
    /// The first bucket.
    pub from: u32,
    /// The first one behind them.
    pub to: u32,
    /// What their units see.
    pub arm: Arm,
    /// Which phase enrols them.
    pub phase: PhaseId,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum What {
    /// In a phase; 0 is the one that runs.
    Exposed {
        is_exposed: bool,
        phase: i64,
        slices: SliceSet,
    },
    Did {
        doing: u8,
        micros: i64,
    },
}

/// An event; the first to become known comes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Event {
    known_ms: u64,
    /// Which unit's.
    unit: u64,
    at_ms: u64,
    what: What,
}

/// The events of one launch from a moment on, as they become known.
pub struct Stream<'t> {
    traffic: &'t Traffic,
    chance: Chance,
    waiting: BinaryHeap<Reverse<Event>>,
    next_ms: f64,
    /// Where units enrol by their buckets; `None` where each does, into the phase that runs.
    seats: Option<Vec<Seat>>,
    /// Units so far.
    pub units: u64,
    /// Exposed units so far.
    pub exposed: u64,
}

/// An event with the moment at which it became known.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Known {
    /// When.
    pub known_ms: u64,
    /// When it happened.
    pub at_ms: u64,
    /// The number of the unit.
    pub unit: u64,
    /// An enrolment, and into which arm; else what the unit did, with its value in millionths.
    pub kind: Kind,
}

/// What became known.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Kind {
    /// A unit met the flag.
    Exposure {
        /// What it saw.
        arm: Arm,
        /// In which phase; `None` is the one that runs.
        phase: Option<PhaseId>,
        /// Of its request.
        slices: SliceSet,
    },
    /// A unit did the thing of this number.
    Outcome(u8, Option<i64>),
}

impl<'t> Stream<'t> {
    /// Begins at a moment; units are numbered from `first_unit`.
    #[expect(clippy::cast_precision_loss, reason = "milliseconds since 1970 are below 2^53")]
    pub fn new(traffic: &'t Traffic, seed: u64, begins_ms: u64, first_unit: u64) -> Self {
        let mut stream = Self {
            traffic,
            chance: Chance::new(seed),
            waiting: BinaryHeap::new(),
            next_ms: begins_ms as f64,
            seats: None,
            units: first_unit,
            exposed: 0,
        };
        stream.pass();
        stream
    }

    /// From now on units come with a bucket each, and enrol where a flag has a place for it.
    pub fn sit(&mut self, seats: Vec<Seat>) {
        self.seats = Some(seats);
    }

    /// The next event, if it becomes known before `until_ms`. Units go on coming for ever.
    pub fn next_before(&mut self, until_ms: u64) -> Option<Known> {
        loop {
            let arrives_ms = self.arrives_ms();
            if let Some(Reverse(event)) = self.waiting.peek()
                && event.known_ms <= arrives_ms
            {
                if event.known_ms >= until_ms {
                    return None;
                }
                return self.waiting.pop().map(|Reverse(event)| self.told(event));
            }
            if arrives_ms >= until_ms {
                return None;
            }
            self.arrive(arrives_ms);
        }
    }

    fn told(&self, event: Event) -> Known {
        let kind = match event.what {
            What::Exposed { is_exposed, phase, slices } => {
                let phase = (phase > 0).then_some(PhaseId(phase));
                Kind::Exposure { arm: arm(is_exposed), phase, slices }
            }
            What::Did { doing, micros } => {
                let says = self
                    .traffic
                    .doings
                    .get(usize::from(doing))
                    .is_some_and(|doing| doing.value != Value::None);
                Kind::Outcome(doing, says.then_some(micros))
            }
        };
        Known { known_ms: event.known_ms, at_ms: event.at_ms, unit: event.unit, kind }
    }

    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "milliseconds since 1970")]
    fn arrives_ms(&self) -> u64 {
        self.next_ms as u64
    }

    /// To the next arrival: a Poisson process whose rate swings over the day, by thinning.
    #[expect(clippy::cast_precision_loss, reason = "milliseconds of an hour")]
    fn pass(&mut self) {
        let most = self.traffic.units_per_hour * (1.0 + self.traffic.diurnal) / HOUR_MS as f64;
        loop {
            self.next_ms += self.chance.exponential(1.0 / most);
            if self.traffic.diurnal <= 0.0 {
                return;
            }
            let moment = self.moment(self.arrives_ms(), false);
            let share = moment.diurnal(self.traffic.diurnal) / (1.0 + self.traffic.diurnal);
            if self.chance.is(share) {
                return;
            }
        }
    }

    const fn moment(&self, at_ms: u64, is_exposed: bool) -> Moment {
        let age_ms = at_ms.saturating_sub(BEGIN_MS);
        Moment { age_ms, is_exposed, exposed_before: self.exposed }
    }

    /// Whether the next unit is exposed, and the phase that enrols it, 0 the one that runs; `None` where no phase does.
    fn seat(&mut self) -> Option<(bool, i64)> {
        let Some(seats) = &self.seats else {
            return Some((self.chance.is(self.traffic.exposed_share), 0));
        };
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "below a million")]
        let bucket = (self.chance.uniform() * f64::from(BUCKET_COUNT)) as u32;
        let seat = seats.iter().find(|seat| (seat.from..seat.to).contains(&bucket))?;
        Some((seat.arm == Arm::Exposed, seat.phase.0))
    }

    /// The slices of a unit: numbered from 2 on, the values of a dimension before all others of it.
    fn slices(&mut self) -> SliceSet {
        let (mut set, mut first) = (SliceSet::default(), 2);
        for (place, count) in set.0.iter_mut().zip(&self.traffic.dimensions) {
            let all = u64::from(*count) + 1;
            *place = first + u8::try_from(self.chance.bits() % all).unwrap_or_default();
            first += count + 1;
        }
        set
    }

    fn arrive(&mut self, at_ms: u64) {
        let unit = self.units;
        self.units += 1;
        let Some((is_exposed, phase)) = self.seat() else {
            self.pass();
            return;
        };
        let moment = self.moment(at_ms, is_exposed);
        let slices = self.slices();
        self.exposed += u64::from(is_exposed);
        for _ in 0..self.traffic.exposures {
            self.hear(unit, at_ms, 0, What::Exposed { is_exposed, phase, slices });
        }
        for (number, doing) in (0_u8..).zip(&self.traffic.doings) {
            let mut rate = (doing.rate)(&moment);
            if doing.correlation > 0.0 {
                rate = self.chance.beta(rate, doing.correlation);
            }
            for _ in 0..doing.requests {
                if !self.chance.is(rate) {
                    continue;
                }
                let happens_ms = at_ms + self.delay(doing.delay);
                let micros = self.value(doing.value);
                let late_ms = if is_exposed { doing.exposed_late_ms } else { 0 };
                self.hear(unit, happens_ms, late_ms, What::Did { doing: number, micros });
            }
        }
        self.pass();
    }

    /// Somebody will hear of it, some time later; now and then twice.
    #[expect(clippy::cast_precision_loss, reason = "a lag")]
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a lag")]
    fn hear(&mut self, unit: u64, at_ms: u64, late_ms: u64, what: What) {
        let mut lag = || late_ms + self.chance.exponential(self.traffic.lag_ms as f64) as u64;
        let known_ms = at_ms + lag();
        self.waiting.push(Reverse(Event { known_ms, unit, at_ms, what }));
        if self.traffic.doubled > 0.0 && self.chance.is(self.traffic.doubled) {
            let known_ms = known_ms + self.chance.exponential(30_000.0) as u64;
            self.waiting.push(Reverse(Event { known_ms, unit, at_ms, what }));
        }
    }

    #[expect(clippy::cast_precision_loss, reason = "milliseconds of days")]
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "milliseconds of days")]
    fn delay(&mut self, delay: Delay) -> u64 {
        match delay {
            Delay::AtOnce => (self.chance.uniform() * 1_000.0) as u64,
            Delay::Even(from, to) => from + (self.chance.uniform() * (to - from) as f64) as u64,
            Delay::Waiting(from, mean) => from + self.chance.exponential(mean as f64) as u64,
        }
    }

    #[expect(clippy::cast_possible_truncation, reason = "millionths of what somebody pays")]
    fn value(&mut self, value: Value) -> i64 {
        match value {
            Value::None => 0,
            Value::Lognormal(mu, sigma) => ((mu + sigma * self.chance.normal()).exp() * 1e6).min(1e17) as i64,
        }
    }
}

const fn arm(is_exposed: bool) -> Arm {
    if is_exposed { Arm::Exposed } else { Arm::Control }
}

/// The hash of the unit of a number; as good as random.
pub fn unit_hash(unit: u64) -> UnitHash {
    let mut hash = [0; 16];
    let halves = [mixed(unit), mixed(unit ^ 0x5bf0_3635_dcd4_c1d7)].map(u64::to_le_bytes);
    for (place, byte) in hash.iter_mut().zip(halves.as_flattened()) {
        *place = *byte;
    }
    hash
}

/// The numbers that a ledger has for what units do.
pub fn name_numbers(ledger: &Ledger, traffic: &Traffic) -> Vec<NameNo> {
    traffic.doings.iter().map(|doing| ledger.name_no(doing.name)).collect()
}

impl Known {
    /// The arm, of an exposure.
    pub const fn arm(&self) -> Option<Arm> {
        match self.kind {
            Kind::Exposure { arm, .. } => Some(arm),
            Kind::Outcome(..) => None,
        }
    }

    /// The fact that ingestion makes of it while that phase runs.
    pub fn fact(&self, running: PhaseId, names: &[NameNo]) -> Fact {
        let (unit, at_ms) = (unit_hash(self.unit), self.at_ms);
        match self.kind {
            Kind::Exposure { arm, phase, slices } => Fact::Expose(Exposure {
                unit,
                phase: phase.unwrap_or(running),
                arm,
                at_ms,
                slices,
                is_bot: false,
                source: Source::Client,
                network: 1,
            }),
            Kind::Outcome(doing, value_micros) => {
                let name = names.get(usize::from(doing)).copied().unwrap_or(NameNo::OTHER);
                Fact::Outcome(Happened { unit, name, at_ms, value_micros, source: Source::Client })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[expect(clippy::cast_precision_loss, reason = "units")]
    fn float(count: u64) -> f64 {
        count as f64
    }

    fn traffic() -> Traffic {
        let doing = |name, rate, delay| Doing::once(name, steady(rate), delay);
        let doings = vec![
            doing("error", 0.1, Delay::AtOnce),
            Doing { value: Value::Lognormal(0.0, 1.0), ..doing("latency_ms", 1.0, Delay::Even(0, 100)) },
            Doing { requests: 20, correlation: 0.09, ..doing("clicked", 0.05, Delay::Waiting(0, 60_000)) },
        ];
        Traffic { diurnal: 0.4, lag_ms: 2_000, doubled: 0.01, ..Traffic::even(500.0, 0.2, doings) }
    }

    #[test]
    fn events_come_in_the_order_in_which_they_become_known_and_as_often_as_they_should() {
        let traffic = traffic();
        let mut stream = Stream::new(&traffic, 3, BEGIN_MS, 0);
        let until = BEGIN_MS + 48 * HOUR_MS;
        let (mut last, mut exposures, mut errors, mut units) =
            (0, 0.0_f64, 0.0, std::collections::BTreeSet::new());
        while let Some(known) = stream.next_before(until) {
            assert!(known.known_ms >= last.max(known.at_ms) && known.known_ms < until);
            last = known.known_ms;
            match known.kind {
                Kind::Exposure { .. } => {
                    exposures += 1.0;
                    units.insert(known.unit);
                }
                Kind::Outcome(0, None) => errors += 1.0,
                Kind::Outcome(doing, value) => assert_eq!(doing == 1, value.is_some()),
            }
        }
        let expected = 500.0 * 48.0;
        assert!((exposures / expected - 1.01).abs() < 0.03, "{exposures}");
        assert!((errors / expected - 0.101).abs() < 0.01, "{errors}");
        assert!((float(units.len() as u64) / expected - 1.0).abs() < 0.03);
        assert!((float(stream.exposed) / float(stream.units) - 0.2).abs() < 0.01);
    }

    #[test]
    fn units_enrol_where_their_buckets_have_a_place() {
        let traffic = Traffic { dimensions: vec![2, 1], ..Traffic::even(1_000.0, 0.5, Vec::new()) };
        let mut stream = Stream::new(&traffic, 5, BEGIN_MS, 0);
        let seat = |from, to, arm, phase| Seat { from, to, arm, phase: PhaseId(phase) };
        stream.sit(vec![
            seat(0, 100_000, Arm::Exposed, 1),
            seat(100_000, 150_000, Arm::Exposed, 2),
            seat(700_000, 1_000_000, Arm::Control, 2),
        ]);
        let mut found = std::collections::BTreeMap::new();
        let mut sets = std::collections::BTreeSet::new();
        while let Some(known) = stream.next_before(BEGIN_MS + 40 * HOUR_MS) {
            if let Kind::Exposure { arm, phase: Some(phase), slices } = known.kind {
                *found.entry((phase, arm)).or_insert(0.0) += 1.0;
                sets.insert(slices.0);
            }
        }
        for ((phase, arm), share) in
            [((1, Arm::Exposed), 0.1), ((2, Arm::Exposed), 0.05), ((2, Arm::Control), 0.3)]
        {
            let found: f64 = found[&(PhaseId(phase), arm)] / 40_000.0;
            assert!((found / share - 1.0).abs() < 0.06, "{phase} {arm:?} {found}");
        }
        assert_eq!(found.len(), 3);
        let all = [2, 3, 4].into_iter().flat_map(|device| [5, 6].map(|paying| [device, paying, 0, 0]));
        assert!(sets.into_iter().eq(all));
    }

    #[test]
    fn a_seed_gives_the_same_events() {
        let traffic = traffic();
        let events = |seed| {
            let mut stream = Stream::new(&traffic, seed, BEGIN_MS, 0);
            std::iter::from_fn(|| stream.next_before(BEGIN_MS + HOUR_MS)).collect::<Vec<_>>()
        };
        assert_eq!(events(1), events(1));
        assert_ne!(events(1), events(2));
    }
}
