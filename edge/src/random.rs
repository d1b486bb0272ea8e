//! The only place that draws random numbers. Everything else is told what came out.

use flagfuse_shared::ids::UnixMillis;
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

/// The same as a `UUIDv7`: those of one moment stand together in an index.
pub fn uuid_at(now: UnixMillis) -> String {
    time_ordered(&uuid(), now)
}

/// The random digits behind a time.
fn time_ordered(uuid: &str, now: UnixMillis) -> String {
    let ms = now.0 & 0xffff_ffff_ffff;
    let random = uuid.get(15..).unwrap_or_default();
    format!("{:08x}-{:04x}-7{random}", ms >> 16, ms & 0xffff)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn later_names_come_behind_earlier_ones() {
        let of = |ms| time_ordered("6fa459ea-ee8a-4ca4-894e-db77e160355e", UnixMillis(ms));
        assert_eq!(of(1_645_557_742_000), "017f22e2-79b0-7ca4-894e-db77e160355e");
        assert!(of(1_645_557_742_000) < of(1_645_557_742_001));
    }
}
