//! The evaluator for browsers and Node.js: what JavaScript sees of it. Nothing but glue; `session` holds it together and
//! `flagfuse_shared` decides.

#[expect(clippy::float_cmp, reason = "the macro compares the numbers it gives to JavaScript")]
mod freshness;
pub mod session;

use wasm_bindgen::prelude::*;

pub use crate::freshness::Freshness;
use crate::session::{Circumstance, Session};

/// Flags of one environment, opened from a signed frame: nothing can be evaluated that was not verified.
#[wasm_bindgen]
#[derive(Debug)]
pub struct Evaluator(Session);

#[wasm_bindgen]
impl Evaluator {
    /// Verifies `frame` for `scope`, which is `tenant/project/environment`, under root keys in base64 of which
    /// `rootThreshold` have to have signed the keyset. Throws an error that begins with a stable code, such as `E_SIG`.
    #[wasm_bindgen(constructor)]
    pub fn new(
        frame: &[u8],
        #[wasm_bindgen(js_name = rootKeys)] root_keys: Vec<String>,
        #[wasm_bindgen(js_name = rootThreshold)] root_threshold: usize,
        scope: &str,
        #[wasm_bindgen(js_name = nowMs)] now_ms: f64,
    ) -> Result<Evaluator, JsError> {
        Ok(Self(Session::open(frame, &root_keys, root_threshold, scope, now_ms)?))
    }

    /// Goes on with another frame of the same environment. False when it is the one that is held; throws when it is older
    /// or otherwise refused, and then the held one stays.
    pub fn update(
        &mut self,
        frame: &[u8],
        #[wasm_bindgen(js_name = nowMs)] now_ms: f64,
    ) -> Result<bool, JsError> {
        Ok(self.0.update(frame, now_ms)?)
    }

    /// Version of the snapshot, `epoch.seq`.
    #[wasm_bindgen(getter)]
    pub fn version(&self) -> String {
        self.0.version().to_string()
    }

    /// The body of an OFREP single evaluation. `contextJson` is the context as JSON text, empty for none. `random` decides
    /// where Unleash would roll dice: take a new number for each question. Errors are bodies too.
    pub fn evaluate(
        &self,
        #[wasm_bindgen(js_name = flagKey)] flag_key: &str,
        #[wasm_bindgen(js_name = contextJson)] context_json: &str,
        #[wasm_bindgen(js_name = nowMs)] now_ms: f64,
        random: u64,
        freshness: Option<Freshness>,
    ) -> String {
        self.0.evaluate(flag_key, context_json, circumstance(now_ms, random, freshness))
    }

    /// The body of an OFREP bulk evaluation: all flags, ordered by key.
    #[wasm_bindgen(js_name = evaluateAll)]
    pub fn evaluate_all(
        &self,
        #[wasm_bindgen(js_name = contextJson)] context_json: &str,
        #[wasm_bindgen(js_name = nowMs)] now_ms: f64,
        random: u64,
        freshness: Option<Freshness>,
    ) -> String {
        self.0.evaluate_all(context_json, circumstance(now_ms, random, freshness))
    }
}

fn circumstance(now_ms: f64, random: u64, freshness: Option<Freshness>) -> Circumstance {
    let freshness = match freshness {
        None | Some(Freshness::Fresh) => flagfuse_shared::evaluate::Freshness::Fresh,
        Some(Freshness::Stale) => flagfuse_shared::evaluate::Freshness::Stale,
    };
    Circumstance { now: session::millis(now_ms), random, freshness }
}
