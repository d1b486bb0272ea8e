//! The attack table: what an attacker does, as frames, and the code that each must be refused with. Never pushes
//! anything: the same rows run against the verifier alone and against a real replica.

use flagfuse_shared::contract::replica::{HeldMap, map_digest};
use flagfuse_shared::ids::SnapshotVersion;
use flagfuse_shared::limits::{BEAT_VALID_MS, CLOCK_SKEW_MS_MAX, SEQ_JUMP_MAX};
use flagfuse_shared::snapshot::beat::{BEAT_TYPE, Beat, sign_beat};
use flagfuse_shared::snapshot::envelope::{Segments, encode_frame, split_frame};
use flagfuse_shared::snapshot::manifest::{KEYSET_TYPE, MANIFEST_TYPE, READER_VERSION};
use serde_json::{Value, json};

use super::forge::{Draft, Forge, Seed, envelope, key, public};

/// One hostile frame.
#[derive(Debug, Clone)]
pub(crate) struct Attack {
    /// What the attacker does.
    pub(crate) what: &'static str,
    /// The code it must be refused with.
    pub(crate) code: &'static str,
    /// The frame, pushed for the victim's environment.
    pub(crate) frame: Vec<u8>,
}

/// A group of rows.
pub(crate) type Row = fn(&Forge) -> Vec<Attack>;

/// Every row whose attack is a frame, by name.
pub(crate) const ROWS: [(&str, Row); 13] = [
    ("replays", replays),
    ("wrong_keys", wrong_keys),
    ("revoked_keys", revoked_keys),
    ("thresholds", thresholds),
    ("foreign_scopes", foreign_scopes),
    ("mixed_versions", mixed_versions),
    ("dates", dates),
    ("fast_forward", fast_forward),
    ("lengths", lengths),
    ("hostile_json", hostile_json),
    ("wrong_documents", wrong_documents),
    ("readers", readers),
    ("poison", poison),
];

const STRANGER: Seed = [0x51; 32];

fn attack(what: &'static str, code: &'static str, frame: Vec<u8>) -> Attack {
    Attack { what, code, frame }
}

pub(crate) fn replays(forge: &Forge) -> Vec<Attack> {
    let held = forge.held;
    let version = |epoch, seq| forge.draft(SnapshotVersion { epoch, seq }, "replayed").frame();
    vec![
        attack("an older sequence number", "E_ROLLBACK", version(held.epoch, held.seq - 1)),
        attack("the held version with other content", "E_EQUIV", version(held.epoch, held.seq)),
        attack("an older epoch with a later number", "E_EPOCH", version(held.epoch - 1, held.seq + 5)),
    ]
}

pub(crate) fn wrong_keys(forge: &Forge) -> Vec<Attack> {
    let by = |seed: Seed| forge.fresh().with(|draft| draft.manifest_signers = vec![seed]).frame();
    let manifest = forge.fresh().manifest.to_string();
    let by_stranger = envelope(MANIFEST_TYPE, manifest.as_bytes(), &[STRANGER]);
    let trusted = envelope(MANIFEST_TYPE, manifest.as_bytes(), &[forge.release]);
    let swapped = swap_key_ids(&by_stranger, &trusted);
    let self_made = forge.fresh().with(|draft| {
        draft.keyset["roles"]["release"]["keys"] = json!([public(&STRANGER)]);
        draft.keyset_signers = vec![STRANGER];
        draft.manifest_signers = vec![STRANGER];
    });
    vec![
        attack("a key nobody knows", "E_KEY", by(STRANGER)),
        attack("the freshness key on a manifest", "E_KEY", by(forge.freshness)),
        attack("the root key on a manifest", "E_KEY", by(forge.root)),
        attack("the id of a trusted key on another's signature", "E_SIG", forge.fresh().frame_of(&swapped)),
        attack("a keyset of the attacker's own", "E_KEY", self_made.frame()),
        attack("a keyset signed by the release key", "E_KEY", {
            forge.fresh().with(|draft| draft.keyset_signers = vec![forge.release]).frame()
        }),
    ]
}

