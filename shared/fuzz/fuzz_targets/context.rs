//! Any request body, asked of fixed environments: no panic, and every answer is JSON.
#![no_main]

use std::sync::OnceLock;

use flagfuse_determinism::signing::scope;
use flagfuse_shared::evaluate::{Freshness, Question};
use flagfuse_shared::ids::UnixMillis;
use flagfuse_shared::ofrep::{bulk_etag, error_body, parse_request, write_bulk, Circumstances, Origin};
use flagfuse_shared::snapshot::Admitted;
use libfuzzer_sys::fuzz_target;
use serde_json::Value;

/// Environments with every feature; some thirty flags are enough to meet every operator.
fn environments() -> &'static [Admitted] {
    static ENVIRONMENTS: OnceLock<Vec<Admitted>> = OnceLock::new();
    ENVIRONMENTS.get_or_init(|| {
        (0..3).map(|seed| flagfuse_determinism::environment(seed).expect("a sound seed")).collect()
    })
}

fuzz_target!(|body: &[u8]| {
    let parsed = |text: &str| serde_json::from_str::<Value>(text).expect("bodies are JSON");
    let context = match parse_request(body) {
        Ok(context) => context,
        Err(error) => {
            parsed(&error_body(Some("key"), error.code(), &error.to_string()));
            return;
        }
    };
    for (at, admitted) in (0_u64..).zip(environments()) {
        let freshness = if body.len() % 8 == 0 { Freshness::Stale } else { Freshness::Fresh };
        let now = UnixMillis(1_799_999_999_999 + at);
        let question = Question { freshness, random: at, ..Question::new(&context, now) };
        let origin = Origin::new(admitted.held.version, &scope());
        let mut out = String::new();
        write_bulk(&mut out, admitted.snapshot.evaluator(question).all(), &origin);
        let flags = &parsed(&out)["flags"];
        assert_eq!(flags.as_array().map(Vec::len), Some(admitted.snapshot.flags().count()));
        bulk_etag(&context, &origin, Circumstances { freshness, stretch: 0, random: at });
    }
});
