//! The attempt that a plane is on, as the engine and the changes of a fuse make it: the phases of its stages with their buckets, what
//! was heard of them, and which attempt follows.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result};
use flagfuse_cells::schedule::TICK_MS;
use flagfuse_cells::{Closed, Fact, Ledger, PhaseId};
use flagfuse_control_plane::engine::heard::Heard;
use flagfuse_control_plane::model::evidence::News;
use flagfuse_control_plane::model::ramp::{Lane, Opened, Ramp, exposed};
use flagfuse_control_plane::model::rules::{cell_arm, rules};
use flagfuse_control_plane::model::verdict::{RampLook, Standing};
use flagfuse_control_plane::store::cells::Names;
use flagfuse_control_plane::store::phases::PhaseRow;
use flagfuse_shared::definition::{Arm, CohortSliceWire};
use flagfuse_shared::ids::UnixMillis;
use flagfuse_shared::limits::BUCKET_COUNT;

use crate::setting::{Population, Setting, news};
use crate::traffic::Seat;

/// A flag's phases.
#[derive(Debug)]
pub(crate) struct Attempt {
    /// The phase whose stage runs, and what it calls its numbers.
    running: PhaseRow,
    names: Names,
    /// Those of the stages before it, the oldest first.
    earlier: Vec<(PhaseRow, Names)>,
    heard: Heard,
    /// What closed of the attempt, where a further stage may open: its evidence is folded anew then, as an engine does.
    kept: BTreeMap<i64, News>,
    /// Slices of all attempts since the flag's units were hashed anew.
    used: Vec<CohortSliceWire>,
    /// Where the ramp stands; `None` without one.
    look: Option<RampLook>,
}

impl Attempt {
    /// The first one.
    pub(crate) fn first(ledger: &mut Ledger, setting: &Setting, now_ms: u64) -> Result<Self> {
        let slices = match setting.population {
            Population::Enrolled => halves(setting),
            Population::Everybody => first_stage(setting, Lane::FRESH, &[])?.slices,
        };
        Self::begun(ledger, setting, (0, 1, slices), now_ms)
    }

    /// Of a stage with these slices, behind the phase of that number.
    fn begun(
        ledger: &mut Ledger,
        setting: &Setting,
        (before, stage, slices): (i64, u32, Vec<CohortSliceWire>),
        now_ms: u64,
    ) -> Result<Self> {
        let (running, names) = phase(ledger, setting, (before + 1, stage, slices.clone()), now_ms)?;
        let (heard, earlier, kept) = (heard(&[(&running, &names)])?, Vec::new(), BTreeMap::new());
        let look = look(setting, &running);
        Ok(Self { running, names, earlier, heard, kept, used: slices, look })
    }

    /// The phase whose stage runs.
    pub(crate) const fn running(&self) -> &PhaseRow {
        &self.running
    }

    pub(crate) const fn phase(&self) -> PhaseId {
        PhaseId(self.running.phase_id)
    }

    /// What the running phase calls its numbers.
    pub(crate) const fn names(&self) -> &Names {
        &self.names
    }

    /// All of them, the oldest first.
    fn phases(&self) -> impl Iterator<Item = (&PhaseRow, &Names)> {
        let earlier = self.earlier.iter().map(|(row, names)| (row, names));
        earlier.chain([(&self.running, &self.names)])
    }

    pub(crate) const fn heard(&self) -> &Heard {
        &self.heard
    }

    /// Where the ramp stands, and how new its data is.
    pub(crate) fn look(&self) -> Option<RampLook> {
        let newest_ms = self.heard.newest_ms(self.running.phase_id).map(UnixMillis);
        self.look.clone().map(|look| RampLook { newest_ms, ..look })
    }

    /// Whether anything of it closed.
    pub(crate) fn has_news(&self, closed: &Closed) -> bool {
        let is_own = |phase: PhaseId| self.phases().any(|(row, _)| row.phase_id == phase.0);
        closed.cells.iter().any(|row| is_own(row.phase)) || closed.spreads.iter().any(|row| is_own(row.phase))
    }

    /// Hears what closed at a tick, and hands it on by phase; nothing where nothing of it did.
    pub(crate) fn hear(&mut self, closed: &Closed, at_ms: u64) -> BTreeMap<i64, News> {
        let each = self.phases().map(|(row, _)| (row.phase_id, news(PhaseId(row.phase_id), closed)));
        let found: BTreeMap<i64, News> = each.filter(|(_, news)| *news != News::default()).collect();
        if found.is_empty() {
            return found;
        }
        self.heard.fold(&found, tick_number(at_ms));
        if self.look.is_some() {
            for (phase_id, news) in &found {
                let kept = self.kept.entry(*phase_id).or_default();
                kept.slots.extend(&news.slots);
                kept.counts.extend(&news.counts);
                kept.bins.extend(&news.bins);
                kept.missed.extend(&news.missed);
            }
        }
        found
    }

    /// Hears what ripens without anything that closes.
    pub(crate) fn ripen(&mut self, at_ms: u64) {
        self.heard.fold(&BTreeMap::new(), tick_number(at_ms));
    }

    /// Opens the next stage of its ramp, as a decision to advance does; whether there is one.
    pub(crate) fn advance(&mut self, ledger: &mut Ledger, setting: &Setting, now_ms: u64) -> Result<bool> {
        let (running, policy) = (&self.running, &setting.policy);
        let next = Ramp::of(policy).next(running.stage, running.phase, &running.slices, policy);
        let Some(Opened { stage, slices, is_last }) = next.filter(|_| policy.ramp.is_some()) else {
            return Ok(false);
        };
        if is_last {
            // Their controls are exposed from now on.
            self.end(ledger, now_ms);
        }
        self.used.extend(slices.iter().cloned());
        let (running, names) = phase(ledger, setting, (self.running.phase_id + 1, stage, slices), now_ms)?;
        let before =
            (std::mem::replace(&mut self.running, running), std::mem::replace(&mut self.names, names));
        self.earlier.push(before);
        self.look = look(setting, &self.running);
        self.heard = heard(&self.phases().collect::<Vec<_>>())?;
        self.heard.fold(&self.kept, tick_number(now_ms));
        Ok(true)
    }

