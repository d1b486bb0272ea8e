//! What export requests held that is no event: counted since the process started, one row for each environment.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use flagfuse_otlp::{Ignored, Reason, Signal};
use flagfuse_shared::ids::{Scope, TenantKey};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::body::{READING_COUNT, SLOT_COUNT};
use crate::api::metrics::{labels, line};

/// Slots for export requests, and what is counted of them.
#[derive(Debug)]
pub(in crate::api) struct Exports {
    slots: Arc<Semaphore>,
    reading: Arc<Semaphore>,
    /// Only of environments that are there: a server's token names one.
    ignored: Mutex<BTreeMap<Scope, BTreeMap<Signal, Ignored>>>,
}

impl Default for Exports {
    fn default() -> Self {
        let semaphore = |count| Arc::new(Semaphore::new(count));
        Self { slots: semaphore(SLOT_COUNT), reading: semaphore(READING_COUNT), ignored: Mutex::default() }
    }
}

impl Exports {
    pub(super) const fn slots(&self) -> &Arc<Semaphore> {
        &self.slots
    }

    /// Waits for its turn to read; `None` when the process ends.
    pub(super) async fn turn(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.reading).acquire_owned().await.ok()
    }

    /// Adds what was ignored of a request.
    pub(super) fn count(&self, scope: &Scope, signal: Signal, ignored: &Ignored) {
        let mut all = self.ignored.lock().unwrap_or_else(PoisonError::into_inner);
        match all.get_mut(scope) {
            Some(own) => own.entry(signal).or_default().merge(ignored),
            None => drop(all.insert(scope.clone(), [(signal, *ignored)].into())),
        }
    }

    /// Prometheus text of a tenant.
    pub(in crate::api) fn exposition(&self, tenant: &TenantKey, sees: impl Fn(&Scope) -> bool) -> String {
        let mut text = String::from(
            "# HELP flagfuse_otlp_ignored_total Spans, log records, data points and evaluations in export requests that are no \
             event, since the process started.\n\
             # TYPE flagfuse_otlp_ignored_total counter\n",
        );
        let all = self.ignored.lock().unwrap_or_else(PoisonError::into_inner);
        for (scope, signals) in all.iter().filter(|(scope, _)| scope.tenant == *tenant && sees(scope)) {
            for (signal, ignored) in signals {
                for reason in Reason::ALL.into_iter().filter(|reason| ignored.get(*reason) > 0) {
                    let (place, signal, count) = (labels(scope), signal.as_str(), ignored.get(reason));
                    let reason = reason.as_str();
                    let name = "flagfuse_otlp_ignored_total";
                    line(
                        &mut text,
                        format_args!("{name}{{{place},signal=\"{signal}\",reason=\"{reason}\"}} {count}"),
                    );
                }
            }
        }
        text
    }
}