fn swap_key_ids(into: &[u8], from: &[u8]) -> Vec<u8> {
    let mut into: Value = serde_json::from_slice(into).expect("an envelope");
    let from: Value = serde_json::from_slice(from).expect("an envelope");
    into["signatures"][0]["keyid"] = from["signatures"][0]["keyid"].clone();
    into.to_string().into_bytes()
}

/// The victim holds keyset `keyset_version`; the one before listed a key that this one dropped.
pub(crate) fn revoked_keys(forge: &Forge) -> Vec<Attack> {
    let revoked: Seed = [0x77; 32];
    let under_old = forge.fresh().with(|draft| {
        draft.keyset["keyset_version"] = json!(forge.keyset_version - 1);
        draft.keyset["roles"]["release"]["keys"] = json!([public(&revoked)]);
        draft.manifest["keyset_version"] = json!(forge.keyset_version - 1);
        draft.manifest_signers = vec![revoked];
    });
    let under_new = forge.fresh().with(|draft| draft.manifest_signers = vec![revoked]);
    let claims_new = under_old.clone().with(|draft| {
        draft.manifest["keyset_version"] = json!(forge.keyset_version);
    });
    vec![
        attack("a revoked key under the keyset that listed it", "E_KEYSET", under_old.frame()),
        attack("a revoked key under the keyset that dropped it", "E_KEY", under_new.frame()),
        attack("a manifest that names another keyset than it came with", "E_KEYSET", claims_new.frame()),
    ]
}

pub(crate) fn thresholds(forge: &Forge) -> Vec<Attack> {
    let second: Seed = [0x22; 32];
    let two_of_two = |signers: Vec<Seed>| {
        forge.fresh().with(|draft| {
            draft.keyset["roles"]["release"] =
                json!({ "threshold": 2, "keys": [public(&forge.release), public(&second)] });
            draft.manifest_signers = signers;
        })
    };
    let listed_twice = forge.fresh().with(|draft| {
        draft.keyset["roles"]["release"] =
            json!({ "threshold": 2, "keys": [public(&forge.release), public(&forge.release)] });
        draft.manifest_signers = vec![forge.release, forge.release];
    });
    let zero = forge.fresh().with(|draft| draft.keyset["roles"]["release"]["threshold"] = json!(0));
    vec![
        attack("one signature of two", "E_SIG", two_of_two(vec![forge.release]).frame()),
        attack("one signature twice", "E_SIG", two_of_two(vec![forge.release, forge.release]).frame()),
        attack("one key listed twice, signing twice", "E_SIG", listed_twice.frame()),
        attack("a threshold of nothing", "E_KEY", zero.frame()),
        attack("no signature at all", "E_ENV", two_of_two(Vec::new()).frame()),
        attack("five signatures", "E_ENV", two_of_two(vec![forge.release; 5]).frame()),
    ]
}

pub(crate) fn foreign_scopes(forge: &Forge) -> Vec<Attack> {
    let named = |field: &str, to: &str| forge.fresh().with(|draft| draft.manifest[field] = json!(to)).frame();
    let view = forge.fresh().with(|draft| draft.manifest["view"] = json!("partial")).frame();
    vec![
        attack("another tenant's snapshot", "E_SCOPE", named("tenant", "somebody")),
        attack("another project's snapshot", "E_SCOPE", named("project", "other")),
        attack("another environment's snapshot", "E_SCOPE", named("environment", "test")),
        attack("a view nobody knows", "E_SCHEMA", view),
    ]
}

pub(crate) fn mixed_versions(forge: &Forge) -> Vec<Attack> {
    let six = forge.draft(forge.next(), "six");
    let seven = forge.draft(forge.next(), "seven");
    let mixed = seven.clone().with(|draft| draft.payload.clone_from(&six.payload));
    let longer = seven.with(|draft| draft.payload.push(b' '));
    vec![
        attack("the manifest of one version over the payload of another", "E_DIGEST", mixed.frame()),
        attack("a payload with a byte more than announced", "E_DIGEST", longer.frame()),
    ]
}

