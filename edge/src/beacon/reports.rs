//! Tells the control plane how often flags were asked for: what Unleash's SDKs report, and what this isolate has answered
//! single evaluations with.

use std::cell::RefCell;

use flagfuse_shared::contract::beacon::{EventSource, RequestHead, SourceMark};
use flagfuse_shared::contract::usage::{Toggle, usage_events};
use flagfuse_shared::evaluate::EvaluationResult;
use flagfuse_shared::ids::{Scope, UnixMillis};
use flagfuse_shared::limits::EVENT_COUNT_MAX;
use serde_json::value::RawValue;
use worker::Env;

use crate::beacon::counts::{Counts, Served};
use crate::beacon::handover::{Asker, ClientRequest, digest};
use crate::beacon::send;
use crate::clock;
use crate::config::Config;
use crate::deadline::pause;
use crate::error::EdgeError;
use crate::random;

/// How long counts are gathered, for one request to a buffer: the platform lets work go on for 30 s behind an answer. What an
/// isolate counted in this time is lost when it ends.
const GATHER_MS: u64 = 20_000;
/// In the place of a client key's name: what the edge itself has counted enrols nobody, so no key is limited for it.
const NO_KEY: &str = "edge";

thread_local! {
    static COUNTS: RefCell<Counts> = RefCell::default();
}

/// Counts a single evaluation; whether the caller has to [`report`] once the answer is on its way.
pub fn note(scope: &Scope, answer: &EvaluationResult<'_>) -> bool {
    COUNTS.with_borrow_mut(|counts| counts.note(scope, answer))
}

/// Nobody is going to report after all: the next evaluation asks anew.
pub fn forgo() {
    COUNTS.with_borrow_mut(Counts::forgo);
}

/// Waits for more and hands all counts over. What no buffer takes is lost: they say when flags were asked for, and about how
/// often.
pub async fn report(env: &Env, config: &Config) {
    pause(GATHER_MS).await;
    let now = clock::now();
    let asker = Asker { key: NO_KEY.to_owned(), network: 0, is_bot: false };
    for (scope, flags) in COUNTS.with_borrow_mut(Counts::take) {
        let events: Vec<_> = flags
            .iter()
            .flat_map(|(flag, Served { yes, no, variations })| {
                let toggle = Toggle { yes: *yes, no: *no, variants: variations.iter().collect() };
                usage_events(flag, &toggle, now, || random::uuid_at(now))
            })
            .collect();
        if let Err(error) = store(&events, env, config, &scope, &asker, now).await {
            worker::console_warn!("how often flags of {scope} were asked for is not told: {error}");
        }
    }
}

/// Stores events, as many at a time as a client's request may have. When a later part finds no room, the earlier ones stay.
pub async fn store(
    events: &[Box<RawValue>],
    env: &Env,
    config: &Config,
    scope: &Scope,
    asker: &Asker,
    now: UnixMillis,
) -> Result<(), EdgeError> {
    for part in events.chunks(EVENT_COUNT_MAX) {
        let head = RequestHead {
            sent_ms: None,
            // Usage enrols nobody and moves no cell: there is nothing that a ticket could prove.
            source: SourceMark::None,
            network: asker.network,
            is_bot: asker.is_bot,
            sdk: None,
        };
        let json = head.write(part.iter().map(|event| &**event));
        let request = ClientRequest {
            event_count: u32::try_from(part.len()).unwrap_or(u32::MAX),
            exposure_count: 0,
            received_ms: now,
            key: &asker.key,
            network: asker.network,
            digest: digest(part.iter().map(|event| event.get())),
            json: &json,
        };
        send::store(env, config, scope, EventSource::Client, request.write()).await?;
    }
    Ok(())
}
