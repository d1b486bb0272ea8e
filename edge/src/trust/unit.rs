//! Units that the customer's server signed: a fuse may enrol no others, so that nobody who has the client key makes any up. Pure.
//!
//! The context carries `key.mac`, the MAC in 64 hexadecimal digits: HMAC-SHA-256 over `project/environment`, a zero byte and
//! the unit, under the text of the secret of that name.

use flagfuse_shared::context::{Context, UnitSource};
use flagfuse_shared::ids::Scope;
use hmac::Mac as _;
use serde_json::Value;

use crate::stream_token::unhex;
use crate::trust::secrets::Secrets;

/// The context attribute; for a unit that another attribute names, with that behind a colon.
pub const SIGNATURE: &str = "unitSignature";
/// Hexadecimal digits of half a MAC.
const HALF_LEN: usize = 32;

/// What the customer's servers sign units with.
#[derive(Debug, Clone)]
pub struct UnitSecrets(Secrets);

impl UnitSecrets {
    /// Reads what [`Secrets::parse`] does.
    pub fn parse(text: &str) -> Result<Option<Self>, String> {
        Ok(Secrets::parse(text)?.map(Self))
    }

    /// Whether the asker's context carries a signature of the unit that `source` names in it.
    pub fn vouch_for(&self, scope: &Scope, source: &UnitSource, context: &Context) -> bool {
        let signature = match source {
            UnitSource::TargetingKey => context.get(SIGNATURE),
            UnitSource::Attribute(name) => context.get(&format!("{SIGNATURE}:{}", name.as_str())),
        };
        let signature = signature.and_then(Value::as_str);
        let unit = source.unit(context);
        signature
            .zip(unit)
            .is_some_and(|(signature, unit)| self.is_made_for(scope, &unit, signature).is_some())
    }

    fn is_made_for(&self, scope: &Scope, unit: &str, signature: &str) -> Option<()> {
        let (id, digits) = signature.split_once('.')?;
        let (left, right) = digits.split_at_checked(HALF_LEN)?;
        let found = [unhex(left)?, unhex(right)?].concat();
        let mut mac = self.0.of(id)?.clone();
        for part in [scope.project.as_str(), "/", scope.environment.as_str(), "\0", unit] {
            mac.update(part.as_bytes());
        }
        // In constant time.
        mac.verify_slice(&found).ok()
    }
}

#[cfg(test)]
mod tests {
    use flagfuse_shared::strict;

    use super::*;

    const OLD: &str = "a:AAAAAAAAAAAAAAAAAAAAAAAA";
    const NEW: &str = "b:BBBBBBBBBBBBBBBBBBBBBBBB";
    /// `printf 'p/e\0ann' | openssl dgst -sha256 -hmac AAAAAAAAAAAAAAAAAAAAAAAA`, and so on.
    const ANN: &str = "a.5cb30e61fea7b594dfadbb7aae6068dbdb71a57c15c0eaeac5a1891651878a1e";
    const ANN_NEW: &str = "b.c0f4486df5abc9be9eadcd784be18ec0d725f9fbb5b13fd94f66f472c361912c";
    const ACME: &str = "a.b4a483ce437cdd909fa11eeb30a6bb86613bc917b69f6bb939f0c312f71d6fc8";

    fn vouch(secrets: &str, scope: &str, attribute: &str, context: &str) -> bool {
        let secrets = UnitSecrets::parse(secrets).unwrap().unwrap();
        let context = Context::from_json(strict::parse(context.as_bytes()).unwrap()).unwrap();
        secrets.vouch_for(&Scope::parse(scope).unwrap(), &UnitSource::of(attribute), &context)
    }

    #[test]
    fn a_signature_is_good_for_its_unit_and_environment_alone() {
        let by_key = |scope: &str, unit: &str, signature: &str| {
            let context = format!(r#"{{"targetingKey":"{unit}","unitSignature":"{signature}"}}"#);
            vouch(OLD, scope, "targetingKey", &context)
        };
        assert!(by_key("t/p/e", "ann", ANN));
        for (scope, unit, signature) in [
            ("t/p/e", "bob", ANN.to_owned()),
            ("t/p/f", "ann", ANN.to_owned()),
            ("t/q/e", "ann", ANN.to_owned()),
            ("t/p/e", "ann", ANN_NEW.to_owned()),
            ("t/p/e", "ann", ANN.replacen('a', "b", 1)),
            ("t/p/e", "ann", String::new()),
            ("t/p/e", "ann", "a".to_owned()),
            ("t/p/e", "ann", ANN[..ANN.len() - 2].to_owned()),
            ("t/p/e", "ann", format!("{ANN}00")),
            ("t/p/e", "ann", format!("a.{}", "ä".repeat(32))),
        ] {
            assert!(!by_key(scope, unit, &signature), "{scope} {unit} {signature}");
        }
        assert!(!vouch(OLD, "t/p/e", "targetingKey", r#"{"targetingKey":"ann"}"#));
        assert!(!vouch(OLD, "t/p/e", "targetingKey", r#"{"targetingKey":"ann","unitSignature":7}"#));
    }

    #[test]
    fn units_of_another_attribute_have_a_signature_of_their_own() {
        let context = |signature: &str| {
            format!(
                r#"{{"targetingKey":"ann","unitSignature":"{ANN}","company":"acme","unitSignature:company":"{signature}"}}"#
            )
        };
        assert!(vouch(OLD, "t/p/e", "company", &context(ACME)));
        assert!(!vouch(OLD, "t/p/e", "company", &context(ANN)));
    }

    #[test]
    fn secrets_of_units_are_rotated_like_those_of_tickets() {
        let by = |secrets: &str, signature: &str| {
            let context = format!(r#"{{"targetingKey":"ann","unitSignature":"{signature}"}}"#);
            vouch(secrets, "t/p/e", "targetingKey", &context)
        };
        let both = format!("{NEW},{OLD}");
        assert!(by(&both, ANN) && by(&both, ANN_NEW) && by(NEW, ANN_NEW) && !by(NEW, ANN));
    }
}