pub(crate) fn dates(forge: &Forge) -> Vec<Attack> {
    let ahead = forge.now.plus(CLOCK_SKEW_MS_MAX + 30_000);
    let future = forge.fresh().with(|draft| draft.manifest["created_ms"] = json!(ahead));
    vec![attack("a snapshot dated in the future", "E_FUTURE", future.frame())]
}

pub(crate) fn fast_forward(forge: &Forge) -> Vec<Attack> {
    let far = SnapshotVersion { seq: forge.held.seq + SEQ_JUMP_MAX + 1, ..forge.held };
    let end = SnapshotVersion { seq: u64::MAX, ..forge.held };
    let thief = |version| forge.draft(version, "thief").frame();
    vec![
        attack("a stolen key jumps ahead", "E_FASTFWD", thief(far)),
        attack("a stolen key uses up all numbers", "E_FASTFWD", thief(end)),
        attack(
            "a stolen key opens an epoch of its own",
            "E_EPOCH",
            thief(SnapshotVersion { epoch: forge.held.epoch + 1, seq: 1 }),
        ),
    ]
}

pub(crate) fn lengths(forge: &Forge) -> Vec<Attack> {
    let good = forge.good();
    let mut appended = good.clone();
    appended.push(0);
    let huge = |at: usize| {
        let mut frame = good.clone();
        frame[at..at + 4].copy_from_slice(&u32::MAX.to_be_bytes());
        frame
    };
    let keyset_len = split_frame(&good).expect("a frame").keyset.len();
    let long_keyset = {
        let segments = split_frame(&good).expect("a frame");
        encode_frame(Segments { keyset: &vec![b' '; 16 * 1024 + 1], ..segments })
    };
    vec![
        attack("nothing", "E_TRUNC", Vec::new()),
        attack("a byte behind the end", "E_SIZE", appended),
        attack("half of it", "E_TRUNC", good[..good.len() / 2].to_vec()),
        attack("a first segment of 4 GiB", "E_SIZE", huge(0)),
        attack("a second segment of 4 GiB", "E_SIZE", huge(4 + keyset_len)),
        attack("a keyset above its cap", "E_SIZE", long_keyset),
        attack("a kilobyte of ones", "E_SIZE", vec![0xff; 1_024]),
    ]
}

pub(crate) fn hostile_json(forge: &Forge) -> Vec<Attack> {
    let draft = forge.fresh();
    let manifest = draft.manifest.to_string();
    let signed = |body: String| draft.frame_around(body.as_bytes());
    let outside = |text: String| draft.frame_of(text.as_bytes());
    let envelope_text = String::from_utf8(envelope(MANIFEST_TYPE, manifest.as_bytes(), &[forge.release]))
        .expect("an envelope is text");
    let inner = |from: &str, to: &str| {
        assert!(manifest.contains(from), "{from} is not in {manifest}");
        signed(manifest.replacen(from, to, 1))
    };
    let seq = format!("\"seq\":{}", forge.next().seq);
    vec![
        attack("a duplicate field around it", "E_ENV", {
            outside(envelope_text.replacen('{', "{\"payload\":\"\",", 1))
        }),
        attack("an unknown field around it", "E_ENV", outside(envelope_text.replacen('{', "{\"x\":1,", 1))),
        attack("a byte order mark around it", "E_ENV", outside(format!("\u{feff}{envelope_text}"))),
        attack("text behind it", "E_ENV", outside(format!("{envelope_text}{{}}"))),
        attack("3,000 levels around it", "E_ENV", outside("[".repeat(3_000))),
        attack("a payload that is no base64", "E_ENV", {
            outside(envelope_text.replacen("\"payload\":\"", "\"payload\":\"!", 1))
        }),
        attack("a duplicate field, signed", "E_SCHEMA", inner(&seq, &format!("{seq},{seq}"))),
        attack("an unknown field, signed", "E_SCHEMA", inner(&seq, &format!("{seq},\"x\":1"))),
        attack("no number, signed", "E_SCHEMA", inner(&seq, "\"seq\":NaN")),
        attack("a number without end, signed", "E_SCHEMA", inner(&seq, "\"seq\":1e400")),
        attack("a negative number, signed", "E_SCHEMA", inner(&seq, "\"seq\":-1")),
        attack("a lone surrogate, signed", "E_SCHEMA", inner("\"view\":\"full\"", "\"view\":\"\\ud800\"")),
        attack("a byte order mark, signed", "E_SCHEMA", signed(format!("\u{feff}{manifest}"))),
        attack("1,500 levels, signed", "E_SCHEMA", inner(&seq, &format!("\"seq\":{}", "[".repeat(1_500)))),
    ]
}

