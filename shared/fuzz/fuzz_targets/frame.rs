//! Any bytes in the place of a frame: refused with a code or admitted, never a panic.
#![no_main]

use std::sync::OnceLock;

use flagfuse_determinism::signing::{NOW, root_key, scope};
use flagfuse_shared::snapshot::{TrustedRoots, verify};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    static ROOTS: OnceLock<TrustedRoots> = OnceLock::new();
    let roots = ROOTS.get_or_init(|| TrustedRoots::parse([root_key().as_str()], 1).expect("a sound key"));
    if let Err(refusal) = verify(bytes, roots, &scope(), None, NOW) {
        assert!(!refusal.to_string().is_empty());
    }
});
