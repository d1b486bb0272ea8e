//! What is heard of one guardrail in one slice.

use flagfuse_stats::Refused;
use flagfuse_stats::bins::BinCount;
use flagfuse_stats::block::Block;
use flagfuse_stats::certificate::Certificates;
use flagfuse_stats::classic::ArmCount;
use flagfuse_stats::control_rate::ControlRate;
use flagfuse_stats::estimate::{Estimate, Gate};
use flagfuse_stats::exceedance::{self, PastLatency};
use flagfuse_stats::grid::{Direction as Way, EFFECTS, Grid, Harm, Measure, THETA, WEIGHTS};
use flagfuse_stats::mixture::Mixture;
use flagfuse_stats::recovery::Recovery;

use super::absolute::Limit;
use super::guards::Later;
use super::open_slots::Units;
use super::sentinel::{Shown, Span, Watch};
use super::settled::Settled;
use super::values::{Scale, Worth};
use crate::model::metric::{ERROR_METRIC, LATENCY_METRIC};
use crate::model::policy::{Compared, Direction, Guardrail, Policy};

/// The base rate of errors where the policy names none.
const BASE_OF_ERRORS: f64 = 0.01;
/// That of everything else.
const BASE: f64 = 0.2;
/// The harm of a latency guardrail, in units above the threshold that its tolerance sets: a third more.
const SLOW_MORE: f64 = 0.35;

/// The harm that a guardrail looks for: its threshold; of latency, whose threshold is a tolerance, a third more slow units.
pub fn harm(guardrail: &Guardrail) -> Result<Harm, Refused> {
    let way = match guardrail.direction {
        Direction::DecreaseIsHarm => Way::DecreaseIsHarm,
        Direction::IncreaseIsHarm => Way::IncreaseIsHarm,
    };
    let is_latency = guardrail.metric == LATENCY_METRIC;
    Harm::new(if is_latency { SLOW_MORE } else { guardrail.threshold.abs() }, way)
}

/// The rate around which a guardrail's harms are made, where nothing else is known; of latency the share of slow units.
pub fn base_rate(guardrail: &Guardrail) -> f64 {
    match guardrail.metric.as_str() {
        LATENCY_METRIC => exceedance::SHARE,
        _ if guardrail.limit.is_some() => guardrail.limit.unwrap_or(BASE),
        ERROR_METRIC => guardrail.baseline.unwrap_or(BASE_OF_ERRORS),
        _ => guardrail.baseline.unwrap_or(BASE),
    }
}

/// How a guardrail is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Read {
    /// A step at a time.
    RiskSets,
    /// Once for each slot, when it is over.
    Matured,
    /// By samples above a threshold of control's; control is compared at so many bins less.
    Samples { tolerance: u16 },
    /// Once for each slot, against a limit.
    Limit,
    /// By what the units of a slot are worth.
    Values,
}

/// What was heard of a guardrail in a slice.
#[derive(Debug, Clone)]
pub(super) struct State {
    read: Read,
    harm: Harm,
    grid: Grid,
    mixture: Mixture<EFFECTS>,
    gate: Gate,
    estimate: Estimate,
    control_rate: ControlRate,
    recovery: Recovery,
    past_latency: PastLatency,
    /// Which harm is excluded; of everybody alone, since that is what a ramp shows the feature to.
    certificates: Option<Certificates>,
    /// What these two say, since the slot that was over last: they are asked in every tick.
    recovered: Recovered,
    /// Units of both arms in slots that are over.
    over: Over,
    /// Of a guardrail with a limit, which takes the place of all above.
    limit: Option<Box<Limit>>,
    /// Of one on values, likewise.
    worth: Option<Box<Worth>>,
    /// The second reading of one that is read a step at a time.
    settled: Option<Box<Settled>>,
    watch: Watch,
    shown: Shown,
    /// Blocks that were read and said something.
    blocks: u64,
}

/// What slots that are over say.
#[derive(Debug, Clone, Copy)]
struct Recovered {
    /// E against a harm of the threshold or more.
    evidence: f64,
    /// The smallest relative harm that is excluded.
    excluded: Option<f64>,
}

/// Units of both arms in slots that are over, and how many of control had the event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Over {
    pub exposed: u64,
    pub control: ArmCount,
}

/// What a guardrail says.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Heard {
    /// E of the mixture: evidence of harm. Starts at 1.
    pub evidence: f64,
    /// Whether the estimate since the harm may have begun is beyond half of the threshold.
    pub is_gate_open: bool,
    /// Relative change over everything that was read; none before both arms had an event.
    pub change: Option<f64>,
    /// E against a harm of the threshold or more: evidence of recovery. Of values there is none.
    pub recovery: f64,
    /// The smallest relative harm that is excluded, among those of the certificates; `None` while none is.
    pub excluded: Option<f64>,
    /// What was read of slots that are over.
    pub over: Over,
    /// Blocks that said something.
    pub blocks: u64,
    /// Of a guardrail with a limit: E that control is beyond it as well.
    pub control: Option<f64>,
    /// Of one with a limit: the exposed arm's rate, of latency the share above the limit.
    pub rate: Option<f64>,
    /// Of latency with a limit: the share of exposed samples above 0.8 of it.
    pub close: Option<f64>,
    /// Of a promoted flag: what its sentinel has come to.
    pub sentinel: Option<f64>,
    /// Between which relative changes the true one lies; no decision reads it.
    pub span: Option<Span>,
}

