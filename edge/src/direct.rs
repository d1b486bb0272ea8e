//! The short way for evaluations that memory can answer: plain values from JavaScript in, plain values out, at once.
//!
//! The platform's request and response objects cost more than an evaluation. What needs one of them, or has to wait
//! (no snapshot, one beyond the staleness bound, an unknown key, any other route), takes the long way through `fetch`;
//! both ways meet in `http::evaluation`. What has to happen after the answer waits in a list for [`direct_work`].

use std::cell::RefCell;

use flagfuse_shared::digest::Digest;
use flagfuse_shared::ids::Scope;
use flagfuse_shared::snapshot::KeyId;
use worker::Env;
use worker::js_sys::Promise;
use worker::wasm_bindgen;
use worker::wasm_bindgen::JsValue;
use worker::wasm_bindgen::prelude::wasm_bindgen;
use worker::wasm_bindgen_futures::future_to_promise;

use crate::beacon::exposure::{self, Exposure};
use crate::beacon::reports;
use crate::clock;
use crate::config::{cached_config, config};
use crate::http::asker::asker;
use crate::http::evaluation;
use crate::http::gate::pass;
use crate::http::ofrep::Answered;
use crate::http::reply::Reply;
use crate::http::reply::RequestedBy;
use crate::http::request::{RequestHead, RequestHeaders};
use crate::http::route::Verb;
use crate::snapshot::isolate::{driver, with_memory};
use crate::snapshot::served::{GateOutcome, Refresh};

/// Set in the number that [`direct_answer`] returns when [`direct_work`] has something to do.
const HAS_WORK: u32 = 1 << 16;
/// Set when the answer's headers are those of the answer before.
const SAME_HEAD: u32 = 1 << 17;
const ETAG: &str = "etag";
/// What any body counts as that is no UTF-8: the same error answers all of them.
const NO_UTF8: &[u8] = &[0xff];
/// Things to do that may wait. JavaScript fetches them after each answer, so there are one or two.
const WORK_COUNT_MAX: usize = 1_024;

/// Something to do once the answer is on its way.
enum Work {
    Refresh(Scope),
    Record(Scope, KeyId, Box<Exposure>),
    Report,
}

thread_local! {
    static LAST_KEY: RefCell<Option<(String, Digest)>> = const { RefCell::new(None) };
    static HEAD: RefCell<String> = const { RefCell::new(String::new()) };
    static ANSWER: RefCell<Reply> = const { RefCell::new(Reply::json(0, String::new())) };
    static WORK: RefCell<Vec<Work>> = const { RefCell::new(Vec::new()) };
}

/// Answers an evaluation from memory: its status, and what the bits above it say. Status 0 means that the request has to
/// take the long way. The answer itself is fetched with [`direct_head`] and [`direct_text`] before anything else is asked.
///
/// The platform hands a body over as text for less than as bytes. `body_len` is its length on the wire: a body that is no
/// UTF-8 has another one as text, since a replacement character has three bytes and a byte order mark is left out.
#[expect(
    clippy::too_many_arguments,
    reason = "only plain values cross cheaply: these are the parts of a request"
)]
#[wasm_bindgen(js_name = directAnswer)]
pub fn direct_answer(
    method: &str,
    target: &str,
    authorization: Option<String>,
    api_key: Option<String>,
    none_match: Option<String>,
    version_min: Option<String>,
    address: Option<String>,
    names_origin: bool,
    body: &str,
    body_len: u32,
) -> u32 {
    let requested_by = RequestedBy::of(names_origin);
    let headers = RequestHeaders { authorization, api_key, none_match, version_min, address, requested_by };
    let is_whole = u32::try_from(body.len()) == Ok(body_len);
    let body = if is_whole { body.as_bytes() } else { NO_UTF8 };
    let status = match answer(&RequestHead::new(Verb::of(method), target, headers), body) {
        Some(reply) => {
            let status = u32::from(reply.status);
            let head = head(&reply, requested_by);
            let is_same = HEAD.with_borrow(|last| *last == head);
            HEAD.set(head);
            ANSWER.set(reply);
            if is_same { status | SAME_HEAD } else { status }
        }
        None => 0,
    };
    let has_work = WORK.with_borrow(|work| !work.is_empty());
    if has_work { status | HAS_WORK } else { status }
}

/// The last answer's headers: `name:value` lines, the validator's without its value. Answers of the same millisecond mostly
/// have the same ones, so the caller keeps what it made of them and is told when it may.
#[wasm_bindgen(js_name = directHead)]
pub fn direct_head() -> String {
    HEAD.with_borrow(Clone::clone)
}

