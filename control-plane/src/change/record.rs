//! What a change leaves behind beside its rows: the version that carries it, its entries in the audit trail, and who is told.

use serde_json::Value;

use super::altered::Altered;
use super::effect::{Effect, Publication};
use super::error::ChangeError;
use super::loss::Loss;
use super::notice::Notice;
use super::outcome::Applied;
use super::writing::Writing;
use crate::publish::Publisher;
use crate::publish::outbox::{Manner, Reserve, enqueue};
use crate::store::audit::{AuditPlace, NewAudit, insert};
use crate::store::notices;

/// What a change did beside its own effects.
#[derive(Clone, Copy)]
pub(super) struct Consequences<'c> {
    pub(super) altered: &'c [Altered],
    pub(super) loss: Option<&'c Loss>,
}

impl Consequences<'_> {
    /// The flags that an entry is found by: of a change of many, those whose definition is another one now.
    fn flags(&self, effect: &Effect) -> Vec<String> {
        if effect.action.is_of_one_flag() {
            return vec![effect.subject.clone()];
        }
        let Some(scope) = &effect.scope else { return Vec::new() };
        let altered = self.altered.iter().filter(|altered| altered.scope == *scope);
        let altered = altered.flat_map(Altered::own_flags);
        altered.chain(self.loss.map(|loss| loss.flags(scope)).unwrap_or_default()).collect()
    }
}

/// Publishes what was done, writes it into the audit trail, and leaves a notice of what somebody has to hear of.
pub(super) async fn record(
    writing: &mut Writing<'_>,
    publisher: &Publisher,
    mut effects: Vec<Effect>,
    consequences: Consequences<'_>,
    reserve: Reserve,
) -> Result<Option<Applied>, ChangeError> {
    let altered = consequences.altered;
    if let (Some(effect), Some(loss)) = (effects.first_mut(), consequences.loss) {
        effect.notes.insert("lost".to_owned(), loss.numbers());
    }
    // The first effect is what was asked for, the others follow from it.
    let mut applied: Option<Applied> = None;
    for effect in effects {
        let own = match (&effect.scope, effect.publication.urgency()) {
            (Some(scope), Some(urgency)) => {
                // Read when everything was written: from here on nobody touches a flag.
                let defined = altered.iter().find(|altered| altered.scope == *scope);
                let defined = defined.map(|altered| altered.after.definitions());
                let manner = Manner { reserve, urgency };
                let queued = enqueue(writing.conn, publisher, scope, manner, defined, writing.now).await;
                Some(queued.map_err(|error| match &applied {
                    None => ChangeError::from(error),
                    Some(_) => ChangeError::in_environment(scope)(error.into()),
                })?)
            }
            (Some(_) | None, _) => None,
        };
        let first = applied.as_ref().and_then(|applied| applied.version);
        let version = own.or(first.filter(|_| effect.publication == Publication::WithFirst));
        let place = match &effect.scope {
            Some(scope) => AuditPlace::Environment(scope),
            None => AuditPlace::Tenant(&writing.actor.tenant),
        };
        let flags = consequences.flags(&effect);
        let mut detail = effect.detail;
        if let Some(fields) = detail.as_object_mut() {
            fields.extend(version.map(|version| ("version".to_owned(), Value::from(version.to_string()))));
            fields.extend(effect.notes.clone());
            let own = altered.iter().find(|altered| effect.scope.as_ref() == Some(&altered.scope));
            fields.extend(own.map(|altered| ("decisions".to_owned(), altered.summary())));
        }
        let (action, subject) = (effect.action.as_str(), effect.subject.as_str());
        if let (Some(scope), Some(notice)) =
            (&effect.scope, Notice::of(effect.action, &detail, writing.actor))
        {
            notices::insert(writing.conn, scope, notice.kind, subject, &notice.body, writing.now).await?;
        }
        let entry = NewAudit { actor: &writing.actor.name, action, subject, detail, flags: &flags };
        insert(writing.conn, place, entry, writing.now).await?;
        match (&mut applied, effect.scope, own) {
            (Some(applied), Some(scope), Some(version)) => {
                applied.environments.push((scope.environment, version));
            }
            (Some(_), _, _) => {}
            (None, _, _) => {
                let (revision, notes) = (effect.revision, effect.notes);
                let decisions = altered.iter().map(Altered::summary).collect();
                let environments = Vec::new();
                applied = Some(Applied { version, revision, tag: None, environments, notes, decisions });
            }
        }
    }
    Ok(applied)
}

#[cfg(test)]
mod tests {
    use serde_json::{Map, json};

    use super::*;
    use crate::change::action::Action;
    use crate::change::testing::{altered, environment, flag, scope};

    #[test]
    fn an_entry_is_found_by_its_own_flag_or_by_those_that_a_change_of_many_altered() {
        let (f, g) = (flag("f", &json!({})), flag("g", &json!({})));
        let off = flag("g", &json!({ "enabled": false }));
        let all = [altered(environment([f.clone(), g], json!({})), environment([f, off], json!({})), None)];
        let consequences = Consequences { altered: &all, loss: None };
        let effect = |action, scope| Effect {
            action,
            subject: "s".to_owned(),
            detail: Value::Null,
            scope,
            publication: Publication::Needed,
            revision: None,
            notes: Map::new(),
        };
        assert_eq!(consequences.flags(&effect(Action::PutFlag, Some(scope()))), ["s"]);
        assert_eq!(consequences.flags(&effect(Action::PutProjectFlag, None)), ["s"]);
        assert_eq!(consequences.flags(&effect(Action::Import, Some(scope()))), ["g"]);
        assert_eq!(consequences.flags(&effect(Action::CreateToken, None)), [""; 0]);
    }
}