/// A metric that comes from the enrolment on is read a step at a time.
fn read_of(guardrail: &Guardrail) -> (Read, Measure) {
    let is_at_once = guardrail.window().after_ms == 0;
    if is_at_once { (Read::RiskSets, Measure::Hazard) } else { (Read::Matured, Measure::Share) }
}

impl State {
    /// Nothing heard of a guardrail of that policy.
    pub(super) fn new(policy: &Policy, guardrail: &Guardrail) -> Result<Self, Refused> {
        let harm = harm(guardrail)?;
        let is_latency = guardrail.metric == LATENCY_METRIC;
        let (read, measure) = read_of(guardrail);
        let grid =
            if is_latency { exceedance::grid()? } else { Grid::new(&harm, base_rate(guardrail), measure)? };
        let (mut limit, mut worth) = (None, None);
        let read = match policy.compared(guardrail) {
            Compared::WithLimit(number) => {
                limit = Some(Box::new(Limit::new(guardrail, number)?));
                Read::Limit
            }
            Compared::Values => {
                worth = Some(Box::new(Worth::new()));
                Read::Values
            }
            Compared::WithControl if is_latency => {
                Read::Samples { tolerance: exceedance::tolerance_bins(guardrail.threshold.abs())? }
            }
            Compared::WithControl => read,
        };
        let settled = (read == Read::RiskSets)
            .then(|| Settled::new(&harm, base_rate(guardrail)).map(Box::new))
            .transpose()?;
        Ok(Self { limit, worth, settled, ..Self::empty(read, harm, grid) })
    }

    /// An early warning of a guardrail that is read when its slots are over: the same events as they come, which a delay moves as
    /// much as a loss.
    pub(super) fn warning(guardrail: &Guardrail) -> Result<Self, Refused> {
        let harm = harm(guardrail)?;
        let grid = Grid::new(&harm, base_rate(guardrail), Measure::Hazard)?;
        Ok(Self::empty(Read::RiskSets, harm, grid))
    }

    fn empty(read: Read, harm: Harm, grid: Grid) -> Self {
        let recovered = Recovered { evidence: Recovery::default().evidence(), excluded: None };
        Self {
            recovered,
            read,
            harm,
            grid,
            mixture: Mixture::default(),
            gate: Gate::default(),
            estimate: Estimate::default(),
            control_rate: ControlRate::default(),
            recovery: Recovery::default(),
            past_latency: PastLatency::default(),
            certificates: None,
            over: Over::default(),
            limit: None,
            worth: None,
            settled: None,
            watch: Watch::default(),
            shown: Shown::default(),
            blocks: 0,
        }
    }

    /// The same of everybody, which says which harm is excluded too, and of which an interval is shown.
    pub(super) fn of_everybody(self) -> Self {
        Self { certificates: Some(Certificates::default()), shown: Shown::new(), ..self }
    }

    /// Lets a sentinel watch from here on.
    pub(super) fn promote(&mut self) {
        self.watch.begin();
        if let Some(settled) = &mut self.settled {
            settled.promote();
        }
    }

    pub(super) fn is_risk_set(&self) -> bool {
        self.read == Read::RiskSets
    }

    /// Whether a slot is read a second time.
    pub(super) fn settles(&self) -> bool {
        self.settled.is_some()
    }

    /// Whether a slot is read with the bins of its values.
    pub(super) fn is_of_values(&self) -> bool {
        self.read == Read::Values
    }

    /// Whether its early events warn.
    pub(super) fn is_matured(&self) -> bool {
        self.read == Read::Matured
    }

    /// What is folded from here on became known then.
    pub(super) fn at(&mut self, ms: u64) -> &mut Self {
        self.watch.at(ms);
        self
    }

    /// Folds a block into the evidence of harm; so many exposed units enter with it.
    pub(super) fn fold(&mut self, block: &Block, entering: u64) -> Result<(), Refused> {
        let factors = self.grid.log_factors(block);
        self.mixture.fold(&factors, entering)?;
        self.gate.fold(factors.get(THETA).copied().unwrap_or(0.0), block)?;
        self.estimate.add(block);
        self.watch.fold(&factors)?;
        self.shown.fold(block)?;
        self.blocks += u64::from(!block.is_silent());
        Ok(())
    }

    /// Folds a slot that is over: into the evidence of recovery, and where nothing was read before, into that of harm.
    pub(super) fn fold_matured(&mut self, block: &Block, entering: u64) -> Result<(), Refused> {
        match self.read {
            Read::RiskSets => {}
            Read::Matured => self.fold(block, entering)?,
            Read::Limit if self.limit.as_ref().is_some_and(|limit| limit.is_of_samples()) => return Ok(()),
            Read::Limit => return self.fold_limit(block.exposed(), block.control()),
            Read::Samples { .. } | Read::Values => return Ok(()),
        }
        self.recover(block)
    }