pub(crate) fn wrong_documents(forge: &Forge) -> Vec<Attack> {
    let draft = forge.fresh();
    let manifest = draft.manifest.to_string();
    let beat = beat(forge, 1);
    let beat_as_manifest =
        envelope(MANIFEST_TYPE, &serde_json::to_vec(&beat).expect("JSON"), &[forge.release]);
    let keyset = envelope(KEYSET_TYPE, forge.keyset().to_string().as_bytes(), &[forge.root]);
    let manifest_as_beat = envelope(BEAT_TYPE, manifest.as_bytes(), &[forge.release]);
    vec![
        attack("a beat in the manifest's place", "E_TYPE", draft.frame_of(&signed_beat(forge, &beat))),
        attack("a beat's content under the manifest's type", "E_SCHEMA", draft.frame_of(&beat_as_manifest)),
        attack("a manifest under the beat's type", "E_TYPE", draft.frame_of(&manifest_as_beat)),
        attack("a keyset in the manifest's place", "E_TYPE", draft.frame_of(&keyset)),
    ]
}

pub(crate) fn readers(forge: &Forge) -> Vec<Attack> {
    let newer = forge.fresh().with(|draft| draft.manifest["reader_min"] = json!(READER_VERSION + 1));
    let selftest = forge.fresh().with(|draft| draft.manifest["selftest_sha256"] = json!("0".repeat(64)));
    vec![
        attack("a snapshot for readers to come", "E_SELFTEST", newer.frame()),
        attack("answers that this reader does not give", "E_SELFTEST", selftest.frame()),
    ]
}

/// A valid signature over content that is none: an insider with the release key.
pub(crate) fn poison(forge: &Forge) -> Vec<Attack> {
    let records = forge.fresh().payload;
    let text = |payload: &str| around(forge, "records", payload.as_bytes());
    // Format, profile and settings as they were, no client keys, nothing shared; then flags, and no self-test.
    let of = |flag_count: &[u8], flags: &[u8]| {
        let payload = [&records[..3], &[0, 0, 0, 0], flag_count, flags, &[0]].concat();
        around(forge, "records", &payload)
    };
    // Keys of five digits, each before an empty record: 6,000 in two bytes of seven bits each.
    let many: Vec<u8> =
        (0..6_000).flat_map(|at| [&[5], format!("{at:05}").as_bytes(), &[0]].concat()).collect();
    let mut long_record = records.clone();
    long_record.extend_from_slice(&[0xff; 64]);
    vec![
        attack("6,000 flags", "E_DECODE", of(&[0xf0, 0x2e], &many)),
        attack("one flag twice", "E_DECODE", of(&[2], &[1, b'f', 0, 1, b'f', 0])),
        attack("a flag without a key", "E_DECODE", of(&[1], &[0, 0])),
        attack("no records", "E_DECODE", text("NaN")),
        attack("a byte order mark", "E_DECODE", text("\u{feff}{}")),
        attack("10,000 levels", "E_DECODE", text(&"[".repeat(10_000))),
        attack("an encoding from before", "E_SCHEMA", around(forge, "json", b"{}")),
        attack("nothing at all", "E_DECODE", around(forge, "records", b"")),
        attack("records cut off", "E_DECODE", around(forge, "records", &records[..records.len() / 2])),
        attack("records with a tail", "E_DECODE", around(forge, "records", &long_record)),
        attack("counts of 4 billion", "E_DECODE", around(forge, "records", &[0xff; 4_096])),
    ]
}

