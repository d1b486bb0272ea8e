//! Exposures that the edge records by itself after single evaluations. Never delays an answer.

use std::cell::RefCell;
use std::rc::Rc;

use flagfuse_shared::contract::beacon::{EventSource, IngestEvent};
use flagfuse_shared::ids::{Scope, SnapshotVersion, UnixMillis};
use serde_json::json;
use serde_json::value::to_raw_value;
use worker::{Context, Env};

use crate::beacon::recent::{ExposureKey, Recent};
use crate::beacon::send;
use crate::clock;
use crate::config::Config;
use crate::random;

/// A unit that was shown a flag.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exposure {
    /// The flag's key.
    pub flag: String,
    /// What it was shown.
    pub variation: String,
    /// Phase of the flag's cohort.
    pub phase: u32,
    pub unit: String,
    /// The snapshot that answered.
    pub version: SnapshotVersion,
}

thread_local! {
    static RECENT: RefCell<Recent> = RefCell::new(Recent::default());
}

/// Stores an exposure after the answer was given, unless this isolate did so lately.
pub fn record(exposure: Exposure, env: &Env, context: &Context, config: &Rc<Config>, scope: &Scope) {
    if !is_first(&exposure, scope) {
        return;
    }
    let (env, config, scope) = (env.clone(), Rc::clone(config), scope.clone());
    context.wait_until(async move { store(&exposure, &env, &config, &scope).await });
}

/// Whether this isolate has not recorded it lately. From now on it has.
pub fn is_first(exposure: &Exposure, scope: &Scope) -> bool {
    RECENT.with_borrow_mut(|recent| recent.is_first(digest(exposure, scope)))
}

/// Lets the next evaluation record it: this one could not.
pub fn forget(exposure: &Exposure, scope: &Scope) {
    RECENT.with_borrow_mut(|recent| recent.forget(digest(exposure, scope)));
}

/// Hands an exposure to the buffer.
pub async fn store(exposure: &Exposure, env: &Env, config: &Config, scope: &Scope) {
    let Ok(event) = event(exposure, random::uuid(), clock::now()) else { return };
    if let Err(error) = send::store(env, config, scope, EventSource::Edge, &[event]).await {
        forget(exposure, scope);
        worker::console_warn!(
            "an exposure in {scope} was not stored, the next evaluation tries again: {error}"
        );
    }
}

fn digest(exposure: &Exposure, scope: &Scope) -> u64 {
    ExposureKey {
        project: scope.project.as_str(),
        environment: scope.environment.as_str(),
        flag: &exposure.flag,
        phase: exposure.phase,
        unit: &exposure.unit,
    }
    .digest()
}

fn event(exposure: &Exposure, id: String, now: UnixMillis) -> serde_json::Result<IngestEvent> {
    let raw = to_raw_value(&json!({
        "id": id, "type": "exposure", "unit": exposure.unit, "occurred_ms": now, "flag": exposure.flag,
        "variation": exposure.variation, "phase": exposure.phase, "version": exposure.version.to_string(),
    }))?;
    Ok(IngestEvent { received_ms: now, sent_ms: None, raw })
}

#[cfg(test)]
mod tests {
    use flagfuse_shared::contract::beacon::{EventKind, parse_event};

    use super::*;

    #[test]
    fn the_event_is_one_that_the_control_plane_accepts() {
        let exposure = Exposure {
            flag: "checkout".to_owned(),
            variation: "on".to_owned(),
            phase: 3,
            unit: "ann".to_owned(),
            version: SnapshotVersion { epoch: 1, seq: 9 },
        };
        let now = UnixMillis(1_790_000_000_000);
        let event = event(&exposure, "id-1".to_owned(), now).unwrap();
        let parsed = parse_event(event.raw.get(), now, None).unwrap();
        assert!(matches!(parsed.kind, EventKind::Exposure { phase: Some(3), version: Some(_), .. }));
        assert_eq!((parsed.unit.unwrap().as_str(), parsed.occurred_ms), ("ann", now));
    }
}
