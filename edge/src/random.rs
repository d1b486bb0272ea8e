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

/// 53 random bits, for questions that Unleash would answer with dice; not for secrets.
pub fn number() -> u64 {
    const RANGE: f64 = 9_007_199_254_740_992.0;
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "0 to 2^53, which doubles hold exactly"
    )]
    let number = (unit_interval() * RANGE) as u64;
    // The low bits of a small number and of a large one should both differ: spread them over the word.
    number.wrapping_mul(0x9e37_79b9_7f4a_7c15)
}