fn around(forge: &Forge, codec: &str, payload: &[u8]) -> Vec<u8> {
    forge.fresh().announcing(codec, payload).frame()
}

/// A beat of now for a replica that holds nothing.
pub(crate) fn beat(forge: &Forge, beat_no: u64) -> Beat {
    Beat {
        issuer: "attacker".to_owned(),
        map_sha256: map_digest(&HeldMap::new()),
        count: 0,
        issued_ms: forge.now,
        valid_ms: BEAT_VALID_MS,
        beat_no,
    }
}

/// Signs a beat with the freshness key.
pub(crate) fn signed_beat(forge: &Forge, beat: &Beat) -> Vec<u8> {
    sign_beat(beat, &[key(&forge.freshness)]).expect("a beat can be signed")
}

/// Beats that a replica must refuse, after it heard one with the number 10 at the same time.
pub(crate) fn beats(forge: &Forge) -> Vec<Attack> {
    let at = |issued_ms| signed_beat(forge, &Beat { issued_ms, ..beat(forge, 20) });
    let by = |seed: Seed| sign_beat(&beat(forge, 20), &[key(&seed)]).expect("a beat can be signed");
    let manifest = envelope(MANIFEST_TYPE, forge.fresh().manifest.to_string().as_bytes(), &[forge.release]);
    vec![
        attack("a beat again", "E_ROLLBACK", signed_beat(forge, &beat(forge, 10))),
        attack("an earlier beat", "E_ROLLBACK", signed_beat(forge, &beat(forge, 9))),
        attack("a beat recorded a minute ago", "E_EXPIRED", at(forge.now.minus(60_000))),
        attack("a beat that claims to vouch for ever", "E_EXPIRED", {
            let for_ever = Beat { valid_ms: u64::MAX, issued_ms: forge.now.minus(60_000), ..beat(forge, 20) };
            signed_beat(forge, &for_ever)
        }),
        attack("a beat dated in the future", "E_FUTURE", at(forge.now.plus(CLOCK_SKEW_MS_MAX + 30_000))),
        attack("a beat by the release key", "E_KEY", by(forge.release)),
        attack("a beat by a stranger", "E_KEY", by(STRANGER)),
        attack("a manifest in a beat's place", "E_TYPE", manifest),
        attack("a beat above its cap", "E_SIZE", vec![b' '; 2_048]),
        attack("no JSON", "E_ENV", vec![0xff; 32]),
    ]
}

/// The thief's version that the victim took, and the operator's answer: a new epoch under a keyset without the stolen key.
pub(crate) fn recovery(forge: &Forge) -> (Draft, Draft) {
    let stolen_to = SnapshotVersion { seq: forge.held.seq + SEQ_JUMP_MAX, ..forge.held };
    let thief = forge.draft(stolen_to, "thief");
    let replacement: Seed = [0x99; 32];
    let epoch = forge.held.epoch + 1;
    let operator = forge.draft(SnapshotVersion { epoch, seq: 1 }, "operator").with(|draft| {
        draft.keyset["keyset_version"] = json!(forge.keyset_version + 1);
        draft.keyset["roles"]["release"]["keys"] = json!([public(&replacement)]);
        draft.keyset["min_epoch"] = json!({ forge.scope.to_string(): epoch });
        draft.manifest["keyset_version"] = json!(forge.keyset_version + 1);
        draft.manifest_signers = vec![replacement];
    });
    (thief, operator)
}
