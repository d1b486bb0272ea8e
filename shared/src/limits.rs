//! Every bound of the system in one place, each with the arithmetic or the platform limit behind it.

/// Native lane: 1,000,000 buckets, so one bucket is 0.0001 % of the units.
pub const BUCKET_COUNT: u32 = 1_000_000;

/// Flags in one snapshot. 5,000 flags of a typical 200–300 bytes fill the payload cap below.
pub const FLAG_COUNT_MAX: usize = 5_000;
/// Rules in one flag; an evaluation walks them in order, so this bounds its cost.
pub const RULE_COUNT_MAX: usize = 200;
/// Conditions in one rule.
pub const CONDITION_COUNT_MAX: usize = 64;
/// Values a membership condition may list.
pub const CONDITION_VALUE_COUNT_MAX: usize = 10_000;
/// Values a `contains_all` may demand: one bit each in the word that ticks them off.
pub const CONTAINS_ALL_VALUE_COUNT_MAX: usize = 64;
/// Patterns a `matches` may list; each is searched for on its own.
pub const REGEX_PATTERN_COUNT_MAX: usize = 8;
/// Conditions with patterns in one flag. The worst pattern takes some milliseconds on the longest text, and an
/// evaluation may meet all of them: this keeps one flag from stalling an isolate.
pub const REGEX_CONDITION_COUNT_MAX: usize = 8;
/// Patterns in one environment, in flags and segments together. In use a pattern holds 0.6 MB at most, as told below: 77 MB
/// of the isolate's 128 MB if each of them were the worst one and met the longest text.
pub const REGEX_ENVIRONMENT_COUNT_MAX: usize = 128;
/// Bytes of one pattern; the one semver.org recommends for a whole version has 179.
pub const REGEX_PATTERN_LEN_MAX: usize = 512;
/// Bytes of one compiled pattern, about 1,000 states on 64 bits: any plain text of the longest pattern fits, also
/// without regard to case. Each byte of a text visits each state at most once, so the longest text costs 4.2 million
/// visits at most. States are smaller on 32 bits: Wasm admits every pattern that a 64-bit control plane admitted.
pub const REGEX_COMPILED_LEN_MAX: usize = 32 * 1024;
/// Capturing groups in one pattern. A search keeps two tables with 16 bytes for each state and group, so a pattern in
/// use holds 0.6 MB at most; with 170 groups, which also fit the length, it would hold 5 MB.
pub const REGEX_GROUP_COUNT_MAX: usize = 16;
/// Variations in one flag.
pub const VARIATION_COUNT_MAX: usize = 64;
/// Slices of a cohort: at most ten ramp stages with an exposed and a control range each, and a spare factor.
pub const COHORT_SLICE_COUNT_MAX: usize = 64;
/// Attributes by whose values a fuse tells units apart.
pub const DIMENSION_COUNT_MAX: usize = 4;
/// Values of such an attribute that are counted by themselves; all others together are the rest.
pub const DIMENSION_VALUE_COUNT_MAX: usize = 20;
/// Bytes of such an attribute's name, and of such a value.
pub const DIMENSION_TEXT_LEN_MAX: usize = 64;
/// Sum of the weights of a split. Products with a bucket stay below 2^53, so every language agrees.
pub const SPLIT_WEIGHT_SUM_MAX: u64 = 1_000_000;

/// Bytes of a flag key. Keys travel in URLs, which intermediaries cut at 2 KiB or more.
pub const FLAG_KEY_LEN_MAX: usize = 256;
/// Bytes of a tenant, project or environment key: a DNS label's size, rounded up.
pub const SLUG_LEN_MAX: usize = 64;
/// Bytes of a variation or rule key.
pub const VARIATION_KEY_LEN_MAX: usize = 128;
/// Bytes of a metric key.
pub const METRIC_KEY_LEN_MAX: usize = 64;
/// Bytes of a unit (targeting key); an e-mail address is at most 320.
pub const UNIT_LEN_MAX: usize = 512;
/// Bytes of any other string in a flag or a context, but for the values that variations serve.
pub const STRING_LEN_MAX: usize = 4 * 1024;
/// Bytes of a text that a variation serves, alone or inside JSON, and of the JSON of an object or array that one serves: what
/// a question may have too. A flag answers with one of them, and a bulk with one for each flag.
pub const VALUE_LEN_MAX: usize = 64 * 1024;
/// Bytes of the JSON of an Unleash toggle's variation, whose payload is a text inside: one of the longest whose every byte
/// needs six (`\u0000`), with the names around it.
pub const UNLEASH_VALUE_LEN_MAX: usize = 6 * VALUE_LEN_MAX + 2 * STRING_LEN_MAX;
/// Nesting of any JSON value we keep.
pub const JSON_DEPTH_MAX: usize = 16;

