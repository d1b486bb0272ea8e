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

use crate::model::metric::{ERROR_METRIC, LATENCY_METRIC};
use crate::model::policy::{Direction, Guardrail};

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
    /// Units of both arms in slots that are over.
    over: Over,
    /// Blocks that were read and said something.
    blocks: u64,
}

/// Units of both arms in slots that are over, and how many of control had the event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Over {
    pub exposed: u64,
    pub control: ArmCount,
}

/// What a guardrail says.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Heard {
    /// E of the mixture: evidence of harm. Starts at 1.
    pub evidence: f64,
    /// Whether the estimate since the harm may have begun is beyond half of the threshold.
    pub is_gate_open: bool,
    /// Relative change over everything that was read; none before both arms had an event.
    pub change: Option<f64>,
    /// E against a harm of the threshold or more: evidence of recovery.
    pub recovery: f64,
    /// The smallest relative harm that is excluded, among those of the certificates; `None` while none is.
    pub excluded: Option<f64>,
    /// What was read of slots that are over.
    pub over: Over,
    /// Blocks that said something.
    pub blocks: u64,
}

impl State {
    pub(super) fn new(guardrail: &Guardrail) -> Result<Self, Refused> {
        let harm = harm(guardrail)?;
        let (read, grid) = if guardrail.metric == LATENCY_METRIC {
            let tolerance = exceedance::tolerance_bins(guardrail.threshold.abs())?;
            (Read::Samples { tolerance }, exceedance::grid()?)
        } else {
            let is_at_once = guardrail.window().after_ms == 0;
            let (read, measure) =
                if is_at_once { (Read::RiskSets, Measure::Hazard) } else { (Read::Matured, Measure::Share) };
            (read, Grid::new(&harm, base_rate(guardrail), measure)?)
        };
        Ok(Self {
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
            blocks: 0,
        })
    }

    /// The same, which says which harm is excluded too.
    pub(super) fn with_certificates(self) -> Self {
        Self { certificates: Some(Certificates::default()), ..self }
    }

    pub(super) fn is_risk_set(&self) -> bool {
        self.read == Read::RiskSets
    }

    /// Folds a block into the evidence of harm; so many exposed units enter with it.
    pub(super) fn fold(&mut self, block: &Block, entering: u64) -> Result<(), Refused> {
        let factors = self.grid.log_factors(block);
        self.mixture.fold(&factors, entering)?;
        self.gate.fold(factors.get(THETA).copied().unwrap_or(0.0), block)?;
        self.estimate.add(block);
        self.blocks += u64::from(!block.is_silent());
        Ok(())
    }

    /// Folds a slot that is over: into the evidence of recovery, and where nothing was read before, into that of harm.
    pub(super) fn fold_matured(&mut self, block: &Block, entering: u64) -> Result<(), Refused> {
        match self.read {
            Read::RiskSets => {}
            Read::Matured => self.fold(block, entering)?,
            Read::Samples { .. } => return Ok(()),
        }
        self.recover(block)
    }

    /// Folds the samples of a slot that is over.
    pub(super) fn fold_samples(&mut self, exposed: &[BinCount], control: &[BinCount]) -> Result<(), Refused> {
        let Read::Samples { tolerance } = self.read else { return Ok(()) };
        if let Some(threshold) = self.past_latency.threshold(tolerance) {
            let block = threshold.block(exposed, control)?;
            self.fold(&block, block.exposed().units)?;
            self.recover(&block)?;
        }
        // After the block: the next threshold may know it.
        self.past_latency.remember(control)
    }

    fn recover(&mut self, block: &Block) -> Result<(), Refused> {
        if let Some(past) = self.control_rate.past() {
            self.recovery.fold(&self.harm, past, block)?;
            if let Some(certificates) = &mut self.certificates {
                certificates.fold(self.harm.direction(), past, block)?;
            }
        }
        let (exposed, control) = (block.exposed(), block.control());
        self.over.exposed = self.over.exposed.saturating_add(exposed.units);
        self.over.control.units = self.over.control.units.saturating_add(control.units);
        self.over.control.events = self.over.control.events.saturating_add(control.events);
        self.control_rate.remember(control)
    }

    /// What it says by now.
    pub(super) fn heard(&self) -> Heard {
        Heard {
            evidence: self.mixture.evidence(&WEIGHTS),
            is_gate_open: self.gate.is_open(&self.harm),
            change: self.estimate.change(),
            recovery: self.recovery.evidence(),
            excluded: self.certificates.and_then(|found| found.excluded(self.harm.direction())),
            over: self.over,
            blocks: self.blocks,
        }
    }
}
