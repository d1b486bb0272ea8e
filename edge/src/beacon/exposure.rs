//! Exposures that the edge records by itself after single evaluations. Never delays an answer.

use std::cell::RefCell;
use std::rc::Rc;

use flagfuse_shared::contract::beacon::EventSource;
use flagfuse_shared::ids::Scope;
use worker::{Context, Env};

pub use crate::beacon::handover::Exposure;
use crate::beacon::handover::{Asker, write_exposure};
use crate::beacon::recent::{ExposureKey, Recent};
use crate::beacon::send;
use crate::clock;
use crate::config::Config;

thread_local! {
    static RECENT: RefCell<Recent> = RefCell::new(Recent::default());
}

/// Stores an exposure after the answer was given, unless this isolate did so lately.
pub fn record(
    exposure: Exposure,
    asker: Asker,
    env: &Env,
    context: &Context,
    config: &Rc<Config>,
    scope: &Scope,
) {
    if !is_first(&exposure, scope) {
        return;
    }
    let (env, config, scope) = (env.clone(), Rc::clone(config), scope.clone());
    context.wait_until(async move { store(&exposure, &asker, &env, &config, &scope).await });
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
pub async fn store(exposure: &Exposure, asker: &Asker, env: &Env, config: &Config, scope: &Scope) {
    let handover = write_exposure(exposure, asker, clock::now());
    if let Err(error) = send::store(env, config, scope, EventSource::Edge, handover).await {
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
