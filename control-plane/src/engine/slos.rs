//! Looks at the objectives of all environments, moves their alerts, and says where a platform incident is on, which all
//! environments of a tenant heed. Reads only the sums that were added to since its last look.

use std::collections::BTreeMap;

use flagfuse_shared::ids::{Scope, UnixMillis};
use serde_json::json;

use crate::model::slo::{Alert, Counts, Judged, Level, MINUTES_KEPT_MS, Standing, alarm, judge};
use crate::model::verdict::Incident;
use crate::store::audit::{self, AuditPlace, NewAudit};
use crate::store::slo_alerts::{self, AlertRows};
use crate::store::slos::SloRow;
use crate::store::suppressions::SuppressionRow;
use crate::store::{Connection, Lock, Store, StoreError, notices, slo_sums, slos, suppressions};

/// Time between two looks, however often fuses are looked at.
const PAUSE_MS: u64 = 5_000;
/// Who moves alerts, in the audit trail.
const ACTOR: &str = "slo";

/// What an engine remembers of objectives; it only saves reading.
#[derive(Debug, Default)]
pub(super) struct Slos {
    remembered: BTreeMap<i64, Remembered>,
    looked_ms: Option<UnixMillis>,
    incidents: BTreeMap<Scope, Incident>,
}

/// The sums of one objective.
#[derive(Debug, Default)]
struct Remembered {
    counts: Counts,
    /// The newest moment at which one of them was added to.
    known_ms: UnixMillis,
}

/// An alert that moves.
struct Move {
    slo: SloRow,
    judged: Judged,
    before: Standing,
    /// At which it was looked at.
    revision: u64,
}

impl Slos {
    /// The platform incident that an environment heeds: its own, or else the longest of its tenant's other ones.
    pub(super) fn incident(&self, scope: &Scope) -> Option<Incident> {
        if let Some(own) = self.incidents.get(scope) {
            return Some(own.clone());
        }
        let others = self.incidents.iter().filter(|(other, _)| other.tenant == scope.tenant);
        let (other, longest) = others.min_by_key(|(_, incident)| incident.since_ms)?;
        let place = Some(format!("{}/{}", other.project, other.environment));
        Some(Incident { place, ..longest.clone() })
    }

    /// Looks at everything that is due. An environment that fails keeps no other from being looked at.
    pub(super) async fn tick(&mut self, store: &Store, now: UnixMillis) -> Result<(), StoreError> {
        if self.looked_ms.is_some_and(|looked| now.0 >= looked.0 && now.since(looked) < PAUSE_MS) {
            return Ok(());
        }
        let mut by_scope: BTreeMap<Scope, Vec<SloRow>> = BTreeMap::new();
        for (scope, slo) in slos::all(&mut *store.read().await?).await? {
            by_scope.entry(scope).or_default().push(slo);
        }
        let mut before = std::mem::take(&mut self.remembered);
        self.incidents.clear();
        for (scope, slos) in by_scope {
            // What is no objective any more is forgotten with the others.
            let own = slos.iter().filter_map(|slo| Some((slo.slo_id, before.remove(&slo.slo_id)?)));
            self.remembered.extend(own.collect::<Vec<_>>());
            match self.look(store, &scope, slos, now).await {
                Ok(Some(incident)) => {
                    self.incidents.insert(scope, incident);
                }
                Ok(None) => {}
                Err(error) => tracing::error!(%scope, %error, "objectives could not be looked at"),
            }
        }
        self.looked_ms = Some(now);
        Ok(())
    }

    async fn look(
        &mut self,
        store: &Store,
        scope: &Scope,
        slos: Vec<SloRow>,
        now: UnixMillis,
    ) -> Result<Option<Incident>, StoreError> {
        let (mut alerts, silences) = {
            let mut conn = store.read().await?;
            for slo in &slos {
                let remembered = self.remembered.entry(slo.slo_id).or_default();
                remembered.read(&mut conn, slo.slo_id, now).await?;
            }
            // Minutes of a window that is over are left out for as long as they are looked at.
            let silences = suppressions::since(&mut conn, scope, now.minus(MINUTES_KEPT_MS)).await?;
            (slo_alerts::of_environment(&mut conn, scope).await?, silences)
        };
        for slo in &slos {
            for alert in slo.slo.alerts.alerts(slo.slo.window_ms()) {
                let Some(found) = self.found(slo, alert, &alerts, &silences, now) else { continue };
                let (key, after) = ((slo.slo_id, alert.name.to_owned()), found.judged.standing);
                if move_alert(store, scope, &found, now).await? {
                    tracing::info!(
                        %scope, slo = slo.name, alert = alert.name, from = found.before.level.as_str(),
                        to = after.level.as_str(), "an alert of an objective moved"
                    );
                    let revision = found.revision + 1;
                    alerts.insert(key, slo_alerts::AlertRow { standing: after, revision });
                } else {
                    // Another engine was quicker, and saw at least as much.
                    alerts = slo_alerts::of_environment(&mut *store.read().await?, scope).await?;
                }
            }
        }
        Ok(incident(&slos, &alerts))
    }

