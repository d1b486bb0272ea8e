//! The only place that draws random numbers. Everything else is told what came out.

use worker::wasm_bindgen;
use worker::wasm_bindgen::prelude::wasm_bindgen;

#[wasm_bindgen]
extern "C" {
    #[wasm_bindgen(js_namespace = crypto, js_name = randomUUID)]
    fn random_uuid() -> String;
}

/// 122 random bits as a UUID's text, from the platform's cryptographic source.
pub fn uuid() -> String {
    random_uuid()
}

/// Uniform in 0..1; for jitter, not for secrets.
pub fn unit_interval() -> f64 {
    worker::js_sys::Math::random()
}