/// Bytes of an OFREP or event request body.
pub const REQUEST_BODY_LEN_MAX: usize = 64 * 1024;
/// Attributes at the top level of an evaluation context.
pub const CONTEXT_ATTRIBUTE_COUNT_MAX: usize = 256;
/// Bytes of a request body of the admin API: the largest payload a flag list may have.
pub const ADMIN_BODY_LEN_MAX: usize = 1024 * 1024;

/// Bytes of the signed manifest envelope.
pub const MANIFEST_LEN_MAX: usize = 4 * 1024;
/// Bytes of the signed keyset envelope.
pub const KEYSET_LEN_MAX: usize = 16 * 1024;
/// Bytes of the payload. A Durable Object's SQLite row holds 2 MB: payload + keyset + manifest + columns must fit.
pub const PAYLOAD_LEN_MAX: usize = 1_572_864;
/// Bytes of a whole frame: three segments, each behind a u32 length.
pub const FRAME_LEN_MAX: usize = KEYSET_LEN_MAX + MANIFEST_LEN_MAX + PAYLOAD_LEN_MAX + 3 * 4;
/// Signatures on one envelope.
pub const SIGNATURE_COUNT_MAX: usize = 4;
/// Bytes of a passphrase for private keys. Argon2id with 64 MiB makes some ten guesses a second and core: twelve random
/// letters are then out of reach, and nobody types more than a kilobyte.
pub const PASSPHRASE_LEN_MIN: usize = 12;
/// Bytes of a passphrase at most.
pub const PASSPHRASE_LEN_MAX: usize = 1_024;
/// Bytes of a private key's file; one has some 400.
pub const KEY_FILE_LEN_MAX: usize = 4 * 1024;
/// Root keys of an installation. More than four signatures do not fit an envelope; more holders than nine meet never.
pub const ROOT_COUNT_MAX: usize = 9;
/// Keys of one role in a keyset.
pub const ROLE_KEY_COUNT_MAX: usize = 16;
/// A sequence number may not jump further than this: a stolen release key cannot exhaust the number space.
pub const SEQ_JUMP_MAX: u64 = 1 << 20;
/// How far in the future a manifest may be dated before it is refused, for clocks that disagree.
pub const CLOCK_SKEW_MS_MAX: u64 = 60_000;
/// Self-test vectors in a snapshot: enough to touch many flags, few enough to run in well under a millisecond.
pub const SELFTEST_COUNT_MAX: usize = 64;
/// Client keys in a snapshot.
pub const CLIENT_KEY_COUNT_MAX: usize = 1_000;

/// Age up to which an isolate answers from memory without asking (strict profile).
pub const STRICT_FRESH_MS: u64 = 100;
/// Age beyond which an isolate must ask before it answers (strict profile): the staleness bound.
pub const STRICT_STALE_MS: u64 = 250;
/// Time an isolate waits for a probe.
pub const PROBE_TIMEOUT_MS: u64 = 150;

/// Time between two beats of a control plane to a replica: a lost push heals within one.
pub const BEAT_INTERVAL_MS: u64 = 500;
/// How long a beat vouches for what it names: three intervals, so that one lost beat labels nothing stale and a cut link
/// is known within the next two. A relay can hold beats back no longer than this.
pub const BEAT_VALID_MS: u64 = 3 * BEAT_INTERVAL_MS;
/// Bytes of the signed beat envelope.
pub const BEAT_LEN_MAX: usize = 1024;
/// Bytes of a beat's issuer.
pub const BEAT_ISSUER_LEN_MAX: usize = 64;

/// Edge regions of an installation: the location hints a Durable Object can have.
pub const REGION_COUNT_MAX: usize = 9;
/// Replicas of one region. Each answers 500 to 1,000 probes a second.
pub const SHARD_COUNT_MAX: u16 = 16;
/// Environments one replica holds. A hello names all of them, in some 250 bytes each: 250 KB of a WebSocket's 1 MiB.
pub const REPLICA_ENVIRONMENT_COUNT_MAX: usize = 1_000;
/// Bytes of frames in one answer to a pull; what does not fit is asked for again.
pub const PULL_LEN_MAX: usize = 8 * 1024 * 1024;

