//! Our evaluator and the four workloads. It does more than the peers in c, which renders the OFREP body too. Load is what
//! it is for them: bytes of a configuration → ready to evaluate; signatures and digests, which no peer has, are not in it.

use std::collections::{BTreeMap, BTreeSet};
use std::hint::black_box;

use flagfuse_shared::context::Context;
use flagfuse_shared::definition::{FlagWire, SharedWire};
use flagfuse_shared::digest::Digest;
use flagfuse_shared::evaluate::Question;
use flagfuse_shared::ids::{EnvironmentKey, ProjectKey, Scope, SnapshotVersion, TenantKey, UnixMillis};
use flagfuse_shared::ofrep::{Origin, write_bulk};
use flagfuse_shared::snapshot::envelope::split_frame;
use flagfuse_shared::snapshot::manifest::{Keyset, Role, Roles};
use flagfuse_shared::snapshot::payload::{CODEC, Content, decode};
use flagfuse_shared::snapshot::sign::{PrivateKey, Release, sign_keyset, sign_snapshot};
use flagfuse_shared::snapshot::{AutoExposure, Outcome, Profile, Snapshot, TrustedRoots, Verified, verify};
use serde_json::{Value, json};

use crate::flags::{self, COLOURS, FlagSpec, Kind};

const NOW: UnixMillis = UnixMillis(1_800_000_000_000);
const VERSION: SnapshotVersion = SnapshotVersion { epoch: 1, seq: 1 };

/// A verified snapshot of 1,000 flags and contexts to ask about them. A `turn` chooses flag and person, see
/// [`flags::turn`]; the answers prove that the work was done.
#[derive(Debug)]
pub struct Ours {
    frame: Vec<u8>,
    roots: TrustedRoots,
    snapshot: Verified<Snapshot>,
    contexts: Vec<Context>,
    rollouts: Vec<String>,
    conditions: Vec<String>,
    body: String,
}

impl Ours {
    /// Signs the flags and admits them as an edge does.
    pub fn set_up() -> Self {
        let frame = frame(&flags::flags());
        let roots = TrustedRoots::parse([key(1).public_base64().as_str()], 1).unwrap();
        let snapshot = admitted(&frame, &roots);
        Self {
            frame,
            roots,
            snapshot,
            contexts: flags::people()
                .iter()
                .map(|person| Context::from_json(person.to_json("targetingKey")).unwrap())
                .collect(),
            rollouts: flags::asked_rollouts(),
            conditions: flags::asked_conditions(),
            body: String::new(),
        }
    }

    /// One boolean flag with a 50 % rollout, looked up by key: 1 when it is on, else 0.
    pub fn a(&self, turn: usize) -> u64 {
        let (flag, person) = flags::turn(turn);
        let answer = self.snapshot.evaluate(&self.rollouts[flag], self.question(person)).unwrap();
        u64::from(answer.variation.unwrap().key().as_str() == "on")
    }

    /// One flag with three conditions and a three-way split, looked up by key: the first byte of the variation's name.
    pub fn b(&self, turn: usize) -> u64 {
        let (flag, person) = flags::turn(turn);
        let answer = self.snapshot.evaluate(&self.conditions[flag], self.question(person)).unwrap();
        u64::from(answer.variation.unwrap().key().as_str().as_bytes()[0])
    }

    /// All flags for one person, with the rendered OFREP body: how many have an answer.
    pub fn c(&mut self, turn: usize) -> u64 {
        let (_, person) = flags::turn(turn);
        let origin = Origin::new(VERSION, &scope());
        let mut body = std::mem::take(&mut self.body);
        body.clear();
        let mut count = 0;
        let evaluator = self.snapshot.evaluator(self.question(person));
        write_bulk(&mut body, evaluator.all().inspect(|_| count += 1), &origin);
        self.body = body;
        assert!(self.body.len() > flags::FLAG_COUNT);
        count
    }