/// The last answer's body, given away, and behind the last line feed its validator, which may be empty. One text for both,
/// since a crossing costs more than joining them; in this order, since the body has room for the other behind it. No bytes:
/// the platform's buffers are freed late, and one of 80 KB costs as much as decoding the text and encoding it again.
#[wasm_bindgen(js_name = directText)]
pub fn direct_text() -> String {
    ANSWER.with_borrow_mut(|reply| {
        let etag = reply.headers.iter().find(|(name, _)| *name == ETAG).map_or("", |(_, value)| value);
        let mut text = std::mem::take(&mut reply.body);
        text.push('\n');
        text.push_str(etag);
        text
    })
}

/// Does what waits: refreshes, exposures, counts of what was asked for. Address and user agent are those of the request that was
/// just answered: they are asked for only where there is something to record.
#[wasm_bindgen(js_name = directWork)]
pub fn direct_work(env: Env, address: Option<String>, user_agent: Option<String>) -> Promise {
    // Taken at once: before a promise's work begins, another request may have been answered.
    let waiting = WORK.take();
    future_to_promise(async move {
        let Ok(config) = config(&env) else { return Ok(JsValue::UNDEFINED) };
        let mut must_report = false;
        for work in waiting {
            match work {
                // A failed refresh changes nothing: the next request sees an older age and asks again.
                Work::Refresh(scope) => drop(driver(&env, &config).refresh(&scope).await),
                Work::Record(scope, key, exposure) => {
                    let asker = asker(&config, key, address.as_deref(), user_agent.as_deref());
                    exposure::store(&exposure, &asker, &env, &config, &scope).await;
                }
                Work::Report => must_report = true,
            }
        }
        // It waits for more, and nothing waits behind it.
        if must_report {
            reports::report(&env, &config).await;
        }
        Ok(JsValue::UNDEFINED)
    })
}

/// The digest of a key; the last one is remembered, since a client's requests follow each other.
fn digest_of(key: &str) -> Digest {
    LAST_KEY.with_borrow_mut(|last| match last {
        Some((text, digest)) if *text == *key => *digest,
        _ => {
            let digest = Digest::of(key.as_bytes());
            *last = Some((key.to_owned(), digest));
            digest
        }
    })
}

/// All headers of the answer to `requested_by`, those that every answer has as well.
fn head(reply: &Reply, requested_by: RequestedBy) -> String {
    let mut head = String::with_capacity(512);
    let mut line = |name: &str, value: &str| {
        for part in [name, ":", if name == ETAG { "" } else { value }, "\n"] {
            head.push_str(part);
        }
    };
    reply.common_headers(requested_by).for_each(|(name, value)| line(name, value));
    reply.headers.iter().for_each(|(name, value)| line(name, value));
    head.pop();
    head
}

/// `None` when memory alone cannot answer.
fn answer(head: &RequestHead, body: &[u8]) -> Option<Reply> {
    if !head.route.is_evaluation() || !head.route.allows(head.verb) {
        return None;
    }
    let config = cached_config()?;
    let now = clock::now();
    let passed = with_memory(|memory| pass(head, &config.tenant, digest_of, memory, now));
    let (claim, outcome) = passed.ok()?;
    if let GateOutcome::Answer(_, Refresh::Needed) | GateOutcome::Behind(Refresh::Needed) = outcome {
        // A refresh that finds no room is made up for by the next lease.
        let _ = wait(Work::Refresh(claim.scope.clone()));
    }
    let GateOutcome::Answer(served, _) = outcome else { return None };
    Some(match evaluation::answer(&config, &claim, &served, head, body, now) {
        Ok(Answered { reply, exposure, must_report }) => {
            if must_report && wait(Work::Report).is_err() {
                reports::forgo();
            }
            if let Some(exposure) = exposure {
                record(claim.scope, claim.shown.key_id(), exposure);
            }
            reply
        }
        Err(error) => evaluation::refusal(&config, &head.route, &error),
    })
}

fn record(scope: Scope, key: KeyId, exposure: Exposure) {
    if exposure::is_first(&exposure, &scope)
        && let Err(Work::Record(scope, _, exposure)) = wait(Work::Record(scope, key, Box::new(exposure)))
    {
        exposure::forget(&exposure, &scope);
    }
}

/// Gives the work back when there is no room for it.
fn wait(work: Work) -> Result<(), Work> {
    WORK.with_borrow_mut(|waiting| {
        if waiting.len() >= WORK_COUNT_MAX {
            return Err(work);
        }
        waiting.push(work);
        Ok(())
    })
}
