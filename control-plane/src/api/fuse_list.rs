//! `…/fuses`: all fuses of an environment with what their guardrails say, and which evidence of harm stands when so many are looked at
//! together. Each fuse by itself errs in 1 % of launches; whoever looks at a hundred of them sees one that errs.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::State;
use flagfuse_shared::ids::UnixMillis;
use flagfuse_stats::ebh;
use serde::Serialize;
use utoipa::ToSchema;

use super::ApiState;
use super::auth::{InEnvironment, Viewer};
use super::body::Params;
use super::document::schema;
use super::page::{ListTotal, Listed, Paging};
use crate::error::ApiError;
use crate::model::circuit::Circuit;
use crate::model::verdict::{Finding, GuardrailEvidence};
use crate::store::fuses::FuseRow;
use crate::store::listing::Stand;
use crate::store::verdicts::NewestVerdict;
use crate::store::{StoreError, fuses, verdicts};

/// What one guardrail of a fuse in a list says.
#[derive(Debug, Serialize, ToSchema)]
struct ListedGuardrail {
    metric: String,
    #[schema(value_type = schema::Finding)]
    finding: Finding,
    /// Evidence of harm in the mode `anytime`; null in the mode `classic`, which has none.
    #[schema(required)]
    evidence: Option<f64>,
    /// Relative change of the exposed arm; null before there is any, and under a limit.
    #[schema(required)]
    change: Option<f64>,
    /// Whether the evidence stands among that of all guardrails of the environment.
    stands: bool,
}

/// A fuse in a list.
#[derive(Debug, Serialize, ToSchema)]
struct ListedFuse {
    flag: String,
    #[schema(value_type = schema::Circuit)]
    circuit: Circuit,
    /// Of its newest verdict; null before the first one.
    #[schema(required)]
    decision: Option<String>,
    #[schema(required)]
    reason: Option<String>,
    #[schema(required, value_type = Option<u64>)]
    at_ms: Option<UnixMillis>,
    /// What its guardrails say; empty before the first verdict.
    guardrails: Vec<ListedGuardrail>,
}

/// Fuses by flag, with what of their evidence stands when all are looked at together (e-BH).
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct FuseList {
    fuses: Vec<ListedFuse>,
    /// Guardrails of the whole environment that have evidence.
    guardrails_with_evidence: usize,
    /// The share of those that stand and do not harm, at most, on average.
    false_share_max: f64,
    /// Evidence from which on a guardrail's harm stands; null where none does.
    #[schema(required)]
    stands_from: Option<f64>,
    /// Where the next page begins; null when there is none.
    #[schema(required)]
    next: Option<String>,
    /// How many there are on all pages.
    total: ListTotal,
}

/// The evidence of harm of a guardrail.
fn evidence(found: &GuardrailEvidence) -> Option<f64> {
    found.anytime.as_ref().map(|said| said.evidence)
}

/// From which evidence on harm stands, and how many guardrails have any.
fn stands_from(newest: &BTreeMap<String, NewestVerdict>) -> Result<(Option<f64>, usize), ApiError> {
    let all: Vec<f64> = newest.values().flat_map(|said| said.evidence.iter().filter_map(evidence)).collect();
    let from = ebh::listed_from(&all, ebh::RATE)
        .map_err(|refused| StoreError::Corrupt { column: "verdicts.evidence", found: refused.to_string() })?;
    Ok((from, all.len()))
}

fn guardrail(found: &GuardrailEvidence, stands_from: Option<f64>) -> ListedGuardrail {
    let evidence = evidence(found);
    ListedGuardrail {
        metric: found.metric.clone(),
        finding: found.finding,
        evidence,
        change: found.anytime.as_ref().and_then(|said| said.change),
        stands: evidence.zip(stands_from).is_some_and(|(evidence, from)| evidence >= from),
    }
}

pub(super) async fn list(
    at: InEnvironment<Viewer>,
    State(state): State<ApiState>,
    Params(paging): Params<Paging>,
) -> Result<Json<FuseList>, ApiError> {
    let page = paging.page("fuses")?;
    let mut conn = state.store.read().await?;
    let all = fuses::fuses(&mut conn, at.scope()).await?;
    let newest = verdicts::newest_of_fuses(&mut conn, at.scope()).await?;
    let (stands_from, guardrails_with_evidence) = stands_from(&newest)?;
    let stand = |fuse: &FuseRow| Stand { at: fuse.changed_ms, key: fuse.flag.clone() };
    let Listed { items: fuses, next, total } = page.of(all, stand, |fuse, is_sought| is_sought(&fuse.flag));
    let fuses = fuses.into_iter().map(|fuse| {
        let said = newest.get(&fuse.flag);
        let found = said.iter().flat_map(|said| &said.evidence);
        ListedFuse {
            circuit: fuse.circuit,
            decision: said.map(|said| said.decision.clone()),
            reason: said.map(|said| said.reason.clone()),
            at_ms: said.map(|said| said.at_ms),
            guardrails: found.map(|found| guardrail(found, stands_from)).collect(),
            flag: fuse.flag,
        }
    });
    let fuses = fuses.collect();
    let false_share_max = ebh::RATE;
    Ok(Json(FuseList { fuses, guardrails_with_evidence, false_share_max, stands_from, next, total }))
}