    /// What becomes of an alert, where it does not stay as it is.
    fn found(
        &self,
        slo: &SloRow,
        alert: Alert,
        alerts: &AlertRows,
        silences: &[SuppressionRow],
        now: UnixMillis,
    ) -> Option<Move> {
        let counts = &self.remembered.get(&slo.slo_id)?.counts;
        let silences: Vec<_> =
            silences.iter().filter(|row| row.is_about(&slo.name)).map(|row| row.silence).collect();
        let row = alerts.get(&(slo.slo_id, alert.name.to_owned()));
        let before = row.map_or(Standing { level: Level::Ok, since_ms: slo.since_ms }, |row| row.standing);
        let judged = judge(&slo.slo, alert, counts, &silences, Some(before), now);
        (judged.standing.level != before.level).then(|| Move {
            slo: slo.clone(),
            judged,
            before,
            revision: row.map_or(0, |row| row.revision),
        })
    }
}

impl Remembered {
    async fn read(&mut self, conn: &mut Connection, slo_id: i64, now: UnixMillis) -> Result<(), StoreError> {
        // Rows are whole sums: one that was read before in this very millisecond is read once more, and is right.
        for row in slo_sums::since(conn, slo_id, self.known_ms).await? {
            self.counts.put(row.span, row.begin_ms, row.sum);
            self.known_ms = self.known_ms.max(row.known_ms);
        }
        self.counts.forget(now);
        Ok(())
    }
}

/// The longest of the pages that are on.
fn incident(slos: &[SloRow], alerts: &AlertRows) -> Option<Incident> {
    let pages = alerts.iter().filter(|(_, row)| row.standing.level == Level::Page);
    let named = pages.filter_map(|((slo_id, _), row)| {
        let slo = slos.iter().find(|slo| slo.slo_id == *slo_id)?;
        Some(Incident { slo: slo.name.clone(), place: None, since_ms: row.standing.since_ms })
    });
    named.min_by_key(|incident| incident.since_ms)
}

/// Moves an alert with its notice and its place in the audit trail, unless somebody else was quicker.
async fn move_alert(store: &Store, scope: &Scope, found: &Move, now: UnixMillis) -> Result<bool, StoreError> {
    let Move { slo, judged, before, revision } = found;
    let mut tx = store.write(Lock::Environment(scope)).await?;
    let key = (slo.slo_id, judged.alert.name);
    if !slo_alerts::move_to(&mut tx, key, *revision, judged.standing).await? {
        return Ok(false);
    }
    if let Some(kind) = alarm::kind(before.level, judged.standing.level) {
        let body = json!({
            "alert": judged.alert.name,
            "from": before.level,
            "to": judged.standing.level,
            "burn_long": judged.long,
            "burn_short": judged.short,
            "requests": judged.requests,
            "summary": alarm::sentence(&slo.name, judged, *before),
            "runbook": alarm::runbook(&slo.slo, judged.alert),
        });
        notices::insert(&mut tx, scope, kind, &slo.name, &body, now).await?;
        let entry = NewAudit { actor: ACTOR, action: kind, subject: &slo.name, detail: body, flags: &[] };
        audit::insert(&mut tx, AuditPlace::Environment(scope), entry, now).await?;
    }
    tx.commit().await?;
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_incident_is_heeded_by_all_environments_of_its_tenant_and_by_no_other_tenant() {
        let scope = |text: &str| Scope::parse(text).unwrap();
        let incident =
            |slo: &str, since| Incident { slo: slo.to_owned(), place: None, since_ms: UnixMillis(since) };
        let mut slos = Slos::default();
        assert_eq!(slos.incident(&scope("acme/shop/production")), None);
        slos.incidents.insert(scope("acme/shop/production"), incident("checkout", 20));
        slos.incidents.insert(scope("acme/mail/production"), incident("sent", 10));
        // The own one first, then the longest.
        assert_eq!(slos.incident(&scope("acme/shop/production")), Some(incident("checkout", 20)));
        let place = Some("mail/production".to_owned());
        let expected = Incident { place, ..incident("sent", 10) };
        assert_eq!(slos.incident(&scope("acme/shop/staging")), Some(expected));
        assert_eq!(slos.incident(&scope("other/shop/production")), None);
    }
}
