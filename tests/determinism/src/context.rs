//! Random request bodies and the circumstances of their questions: what an asker may send, also nonsense.

use flagfuse_shared::evaluate::Freshness;
use flagfuse_shared::ids::UnixMillis;

use crate::chance::Chance;
use crate::words::{ATTRIBUTES, MOMENTS, quoted, unit};

/// One question about all flags.
#[derive(Debug, Clone)]
pub(crate) struct Ask {
    pub(crate) body: String,
    pub(crate) now: UnixMillis,
    pub(crate) freshness: Freshness,
    pub(crate) chance: u64,
}

impl Ask {
    pub(crate) fn draw(chance: &mut Chance) -> Self {
        Self {
            body: body(chance),
            now: UnixMillis(chance.pick(&MOMENTS)),
            freshness: if chance.once_in(8) { Freshness::Stale } else { Freshness::Fresh },
            chance: chance.next(),
        }
    }
}

fn body(chance: &mut Chance) -> String {
    if chance.once_in(40) {
        let nonsense =
            ["", "{", "[]", "{\"context\":[]}", "{\"context\":null}", "{\"context\":{\"targetingKey\":1}}"];
        return chance.pick(&nonsense).to_owned();
    }
    let mut entries = Vec::new();
    if !chance.once_in(12) {
        entries.push(format!("\"targetingKey\":{}", quoted(&unit(chance))));
    }
    for name in ["account", "sessionId"] {
        if chance.once_in(2) {
            let value =
                if chance.once_in(3) { chance.below(1_000).to_string() } else { quoted(&unit(chance)) };
            entries.push(format!("\"{name}\":{value}"));
        }
    }
    for (name, family) in ATTRIBUTES {
        // A targeting key that is no text refuses the whole context, so this one is not drawn from a family.
        if name != "targetingKey" && !chance.once_in(4) {
            entries.push(format!("{}:{}", quoted(name), family.json(chance)));
        }
    }
    if chance.once_in(10) && !entries.is_empty() {
        // The last of two entries with one name counts.
        let again = entries[chance.at(entries.len())].clone();
        entries.insert(0, again.replace("user", "looser"));
    }
    format!("{{\"other\":[1,{{}}],\"context\":{{{}}}}}", entries.join(" , "))
}
