//! Any bytes as Unleash's features or export: refused, or flags that compile together.
#![no_main]

use flagfuse_importers::unleash::import;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    for environment in [None, Some("production")] {
        if let Ok(imported) = import(bytes, environment) {
            flagfuse_fuzz::check(&imported);
        }
    }
});
