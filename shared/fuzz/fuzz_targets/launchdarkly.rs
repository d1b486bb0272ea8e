//! Any bytes as LaunchDarkly's flag data: refused, or flags that compile together.
#![no_main]

use flagfuse_importers::launchdarkly::import;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(imported) = import(bytes) {
        flagfuse_fuzz::check(&imported);
    }
});
