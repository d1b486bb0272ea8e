//! A mistake, how it is made, and what its answer has to say.

use serde_json::{Value, json};
use support::{Answer, Client, PATIENCE, World, environment_path, eventually};

/// Whom a request is sent to, and what it shows.
#[derive(Debug, Clone, Copy)]
pub(crate) enum To {
    /// The control plane, with an admin token.
    Admin,
    /// The control plane, with this.
    Plane(Shown),
    /// The edge, with the environment's client key.
    Edge,
    /// The edge, with this.
    Other(Shown),
}

#[derive(Debug, Clone, Copy)]
pub(crate) enum Shown {
    Nothing,
    AdminToken,
    ClientKey,
    MadeUpKey,
    Nonsense,
}

/// One mistake, and what its answer has to say.
pub(crate) struct Mistake {
    pub(crate) what: &'static str,
    pub(crate) to: To,
    pub(crate) method: &'static str,
    pub(crate) path: String,
    pub(crate) headers: &'static [(&'static str, &'static str)],
    pub(crate) body: Option<String>,
    pub(crate) status: u16,
    /// Empty: it is accepted, with a note.
    pub(crate) code: &'static str,
    pub(crate) says: Vec<String>,
}

/// Words of a parser, of a type, or of nobody's English; and a prefix that nobody has explained.
pub(crate) const NEVER: [&str; 18] = [
    "invalid type",
    "invalid value",
    "missing field",
    "unknown field",
    "unknown variant",
    "expected one of",
    "sequence",
    "struct ",
    "u32",
    "u64",
    "f64",
    "EOF",
    "deserialize",
    "serde",
    "is no ",
    "twice",
    "default/",
    "None",
];

pub(crate) fn to(to: To, what: &'static str, method: &'static str, path: &str) -> Mistake {
    let (headers, path): (&[_], _) = (&[], path.to_owned());
    Mistake { what, to, method, path, headers, body: None, status: 0, code: "", says: Vec::new() }
}

impl Mistake {
    pub(crate) fn with(self, body: Value) -> Self {
        Self { body: Some(body.to_string()), ..self }
    }

    pub(crate) fn text(self, body: &str) -> Self {
        Self { body: Some(body.to_owned()), ..self }
    }

    pub(crate) fn says(self, status: u16, code: &'static str, words: &[&str]) -> Self {
        Self { status, code, says: words.iter().map(|word| (*word).to_owned()).collect(), ..self }
    }

    fn send(&self, world: &World, admin_token: &str) -> Answer {
        let plane = world.stack.control_plane_url();
        let edge = world.stack.edge_url(0);
        let made_up = format!("{}0", world.client_key);
        let shown = |shown: Shown| match shown {
            Shown::Nothing => None,
            Shown::AdminToken => Some(admin_token),
            Shown::ClientKey => Some(world.client_key.as_str()),
            Shown::MadeUpKey => Some(made_up.as_str()),
            Shown::Nonsense => Some("s3cret"),
        };
        let client = match self.to {
            To::Admin => world.admin.clone(),
            To::Plane(kind) => Client::new(&plane, shown(kind)),
            To::Edge => world.edges[0].clone(),
            To::Other(kind) => Client::new(&edge, shown(kind)),
        };
        let body = self.body.clone().map(String::into_bytes);
        // A newcomer does as the answer says: an edge that has just started may ask to be asked again.
        eventually("the product answers", PATIENCE, || {
            let answer = client.send(self.method, &self.path, self.headers, body.clone())?;
            anyhow::ensure!(answer.status != 503, "{}", answer.body);
            Ok(answer)
        })
        .unwrap()
    }

    /// What the answer says to people: its detail, or everything when it was accepted.
    fn told(answer: &Answer) -> String {
        let words = ["detail", "errorDetails"].into_iter().find_map(|name| answer.body[name].as_str());
        words.map_or_else(|| answer.body.to_string(), str::to_owned)
    }

    /// What its answer should say and does not, or says and should not.
    pub(crate) fn faults(&self, world: &World, admin_token: &str) -> Vec<String> {
        let answer = self.send(world, admin_token);
        let told = Self::told(&answer);
        let code = ["code", "errorCode"].into_iter().find_map(|name| answer.body[name].as_str());
        println!("{}\n  {} {}\n  {} {told}", self.what, self.method, self.path, answer.status);
        let mut faults = Vec::new();
        if (answer.status, code.unwrap_or_default()) != (self.status, self.code) {
            faults.push(format!("{} {code:?} instead of {} {:?}", answer.status, self.status, self.code));
        }
        let unsaid = self.says.iter().filter(|words| !told.contains(words.as_str()));
        faults.extend(unsaid.map(|words| format!("does not say {words:?}")));
        let said = NEVER.into_iter().filter(|words| told.contains(words));
        faults.extend(said.map(|words| format!("says {words:?}")));
        let parts: Vec<&str> = told.split(": ").collect();
        if parts.windows(2).any(|pair| pair[0] == pair[1]) {
            faults.push("says something twice".to_owned());
        }
        let allow = answer.header("allow").unwrap_or_default();
        if answer.status == 405 && !self.says.iter().any(|word| allow.split(',').any(|method| method == word))
        {
            faults.push(format!("allows {allow:?}"));
        }
        faults.into_iter().map(|fault| format!("{}: {fault}: {told}", self.what)).collect()
    }
}

/// All flags at once.
pub(crate) const BULK: &str = "/ofrep/v1/evaluate/flags";

/// A flag of the demo environment.
pub(crate) fn flag_path(key: &str) -> String {
    format!("{}/flags/{key}", environment_path())
}

pub(crate) fn flag() -> Value {
    json!({
        "value_type": "boolean", "default_variation": "off", "off_variation": "off",
        "variations": [{ "key": "on", "value": true }, { "key": "off", "value": false }],
    })
}

/// With a field changed.
pub(crate) fn patched(mut value: Value, name: &str, to: Value) -> Value {
    value[name] = to;
    value
}