    /// The attempt that follows an edit of the policy, or a fuse that is closed again after a trip: fresh buckets of the lane that
    /// all attempts have moved along, or of one whose units are hashed anew.
    pub(crate) fn anew(
        mut self,
        ledger: &mut Ledger,
        setting: &Setting,
        (is_edit, now_ms): (bool, u64),
    ) -> Result<Self> {
        let is_kept = is_edit && setting.policy.ramp.is_some();
        let kept = if is_kept { exposed(&self.running.slices) } else { Vec::new() };
        let before = self.running.phase_id;
        self.end(ledger, now_ms);
        let fresh = first_stage(setting, Lane::behind(&self.used), &kept);
        let (used, opened) = match fresh {
            Ok(opened) => (self.used, opened),
            Err(_) => (Vec::new(), first_stage(setting, Lane::FRESH, &[])?),
        };
        let next = Self::begun(ledger, setting, (before, opened.stage, opened.slices), now_ms)?;
        Ok(Self { used: used.into_iter().chain(next.used).collect(), ..next })
    }

    /// Its phases enrol nobody any more.
    fn end(&mut self, ledger: &mut Ledger, now_ms: u64) {
        let rows = self.earlier.iter_mut().map(|(row, _)| row).chain([&mut self.running]);
        for row in rows.filter(|row| row.ended_ms.is_none()) {
            row.ended_ms = Some(UnixMillis(now_ms));
            ledger.apply(&Fact::PhaseEnded { phase: PhaseId(row.phase_id), at_ms: now_ms }, now_ms);
        }
    }

    /// Where units enrol.
    pub(crate) fn seats(&self) -> Vec<Seat> {
        let running = &self.running;
        let enrolling = running.slices.iter().filter(|slice| !slice.unenrolled);
        let seat = |slice: &CohortSliceWire| Seat {
            from: slice.from,
            to: slice.to,
            arm: cell_arm(slice.arm),
            // Numbers of phases in the flag are those in the database here.
            phase: PhaseId(slice.phase.map_or(running.phase_id, i64::from)),
        };
        enrolling.map(seat).collect()
    }
}

/// The first stage on fresh buckets of a lane.
fn first_stage(setting: &Setting, lane: Lane, kept: &[(u32, u32)]) -> Result<Opened> {
    let policy = &setting.policy;
    Ramp::of(policy).begin(lane, kept, policy).context("too few buckets are fresh")
}

/// Exposed and control slices over all buckets, in the shares of a setting.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 to a million")]
fn halves(setting: &Setting) -> Vec<CohortSliceWire> {
    let policy = &setting.policy;
    let exposed = (setting.exposed_share * f64::from(BUCKET_COUNT)).round() as u32;
    let slice = |from, to, variation: &str, arm| CohortSliceWire {
        from,
        to,
        variation: variation.to_owned(),
        arm,
        phase: None,
        unenrolled: false,
    };
    vec![
        slice(0, exposed, &policy.treatment_variation, Arm::Exposed),
        slice(exposed, BUCKET_COUNT, &policy.control_variation, Arm::Control),
    ]
}

/// A phase begins to count.
fn phase(
    ledger: &mut Ledger,
    setting: &Setting,
    (phase_id, stage, slices): (i64, u32, Vec<CohortSliceWire>),
    now_ms: u64,
) -> Result<(PhaseRow, Names)> {
    let policy = &setting.policy;
    let rules = rules(PhaseId(phase_id), UnixMillis(now_ms), policy, &setting.edges);
    rules.check().context("the rules of the phase")?;
    let names = Names::of(&rules);
    ledger.apply(&Fact::Phase(Box::new(rules)), now_ms);
    let row = PhaseRow {
        phase_id,
        phase: u32::try_from(phase_id)?,
        circuit: setting.circuit,
        attempt: setting.spent.attempts,
        stage,
        salt: "calibrate".to_owned(),
        bucket_by: None,
        slices,
        policy: policy.clone(),
        started_ms: UnixMillis(now_ms),
        ended_ms: None,
    };
    Ok((row, names))
}

/// An ear for these phases that has heard nothing yet.
fn heard(phases: &[(&PhaseRow, &Names)]) -> Result<Heard> {
    let rows: Vec<PhaseRow> = phases.iter().map(|(row, _)| (*row).clone()).collect();
    let mut heard = Heard::of(&rows).context("a phase is there")?;
    for (row, names) in phases {
        heard.join(row.phase_id, names);
    }
    Ok(heard)
}

/// Where the ramp of a flag stands whose running phase that is; `None` without one.
fn look(setting: &Setting, running: &PhaseRow) -> Option<RampLook> {
    let standing = Standing {
        circuit: setting.circuit,
        attempt: running.attempt,
        stage: running.stage,
        phase: running.phase,
        slices: &running.slices,
        began_ms: running.started_ms,
        ramp: Ramp::of_attempt(&setting.policy, [running.in_attempt()]),
        is_held: false,
    };
    RampLook::of(&setting.policy, standing)
}

fn tick_number(at_ms: u64) -> i64 {
    i64::try_from(at_ms / TICK_MS).unwrap_or(i64::MAX)
}
