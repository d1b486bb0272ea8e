//! Any bytes in the place of a payload, correctly signed: what a careless or hostile signer could send. Whatever is
//! admitted can be evaluated.
#![no_main]

use std::sync::OnceLock;

use flagfuse_determinism::signing::{root_key, scope, sign_around, NOW};
use flagfuse_shared::context::Context;
use flagfuse_shared::evaluate::Question;
use flagfuse_shared::ofrep::{write_bulk, Origin};
use flagfuse_shared::snapshot::{verify, Outcome, TrustedRoots};
use libfuzzer_sys::fuzz_target;
use serde_json::Value;

fuzz_target!(|bytes: &[u8]| {
    static ROOTS: OnceLock<TrustedRoots> = OnceLock::new();
    let roots = ROOTS.get_or_init(|| TrustedRoots::parse([root_key().as_str()], 1).expect("a sound key"));
    let Ok(Outcome::Newer(admitted)) = verify(&sign_around(bytes), roots, &scope(), None, NOW) else { return };
    let context = Context::for_unit("user-1");
    let mut out = String::new();
    let origin = Origin::new(admitted.held.version, &scope());
    write_bulk(&mut out, admitted.snapshot.evaluator(Question::new(&context, NOW)).all(), &origin);
    serde_json::from_str::<Value>(&out).expect("bodies are JSON");
});
