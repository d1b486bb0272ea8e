//! What the objectives of an environment count of its outcomes: read again where something was changed here, and now and then
//! for what was changed elsewhere.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use flagfuse_shared::ids::{Scope, UnixMillis};
use tokio::time::Instant;

use super::resolve::Outcome;
use crate::clock::monotonic;
use crate::model::slo::{Slo, Span};
use crate::store::slo_sums::SloSums;
use crate::store::slos::SloRow;
use crate::store::{Store, StoreError, slos};

/// An objective that another control plane was told of is counted here after this long at the latest.
const FRESH: Duration = Duration::from_secs(5);

/// Objectives by the outcomes that they count.
#[derive(Debug, Default)]
pub(super) struct Slis {
    by_metric: HashMap<String, Vec<Arc<Counted>>>,
    /// When they were read, and how often the bell of changes had rung by then.
    read: Option<(Instant, u64)>,
}

/// An objective under its number.
#[derive(Debug)]
struct Counted {
    slo_id: i64,
    slo: Slo,
}

impl Slis {
    /// Reads them where what is known may be out of date.
    pub(super) async fn refresh(
        &mut self,
        (store, scope): (&Store, &Scope),
        rung: u64,
    ) -> Result<(), StoreError> {
        let now = monotonic();
        if self.read.is_some_and(|(at, heard)| heard == rung && now < at + FRESH) {
            return Ok(());
        }
        let rows = slos::slos(&mut *store.read().await?, scope).await?;
        *self = Self::of(rows);
        self.read = Some((now, rung));
        Ok(())
    }

    fn of(rows: Vec<SloRow>) -> Self {
        let mut slis = Self::default();
        for SloRow { slo_id, slo, .. } in rows {
            let counted = Arc::new(Counted { slo_id, slo });
            for metric in counted.slo.sli.metrics() {
                slis.by_metric.entry(metric.to_owned()).or_default().push(Arc::clone(&counted));
            }
        }
        slis
    }

    /// Adds an outcome to the minute and the hour in which it happened; to the present ones, where its clock is ahead.
    pub(super) fn count(&self, outcome: &Outcome, known_ms: UnixMillis, sums: &mut SloSums) {
        let Some(counting) = self.by_metric.get(outcome.metric.as_str()) else { return };
        let at = outcome.at_ms.min(known_ms);
        for Counted { slo_id, slo } in counting.iter().map(|counted| &**counted) {
            if !slo.counts_from(outcome.source) {
                continue;
            }
            let sum = slo.sli.count(outcome.metric.as_str(), outcome.value_micros);
            for span in Span::ALL {
                // What no window reaches any more would go with the next housekeeping.
                if known_ms.since(at) < span.kept_ms() && !sum.is_empty() {
                    sums.entry((*slo_id, span, span.begin(at))).or_default().add(sum);
                }
            }
        }
    }
}
