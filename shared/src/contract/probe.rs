//! The isolate's question to its replica: do you have something newer? And the headers of every evaluation.

/// Path of a probe inside the edge; `/tenant/project/environment` follows.
pub const PROBE_PATH: &str = "/probe";
/// Request header: the version the isolate has, `epoch.seq`; absent when it has none.
pub const HAVE_HEADER: &str = "x-flags-have";
/// Version that answered, `epoch.seq`.
pub const VERSION_HEADER: &str = "x-flags-version";
/// Request header: never answer from an older version than this.
pub const MIN_VERSION_HEADER: &str = "x-flags-min-version";
/// Milliseconds since the version was last confirmed by the replica.
pub const AGE_HEADER: &str = "x-flags-age-ms";
/// Milliseconds since the replica last heard a valid beat; on a probe's reply and on every evaluation.
pub const BEAT_AGE_HEADER: &str = "x-flags-beat-age-ms";
/// On a probe's reply: `1` when a beat vouches at that moment that the replica holds what it should.
pub const VOUCHED_HEADER: &str = "x-flags-vouched";
/// On a probe's reply: a replica under load asks its isolates to answer from memory up to this age. Never beyond H.
pub const FRESH_HEADER: &str = "x-flags-fresh-ms";
/// Where the answer came from: `memory`, `probe`, `bootstrap` or `default`.
pub const SOURCE_HEADER: &str = "x-flags-source";
/// `fresh`, `stale`, `stale-bootstrap` or `none`.
pub const STATE_HEADER: &str = "x-flags-state";
/// Region of the replica.
pub const REGION_HEADER: &str = "x-flags-region";
/// Label of the isolate, where one is configured.
pub const ISOLATE_HEADER: &str = "x-flags-isolate";
