//! Control units of the last days with what became known of them: what a rehearsal deals anew.

use std::collections::BTreeMap;

use flagfuse_shared::definition::Arm;
use flagfuse_shared::ids::{Scope, UnixMillis};

use super::cells::{self, EVERYBODY, Names, SlotCells};
use super::{Connection, StoreError, from_sql, fuses, phases};
use crate::model::metric::ENROLLED;
use crate::model::policy::Policy;
use crate::model::rehearsal::{PastSlot, PastStep, is_rehearsable};
use crate::model::window::{Covers, EnrolmentRange};

/// Slots of one rehearsal.
const SLOT_COUNT_MAX: usize = 1_500;
/// Slots that are read at once.
const PAGE: u32 = 250;
/// Phases of one flag that are looked at.
const PHASE_COUNT_MAX: u32 = 20;
/// Other flags of the environment that are looked at.
const FLAG_COUNT_MAX: u32 = 20;

/// What came to the control units of this flag since then; where its phases did not count what the policy watches, of another
/// flag of the environment. `None` where none did.
pub async fn history(
    conn: &mut Connection,
    scope: &Scope,
    flag: &str,
    policy: &Policy,
    (since, now): (UnixMillis, UnixMillis),
) -> Result<Option<(String, Vec<PastSlot>)>, StoreError> {
    let others = fuses::flags(conn, scope, FLAG_COUNT_MAX).await?;
    let all = std::iter::once(flag.to_owned()).chain(others.into_iter().filter(|other| other != flag));
    for flag in all {
        let slots = of_flag(conn, scope, &flag, policy, (since, now)).await?;
        if !slots.is_empty() {
            return Ok(Some((flag, slots)));
        }
    }
    Ok(None)
}

async fn of_flag(
    conn: &mut Connection,
    scope: &Scope,
    flag: &str,
    policy: &Policy,
    (since, now): (UnixMillis, UnixMillis),
) -> Result<Vec<PastSlot>, StoreError> {
    let mut slots = Vec::new();
    for phase in phases::of_flag(conn, scope, flag, PHASE_COUNT_MAX).await? {
        if phase.ended_ms.is_some_and(|ended_ms| ended_ms < since) {
            break;
        }
        let names = cells::names(conn, [phase.phase_id]).await?.remove(&phase.phase_id).unwrap_or_default();
        let Some(metrics) = numbers(policy, &names) else { continue };
        let range = EnrolmentRange { from: since, to: now, covers: Covers::Begun };
        let bounds =
            cells::bounds(conn, &[(phase.phase_id, range)], cells::NEWEST).await?.pop().unwrap_or_default();
        let Some(first) = bounds.first else { continue };
        let mut after = first.slot - 1;
        while slots.len() < SLOT_COUNT_MAX {
            let page = cells::page(conn, phase.phase_id, after, PAGE).await?;
            let Some(last) = page.last() else { break };
            after = last.slot.slot;
            slots.extend(page.iter().filter_map(|slot| past(slot, &metrics)));
        }
    }
    slots.truncate(SLOT_COUNT_MAX);
    slots.sort_by_key(|slot| slot.tick);
    Ok(slots)
}

/// The number of each guardrail's metric in a phase; `None` where the phase does not count one that can be rehearsed, or there
/// is none.
fn numbers(policy: &Policy, names: &Names) -> Option<Vec<Option<u8>>> {
    let number = |metric: &str| names.metric_no(metric);
    let numbers: Vec<_> = policy.guardrails.iter().map(|own| number(&own.metric)).collect();
    let mut rehearsable =
        policy.guardrails.iter().zip(&numbers).filter(|(own, _)| is_rehearsable(policy, own)).peekable();
    rehearsable.peek()?;
    rehearsable.all(|(_, number)| number.is_some()).then_some(numbers)
}

/// The control units of a slot; `None` without any.
fn past(slot: &SlotCells, metrics: &[Option<u8>]) -> Option<PastSlot> {
    let own = slot.cells.iter().filter(|cell| cell.arm == Arm::Control && cell.slice == EVERYBODY);
    let mut units = 0;
    let mut steps: BTreeMap<i64, PastStep> = BTreeMap::new();
    for cell in own {
        let counted = from_sql(cell.counts.units);
        if cell.metric == ENROLLED {
            units += counted;
            continue;
        }
        let Some(at) = metrics.iter().position(|metric| *metric == Some(cell.metric)) else { continue };
        let (tick, step) = (from_sql(cell.closed_tick), cell.step);
        let events = vec![0; metrics.len()];
        let of_step = steps.entry(step).or_insert(PastStep { tick, step, events });
        if let Some(sum) = of_step.events.get_mut(at) {
            *sum += counted;
        }
    }
    let steps = steps.into_values().collect();
    (units > 0).then(|| PastSlot {
        tick: from_sql(slot.closed_tick),
        ends_ms: slot.slot.ends_ms.0,
        units,
        steps,
    })
}
