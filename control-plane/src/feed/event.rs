//! What the feed tells, in the words that it is sent in.

use flagfuse_shared::ids::{EnvironmentKey, ProjectKey, Scope, TenantKey, UnixMillis};
use serde::Serialize;

use crate::model::rights::Place;
use crate::store::tails::{AlertEnd, AuditEnd, NoticeEnd, ReceiptEnd, RefusalEnd, VerdictEnd};

/// Something that happened, and where. Whoever may read there hears of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    pub tenant: TenantKey,
    pub place: Place,
    pub kind: Kind,
    /// One line of JSON.
    pub data: String,
}

/// What kinds of events there are, by the word that they are sent with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// An entry of the audit trail.
    Change,
    /// A replica has stored a version.
    Receipt,
    /// A fuse was looked at.
    Verdict,
    /// A notice: a fuse moved, a roll-out was promoted.
    Transition,
    /// How many events arrive.
    EventRate,
    /// A replica refuses a version, or an alert of an objective moved.
    Alarm,
}

impl Kind {
    /// The word behind `event:`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Change => "change",
            Self::Receipt => "receipt",
            Self::Verdict => "verdict",
            Self::Transition => "transition",
            Self::EventRate => "event-rate",
            Self::Alarm => "alarm",
        }
    }
}

#[derive(Serialize)]
struct Change<'e> {
    audit_id: i64,
    project: Option<&'e str>,
    environment: Option<&'e str>,
    at_ms: UnixMillis,
    actor: &'e str,
    action: &'e str,
    subject: &'e str,
    version: Option<&'e str>,
}

#[derive(Serialize)]
struct Receipt<'e> {
    project: &'e str,
    environment: &'e str,
    version: String,
    region: &'e str,
    shard: u16,
    stored_ms: UnixMillis,
    acked_ms: UnixMillis,
}

#[expect(clippy::struct_field_names, reason = "the names in JSON")]
#[derive(Serialize)]
struct Verdict<'e> {
    project: &'e str,
    environment: &'e str,
    verdict_id: i64,
    flag: &'e str,
    decision: &'e str,
    reason: &'e str,
    at_ms: UnixMillis,
}

#[derive(Serialize)]
struct Transition<'e> {
    project: &'e str,
    environment: &'e str,
    notice_id: i64,
    kind: &'e str,
    /// Mostly the key of a flag.
    flag: &'e str,
    at_ms: UnixMillis,
}

#[derive(Serialize)]
struct EventRate<'e> {
    project: &'e str,
    environment: &'e str,
    events_per_s: f64,
    at_ms: UnixMillis,
}

#[derive(Serialize)]
struct Alarm<'e> {
    project: &'e str,
    environment: &'e str,
    /// `refusal` or `slo`.
    what: &'static str,
    /// The replica or the objective.
    subject: String,
    /// The code of the refusal, or the level of the alert.
    level: &'e str,
    at_ms: UnixMillis,
}

impl Event {
    fn new(tenant: &TenantKey, place: Place, kind: Kind, body: &impl Serialize) -> Option<Self> {
        // Of plain values, which JSON can say.
        let data = serde_json::to_string(body).ok()?;
        Some(Self { tenant: tenant.clone(), place, kind, data })
    }

    fn of_environment(scope: &Scope, kind: Kind, body: &impl Serialize) -> Option<Self> {
        Self::new(&scope.tenant, Place::from(scope), kind, body)
    }

    /// A change. What concerns no project is the tenant's.
    pub(super) fn of_entry(entry: &AuditEnd) -> Option<Self> {
        let (project, environment) = (&entry.project, &entry.environment);
        let place = match (project.clone(), environment.clone()) {
            (Some(project), Some(environment)) => Place::Environment(project, environment),
            (Some(project), None) => Place::Project(project),
            (None, _) => Place::Tenant,
        };
        let body = Change {
            audit_id: entry.audit_id,
            project: project.as_ref().map(ProjectKey::as_str),
            environment: environment.as_ref().map(EnvironmentKey::as_str),
            at_ms: entry.at_ms,
            actor: &entry.actor,
            action: &entry.action,
            subject: &entry.subject,
            version: entry.version.as_deref(),
        };
        Self::new(&entry.tenant, place, Kind::Change, &body)
    }

    pub(super) fn of_receipt(end: &ReceiptEnd) -> Option<Self> {
        let body = Receipt {
            project: end.scope.project.as_str(),
            environment: end.scope.environment.as_str(),
            version: end.version.to_string(),
            region: &end.replica.region,
            shard: end.replica.shard,
            stored_ms: end.stored_ms,
            acked_ms: end.acked_ms,
        };
        Self::of_environment(&end.scope, Kind::Receipt, &body)
    }

    pub(super) fn of_verdict(end: &VerdictEnd) -> Option<Self> {
        let body = Verdict {
            project: end.scope.project.as_str(),
            environment: end.scope.environment.as_str(),
            verdict_id: end.verdict_id,
            flag: &end.flag,
            decision: &end.decision,
            reason: &end.reason,
            at_ms: end.at_ms,
        };
        Self::of_environment(&end.scope, Kind::Verdict, &body)
    }

    pub(super) fn of_notice(end: &NoticeEnd) -> Option<Self> {
        let body = Transition {
            project: end.scope.project.as_str(),
            environment: end.scope.environment.as_str(),
            notice_id: end.notice_id,
            kind: &end.kind,
            flag: &end.subject,
            at_ms: end.at_ms,
        };
        Self::of_environment(&end.scope, Kind::Transition, &body)
    }

    pub(super) fn of_rate(scope: &Scope, events_per_s: f64, at_ms: UnixMillis) -> Option<Self> {
        let (project, environment) = (scope.project.as_str(), scope.environment.as_str());
        let body = EventRate { project, environment, events_per_s, at_ms };
        Self::of_environment(scope, Kind::EventRate, &body)
    }

    pub(super) fn of_refusal(end: &RefusalEnd) -> Option<Self> {
        let body = Alarm {
            project: end.scope.project.as_str(),
            environment: end.scope.environment.as_str(),
            what: "refusal",
            subject: end.replica.to_string(),
            level: &end.code,
            at_ms: end.at_ms,
        };
        Self::of_environment(&end.scope, Kind::Alarm, &body)
    }

    pub(super) fn of_alert(end: &AlertEnd) -> Option<Self> {
        let body = Alarm {
            project: end.scope.project.as_str(),
            environment: end.scope.environment.as_str(),
            what: "slo",
            subject: format!("{} {}", end.slo, end.alert),
            level: &end.level,
            at_ms: end.since_ms,
        };
        Self::of_environment(&end.scope, Kind::Alarm, &body)
    }
}