/// Events in one client request.
pub const EVENT_COUNT_MAX: usize = 200;
/// Bytes of one event as it arrived.
pub const EVENT_LEN_MAX: usize = 4 * 1024;
/// Bytes of an event id; a UUID has 36.
pub const EVENT_ID_LEN_MAX: usize = 64;
/// Bytes of the name that a client's program gives itself, such as `web/1.4.0`.
pub const SDK_LEN_MAX: usize = 64;
/// Bytes of a ticket: a key's name of 16, a window's number, 22 characters of a keyed hash.
pub const TICKET_LEN_MAX: usize = 64;
/// Events in one batch from the edge to the control plane.
pub const BATCH_EVENT_COUNT_MAX: usize = 2_000;
/// Bytes of one such batch; with full events 2,000 would be 8 MB, so the buffer cuts at this size first.
pub const BATCH_LEN_MAX: usize = 4 * 1024 * 1024;
/// Bytes of the request that carries a batch: the rows and what names and separates them.
pub const BATCH_BODY_LEN_MAX: usize = BATCH_LEN_MAX + 2 * REQUEST_BODY_LEN_MAX;
/// Bytes of an export request of OpenTelemetry as it arrives: a collector's batch of 8,192 plain spans has some 3 MB.
pub const OTLP_BODY_LEN_MAX: usize = 4 * 1024 * 1024;
/// Bytes of such a request once it is decompressed.
pub const OTLP_LEN_MAX: usize = 16 * 1024 * 1024;
/// Bytes of the events that are made of such a request: 20,000 of typical 300 bytes.
pub const OTLP_EVENTS_LEN_MAX: usize = 8 * 1024 * 1024;
/// An event older than this is quarantined as `too_old`: the horizon of the additive dedupe.
pub const EVENT_AGE_MS_MAX: u64 = 14 * 24 * 3_600_000;
/// Outcomes of one enrolled unit on one day, in UTC; what comes after the tick in which it has more is quarantined as
/// `unit_flood`. A person who works all day in a page that reports each request's latency stays below it.
pub const UNIT_DAY_OUTCOME_COUNT_MAX: u64 = 10_000;
/// An event dated further ahead than this is quarantined as `future`.
pub const EVENT_SKEW_MS_MAX: u64 = 5 * 60_000;

/// Bytes of a report of how often toggles were asked for: 5,000 toggles of some 200 bytes.
pub const METRICS_BODY_LEN_MAX: usize = 1024 * 1024;
/// Toggles in one such report: flags of a snapshot.
pub const USAGE_TOGGLE_COUNT_MAX: usize = FLAG_COUNT_MAX;
/// Times that one report may say a toggle was asked for with one answer: a process that evaluates 100,000 times a second
/// and reports each hour counts 360 million. More is a counter that went wrong, and would drown everybody's numbers.
pub const USAGE_COUNT_MAX: u64 = 1_000_000_000;
/// Variants in one event of usage: 16 names of 128 bytes and the longest key leave room in 4 KiB.
pub const USAGE_VARIANT_COUNT_MAX: usize = 16;