    fn question(&self, person: usize) -> Question<'_> {
        Question::new(&self.contexts[person], NOW)
    }

    /// From a payload to flags that can be evaluated: their number, as far as this can be told without evaluating.
    pub fn load(&self) -> u64 {
        let payload = split_frame(&self.frame).unwrap().payload;
        let decoded = black_box(decode(payload, CODEC).unwrap());
        drop(decoded);
        flags::FLAG_COUNT as u64
    }

    /// From a signed frame to a snapshot that may be evaluated, with signatures, digests and self-test: how many flags it
    /// has.
    pub fn admit(&self) -> u64 {
        admitted(&self.frame, &self.roots).flags().filter(|(_, flag)| flag.is_ok()).count() as u64
    }
}

/// A flag as the admin API takes it.
pub fn flag_json(flag: &FlagSpec) -> Value {
    let colours: Vec<Value> = COLOURS.iter().map(|name| json!({ "key": name, "value": name })).collect();
    let split: Vec<Value> = COLOURS.iter().map(|name| json!({ "variation": name, "weight": 1 })).collect();
    match &flag.kind {
        Kind::Rollout => json!({
            "key": flag.key, "value_type": "boolean", "off_variation": "off", "default_variation": "off",
            "variations": [{ "key": "on", "value": true }, { "key": "off", "value": false }],
            "rules": [{ "key": "rollout", "percentage": 50.0, "split": [{ "variation": "on" }] }],
        }),
        Kind::Conditions(conditions) => json!({
            "key": flag.key, "value_type": "string", "default_variation": "blue", "variations": colours,
            "rules": [{ "key": "targeted", "split": split, "conditions": [
                { "attribute": "country", "op": "in", "values": conditions.countries },
                { "attribute": "appVersion", "op": "semver_at_least", "values": [conditions.version_min] },
                { "attribute": "plan", "op": "in", "values": ["pro"] },
            ] }],
        }),
        Kind::Variants => json!({
            "key": flag.key, "value_type": "string", "default_variation": "blue", "variations": colours,
            "rules": [{ "key": "split", "split": split }],
        }),
    }
}

fn key(seed: u8) -> PrivateKey {
    PrivateKey::from_seed(&[seed; 32])
}

fn scope() -> Scope {
    Scope {
        tenant: TenantKey::parse("default").unwrap(),
        project: ProjectKey::parse("demo").unwrap(),
        environment: EnvironmentKey::parse("production").unwrap(),
    }
}

/// Flags as an edge receives them: signed by a release key that a root key vouches for.
fn frame(flags: &[FlagSpec]) -> Vec<u8> {
    let role = |seed| Role { threshold: 1, keys: vec![key(seed).public_base64()] };
    let keyset = Keyset {
        keyset_version: 1,
        expires_ms: NOW.plus(1),
        roles: Roles { root: role(1), release: role(2), freshness: role(3) },
        min_epoch: BTreeMap::new(),
    };
    let content = Content {
        flags: flags
            .iter()
            .map(|flag| serde_json::from_value::<FlagWire>(flag_json(flag)).unwrap())
            .collect(),
        client_keys: BTreeSet::from([Digest::of(b"demo:production.s3cret")]),
        profile: Profile::Strict,
        auto_exposure: AutoExposure::Single,
        shared: SharedWire::default(),
    };
    let release = Release {
        scope: scope(),
        version: VERSION,
        prev_sha256: Digest::of(b""),
        created_ms: NOW,
        expires_ms: NOW.plus(1),
        keyset_version: 1,
    };
    let keyset = sign_keyset(&keyset, &[key(1)]).unwrap();
    sign_snapshot(&content, &release, &keyset, &[key(2)]).unwrap().frame
}

fn admitted(frame: &[u8], roots: &TrustedRoots) -> Verified<Snapshot> {
    match verify(frame, roots, &scope(), None, NOW) {
        Ok(Outcome::Newer(admitted)) => admitted.snapshot,
        _ => panic!("our own frame is refused"),
    }
}
