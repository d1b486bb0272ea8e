//! The `x-flags-*` headers: from which snapshot, how old, how fresh an answer is. Never influences the answer.

use flagfuse_shared::contract::probe::{
    AGE_HEADER, BEAT_AGE_HEADER, ISOLATE_HEADER, REGION_HEADER, SOURCE_HEADER, STATE_HEADER, VERSION_HEADER,
};

use crate::config::Config;
use crate::http::reply::Reply;
use crate::snapshot::cache::SnapshotState;
use crate::snapshot::served::{Served, Source};

/// Labels an answer that came from a snapshot.
pub fn label(reply: &mut Reply, config: &Config, served: &Served) {
    reply.header(VERSION_HEADER, served.version.to_string());
    reply.header(AGE_HEADER, served.age_ms.to_string());
    if let Some(age_ms) = served.beat_age_ms {
        reply.header(BEAT_AGE_HEADER, age_ms.to_string());
    }
    reply.header(
        SOURCE_HEADER,
        match served.source {
            Source::Memory => "memory",
            Source::Probe => "probe",
            Source::Bootstrap => "bootstrap",
        },
    );
    reply.header(STATE_HEADER, state(served.state));
    label_place(reply, config);
}

/// Labels an evaluation that no snapshot could answer: the client falls back to its code's default.
pub fn label_unanswered(reply: &mut Reply, config: &Config) {
    reply.header(SOURCE_HEADER, "default");
    reply.header(STATE_HEADER, "none");
    label_place(reply, config);
}

/// The word for how far an answer can be relied upon.
pub const fn state(state: SnapshotState) -> &'static str {
    match state {
        SnapshotState::Fresh => "fresh",
        SnapshotState::Stale => "stale",
        SnapshotState::Bootstrap => "stale-bootstrap",
    }
}

fn label_place(reply: &mut Reply, config: &Config) {
    reply.header(REGION_HEADER, config.region.clone());
    if let Some(isolate) = &config.isolate {
        reply.header(ISOLATE_HEADER, isolate.clone());
    }
}
