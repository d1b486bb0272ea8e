//! `unleash-yggdrasil`, the engine of Unleash's SDKs and of unleash-edge.
//!
//! Not equal: a rollout has 100 buckets, c asks plain flags whether they are on and only the others for their variant,
//! which is less than its own `resolve_all` does, and attributes are text only.

use unleash_types::client_features::{ClientFeatures, Context};
use unleash_yggdrasil::state::EnrichedContext;
use unleash_yggdrasil::{EngineState, UpdateMessage};

use crate::subject::Subject;
use flagfuse_bench_ours::flags::{self, FlagSpec, Kind, Person};
use flagfuse_bench_ours::unleash::features;

pub struct Yggdrasil {
    bytes: Vec<u8>,
    engine: EngineState,
    contexts: Vec<Context>,
    rollouts: Vec<String>,
    conditions: Vec<String>,
    plain: Vec<String>,
    varied: Vec<String>,
}

impl Yggdrasil {
    pub fn new() -> Self {
        let flags = flags::flags();
        let document = features(&flags);
        let bytes = document.to_string().into_bytes();
        let (plain, varied): (Vec<_>, Vec<_>) =
            flags.into_iter().partition(|flag| matches!(flag.kind, Kind::Rollout));
        let keys = |flags: Vec<FlagSpec>| flags.into_iter().map(|flag| flag.key).collect();
        Self {
            engine: load(&bytes),
            bytes,
            contexts: flags::people().iter().map(context).collect(),
            rollouts: flags::asked_rollouts(),
            conditions: flags::asked_conditions(),
            plain: keys(plain),
            varied: keys(varied),
        }
    }
}

impl Subject for Yggdrasil {
    fn name(&self) -> &'static str {
        "unleash-yggdrasil"
    }

    fn a(&mut self, turn: usize) -> u64 {
        let (flag, person) = flags::turn(turn);
        let context = EnrichedContext::from(&self.contexts[person], &self.rollouts[flag], None);
        u64::from(self.engine.check_enabled(&context).unwrap())
    }

    fn b(&mut self, turn: usize) -> u64 {
        let (flag, person) = flags::turn(turn);
        let context = EnrichedContext::from(&self.contexts[person], &self.conditions[flag], None);
        u64::from(self.engine.check_variant(&context).unwrap().name.as_bytes()[0])
    }

    fn c(&mut self, turn: usize) -> u64 {
        let (_, person) = flags::turn(turn);
        let context = EnrichedContext::from(&self.contexts[person], "", None);
        let plain =
            self.plain.iter().filter_map(|flag| self.engine.check_enabled(&context.with_toggle_name(flag)));
        let varied =
            self.varied.iter().filter_map(|flag| self.engine.check_variant(&context.with_toggle_name(flag)));
        (plain.count() + varied.count()) as u64
    }

    fn load(&mut self) -> u64 {
        load(&self.bytes).list_known_toggles().len() as u64
    }
}

fn load(bytes: &[u8]) -> EngineState {
    let features: ClientFeatures = serde_json::from_slice(bytes).unwrap();
    let engine = EngineState::default();
    let warnings = engine.take_state(UpdateMessage::FullResponse(features));
    assert!(warnings.is_none(), "{:?}", warnings.map(|warnings| warnings.len()));
    engine
}

fn context(person: &Person) -> Context {
    let properties = [
        ("country", person.country.to_owned()),
        ("appVersion", person.app_version.clone()),
        ("plan", person.plan.to_owned()),
        ("email", person.email.clone()),
        ("language", person.language.to_owned()),
        ("device", person.device.to_owned()),
        ("beta", person.beta.to_string()),
        ("age", person.age.to_string()),
        ("sessions", person.sessions.to_string()),
    ];
    Context {
        user_id: Some(person.key.clone()),
        session_id: None,
        environment: None,
        app_name: None,
        current_time: None,
        remote_address: None,
        properties: Some(properties.map(|(name, value)| (name.to_owned(), value)).into()),
    }
}
