//! The routes that evaluate flags, over a snapshot that is there: plain request in, plain answer out. Never waits.

use flagfuse_shared::ids::UnixMillis;
use flagfuse_shared::ofrep::parse_request;
use flagfuse_shared::snapshot::AutoExposure;

use crate::config::Config;
use crate::error::EdgeError;
use crate::http::gate::Claim;
use crate::http::labels;
use crate::http::ofrep::{self, Answered, EvaluationInput};
use crate::http::reply::Reply;
use crate::http::request::RequestHead;
use crate::http::route::Route;
use crate::http::unleash;
use crate::snapshot::served::Served;

/// Answers an evaluation to who has this claim. An exposure is there where the environment wants it recorded.
pub fn answer(
    config: &Config,
    claim: &Claim,
    served: &Served,
    head: &RequestHead,
    body: &[u8],
    now: UnixMillis,
) -> Result<Answered, EdgeError> {
    let (scope, shown) = (&claim.scope, claim.shown.key_id());
    let have = head.headers.none_match.as_deref();
    let input = |context| EvaluationInput::new(scope, served, shown, context, now);
    match &head.route {
        Route::OfrepSingle { key } => {
            let flag_key = key
                .as_deref()
                .ok_or_else(|| EdgeError::PathMalformed { detail: "the flag key is not UTF-8".to_owned() })?;
            let context = parse_request(body)?;
            let answered = ofrep::single(config, &input(&context), flag_key);
            let is_recorded = served.compiled.snapshot.settings().auto_exposure == AutoExposure::Single;
            Ok(Answered { exposure: answered.exposure.filter(|_| is_recorded), ..answered })
        }
        Route::OfrepBulk => {
            let context = parse_request(body)?;
            Ok(Answered::alone(ofrep::bulk(config, &input(&context), have)))
        }
        Route::UnleashFrontend { listing } => {
            let context = unleash::context(head, body)?;
            Ok(Answered::alone(unleash::answer(config, &input(&context), *listing, have)))
        }
        _ => Err(EdgeError::RouteNotFound),
    }
}

/// The answer to a request that cannot be evaluated: OFREP's single evaluations name their flag, and all say that no
/// snapshot answered.
pub fn refusal(config: &Config, route: &Route, error: &EdgeError) -> Reply {
    let flag_key = match route {
        Route::OfrepSingle { key } => Some(key.as_deref().unwrap_or_default()),
        _ => None,
    };
    let mut reply = error.reply(flag_key);
    if route.is_evaluation() {
        labels::label_unanswered(&mut reply, config);
    }
    reply
}
