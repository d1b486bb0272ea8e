//! What the targets of the importers share.

use flagfuse_shared::environment::compile_environment;
use flagfuse_shared::ids::FlagKey;
use flagfuse_importers::Imported;

/// Whatever is imported compiles together, and each refusal says what and why.
pub fn check(imported: &Imported) {
    let keyed = imported
        .flags
        .iter()
        .map(|flag| (FlagKey::parse(&flag.key).expect("an imported flag has a key"), Ok(flag.clone())));
    let compiled = compile_environment(keyed, &imported.shared).expect("what is imported compiles");
    for (key, flag) in compiled.flags() {
        assert!(flag.is_ok(), "{key} was imported and is malformed: {:?}", flag.err());
    }
    for refused in &imported.refused {
        assert!(!refused.name.is_empty() && !refused.reason.is_empty(), "{refused:?}");
    }
}