    /// Folds a slot that has settled, where it is read a second time.
    pub(super) fn fold_settled(&mut self, block: &Block, settled_ms: u64) -> Result<(), Refused> {
        self.settled.as_mut().map_or(Ok(()), |settled| settled.fold(block, settled_ms))
    }

    /// Folds the samples of a slot that is over.
    pub(super) fn fold_samples(&mut self, exposed: &[BinCount], control: &[BinCount]) -> Result<(), Refused> {
        if let Some(limit) = self.limit.as_mut().filter(|limit| limit.is_of_samples()) {
            limit.note_close(exposed);
            let (exposed, control) = (limit.samples(exposed), limit.samples(control));
            return self.fold_limit(exposed, control);
        }
        let Read::Samples { tolerance } = self.read else { return Ok(()) };
        if let Some(threshold) = self.past_latency.threshold(tolerance) {
            let block = threshold.block(exposed, control)?;
            self.fold(&block, block.exposed().units)?;
            self.recover(&block)?;
        }
        // After the block: the next threshold may know it.
        self.past_latency.remember(control)
    }

    /// Folds what the units of a slot that is over are worth: how many enrolled, and those that have a value by bin.
    pub(super) fn fold_values(
        &mut self,
        scale: &Scale,
        enrolled: Units,
        [exposed, control]: &[Vec<BinCount>; 2],
    ) -> Result<(), Refused> {
        let Some(worth) = &mut self.worth else { return Ok(()) };
        let factors = worth.fold((scale, &self.harm), enrolled, exposed, control)?;
        self.watch.fold(&factors)?;
        self.blocks += u64::from(factors.iter().any(|factor| *factor != 0.0));
        Ok(())
    }

    /// Folds a slot that is over against the limit.
    fn fold_limit(&mut self, exposed: ArmCount, control: ArmCount) -> Result<(), Refused> {
        let Some(limit) = &mut self.limit else { return Ok(()) };
        let factors = limit.fold(exposed, control)?;
        self.watch.fold(&factors)?;
        self.blocks += u64::from(exposed.units > 0);
        Ok(())
    }

    fn recover(&mut self, block: &Block) -> Result<(), Refused> {
        if let Some(past) = self.control_rate.past() {
            self.recovery.fold(&self.harm, past, block)?;
            if let Some(certificates) = &mut self.certificates {
                certificates.fold(self.harm.direction(), past, block)?;
            }
            let excluded = self.certificates.and_then(|found| found.excluded(self.harm.direction()));
            self.recovered = Recovered { evidence: self.recovery.evidence(), excluded };
        }
        let (exposed, control) = (block.exposed(), block.control());
        self.over.exposed = self.over.exposed.saturating_add(exposed.units);
        self.over.control.units = self.over.control.units.saturating_add(control.units);
        self.over.control.events = self.over.control.events.saturating_add(control.events);
        self.control_rate.remember(control)
    }

    /// What it says by now.
    pub(super) fn heard(&self) -> Heard {
        let beside = Heard { blocks: self.blocks, sentinel: self.watch.evidence(), ..Heard::default() };
        if let Some(limit) = &self.limit {
            let (evidence, control) = limit.evidence();
            let (recovery, rate, close) = (limit.back(), limit.rate(), limit.close());
            let beside = Heard { recovery, rate, close, ..beside };
            // A limit needs no estimate: beyond it is beyond it.
            return Heard { evidence, is_gate_open: true, control: Some(control), ..beside };
        }
        if let Some(worth) = &self.worth {
            let (evidence, is_gate_open) = (worth.evidence(), worth.is_gate_open(&self.harm));
            return Heard { evidence, is_gate_open, change: worth.change(), ..beside };
        }
        Heard {
            evidence: self.mixture.evidence(&WEIGHTS),
            is_gate_open: self.gate.is_open(&self.harm),
            change: self.estimate.change(),
            recovery: self.recovered.evidence,
            excluded: self.recovered.excluded,
            over: self.over,
            span: self.shown.span(self.estimate.control),
            ..beside
        }
    }

    /// The same while the outcomes of these arms become known later than the other's: where that looks like harm, the second
    /// reading has to say so as well.
    pub(super) fn heard_of(&self, later: Later) -> Heard {
        let heard = self.heard();
        let looks_like_harm = match self.harm.direction() {
            Way::DecreaseIsHarm => later.exposed,
            Way::IncreaseIsHarm => later.control,
        };
        let Some(settled) = self.settled.as_ref().filter(|_| looks_like_harm) else { return heard };
        Heard {
            evidence: heard.evidence.min(settled.evidence()),
            is_gate_open: heard.is_gate_open && settled.is_gate_open(&self.harm),
            sentinel: heard.sentinel.zip(settled.sentinel()).map(|(steps, settled)| steps.min(settled)),
            ..heard
        }
    }
}
