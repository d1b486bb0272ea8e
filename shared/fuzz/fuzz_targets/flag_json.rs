//! Any flags and what they share, as a JSON pair: compiled, and, when that went well, signed, verified and evaluated.
#![no_main]

use std::sync::OnceLock;

use flagfuse_determinism::signing::{root_key, scope, sign, NOW};
use flagfuse_shared::context::Context;
use flagfuse_shared::evaluate::Question;
use flagfuse_shared::definition::{FlagWire, SharedWire};
use flagfuse_shared::environment::compile_environment;
use flagfuse_shared::ids::FlagKey;
use flagfuse_shared::ofrep::{write_bulk, Origin};
use flagfuse_shared::snapshot::{verify, Outcome, TrustedRoots};
use libfuzzer_sys::fuzz_target;
use serde_json::{json, Value};

fn roots() -> &'static TrustedRoots {
    static ROOTS: OnceLock<TrustedRoots> = OnceLock::new();
    ROOTS.get_or_init(|| TrustedRoots::parse([root_key().as_str()], 1).expect("a sound key"))
}

fn contexts() -> &'static [Context] {
    static CONTEXTS: OnceLock<Vec<Context>> = OnceLock::new();
    CONTEXTS.get_or_init(|| {
        let full = json!({ "targetingKey": "user-1", "country": "DE", "age": 18, "version": "1.0.0-rc.1",
            "remoteAddress": "::ffff:10.1.2.3", "born": "2027-01-15T08:00:00Z", "tags": ["a", 1, null], "beta": true });
        [json!({}), full].map(|context| Context::from_json(context).expect("a sound context")).to_vec()
    })
}

fuzz_target!(|bytes: &[u8]| {
    let Ok((flags, shared)) = serde_json::from_slice::<(Vec<FlagWire>, SharedWire)>(bytes) else { return };
    let keyed = flags.iter().filter_map(|flag| Some((FlagKey::parse(&flag.key).ok()?, Ok(flag.clone()))));
    let Ok(compiled) = compile_environment(keyed, &shared) else { return };
    for (_, flag) in compiled.flags() {
        if let Err(fault) = flag {
            assert!(!fault.to_string().is_empty());
        }
    }
    if compiled.flags().all(|(_, flag)| flag.is_err()) {
        return;
    }
    let Ok(frame) = sign(flags, shared) else { return };
    let admitted = match verify(&frame, roots(), &scope(), None, NOW) {
        Ok(Outcome::Newer(admitted)) => admitted,
        other => panic!("what was just signed is refused: {other:?}"),
    };
    for context in contexts() {
        let mut out = String::new();
        let origin = Origin::new(admitted.held.version, &scope());
        write_bulk(&mut out, admitted.snapshot.evaluator(Question::new(context, NOW)).all(), &origin);
        serde_json::from_str::<Value>(&out).expect("bodies are JSON");
    }
});