/// Bytes of a document that is imported: LaunchDarkly's and Unleash's exports of 5,000 flags have some MB.
pub const IMPORT_LEN_MAX: usize = 16 * 1024 * 1024;
/// Values that the conditions of an imported document may list together, after its disjunctions have become rules of
/// their own: a value takes some 60 bytes, so at most 60 MB. Without it, 16 MB could spread two hundredfold.
pub const IMPORT_VALUE_COUNT_MAX: usize = 1_000_000;
/// Values that the alternatives of one imported flag or segment may list together: two full lists. 5,000 flags that
/// spread so far are 100 million values one after the other, some seconds of work.
pub const IMPORT_SPREAD_VALUE_COUNT_MAX: usize = 20_000;
/// Nesting of an imported document in YAML: deeper than any flag may be, and no matter for a stack.
pub const IMPORT_YAML_DEPTH_MAX: usize = 64;
/// Values of an imported document in YAML, its keys too, once aliases stand for what they name: 5,000 flags of 200. A value
/// takes some 60 bytes, and anchors keep a copy.
pub const IMPORT_YAML_VALUE_COUNT_MAX: usize = 1_000_000;
/// JSON values in one imported expression: two full lists of values.
pub const IMPORT_EXPRESSION_LEN_MAX: usize = 20_000;
/// Nesting of an imported expression.
pub const IMPORT_DEPTH_MAX: usize = 16;
/// Segments in one environment.
pub const SEGMENT_COUNT_MAX: usize = 1_000;
/// Rules in one segment.
pub const SEGMENT_RULE_COUNT_MAX: usize = 64;
/// Segments that name segments that name segments …: bounds the recursion of an evaluation.
pub const SEGMENT_DEPTH_MAX: usize = 8;
/// Units that a segment or a flag's targets list by name; more belong into an attribute.
pub const LISTED_UNIT_COUNT_MAX: usize = 10_000;
/// Prerequisites of one flag.
pub const PREREQUISITE_COUNT_MAX: usize = 16;
/// Prerequisites that have prerequisites …: bounds the recursion of an evaluation.
pub const PREREQUISITE_DEPTH_MAX: usize = 16;
/// Mutual-exclusion layers in one environment.
pub const LAYER_COUNT_MAX: usize = 100;

/// Contexts that a flag is sampled with when a change reaches it: one for each 0.1 % of its buckets.
pub const DIFF_SAMPLE_COUNT: usize = 1_000;
/// Contexts of one flag when a fuse opens, which holds the database's one writer against events: one for each 0.5 %.
pub const DIFF_TRIP_SAMPLE_COUNT: usize = 200;
/// Contexts of one flag when a change reaches very many.
pub const DIFF_SAMPLE_COUNT_MIN: usize = 40;
/// Decisions that are sampled for one change: 5,000 flags with 40 contexts each. A context takes some microseconds to make
/// and to ask twice, so that no change holds the database's one writer longer than a second.
pub const DIFF_DECISION_COUNT_MAX: usize = 200_000;
/// Boundary values of one attribute.
pub const DIFF_VALUE_COUNT_MAX: usize = 128;
/// Units that are tried for each part of the buckets: e^-8 of the parts, one of 3,000, stay without one of their own.
pub const DIFF_UNIT_TRY_COUNT: usize = 8;
/// Flags that the answer to a change tells in full, those that change most; all of them are counted.
pub const DIFF_FLAG_TOLD_COUNT_MAX: usize = 50;
/// Moves of one flag that are told, the commonest.
pub const DIFF_MOVE_TOLD_COUNT_MAX: usize = 8;
/// Seconds that a version stays with a stage of regions before the next one gets it: a day. A snapshot is signed anew each
/// day, and a version that nobody has got by then would be overtaken by one that has to wait again.
pub const SOAK_S_MAX: u64 = 86_400;
/// Networks that an environment may ask for before what clients send trips a fuse; so many of each metric and arm are kept.
pub const MIN_NETWORKS_MAX: u64 = 16;
/// Enrolments of one key from one network that an environment may let pass in a minute.
pub const ENROLMENTS_PER_MINUTE_MAX: u64 = 1_000_000;
/// Listeners of one notifier object. Each idle one is a hibernating WebSocket, of which an object may have 32,768; telling
/// all of them at once takes some 100 ms.
pub const LISTENER_COUNT_MAX: usize = 10_000;
/// Notifier objects of one environment in one region.
pub const NOTIFIER_COUNT_MAX: u16 = 64;
/// Event streams that one isolate relays, of some 20 KiB each: 40 MB of its 128.
pub const STREAM_COUNT_MAX: usize = 2_000;
/// Those of one client, a key and an address: the tabs of some people behind one line.
pub const STREAM_SHARE_MAX: usize = 20;
/// Over how long listeners are told of an ordinary publication: with 10,000 of them, 5,000 come back in a second.
pub const NEWS_SPREAD_MS_MAX: u64 = 2_000;
/// Time between two messages to one listener about ordinary publications.
pub const NEWS_INTERVAL_MS: u64 = 1_000;
/// How long a message may wait for a client that does not read. A second brings one at most, of 100 bytes, so no more
/// than 3 KB wait for anybody.
pub const STREAM_WRITE_MS_MAX: u64 = 30_000;
/// Bytes of a stream token: two slugs, a key's name, a time, 32 hexadecimal digits; some 200 at most.
pub const STREAM_TOKEN_LEN_MAX: usize = 3 * SLUG_LEN_MAX + 64;
