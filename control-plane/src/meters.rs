//! What a process measures of itself, for whoever operates it. Labels are words of our own and names of regions and routes: however
//! much is sent, no series comes with it. Reads no clock, knows no SQL.

use std::fmt::{Debug, Write as _};
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use flagfuse_shared::ids::UnixMillis;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::{encode_eof, encode_registry};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

/// Upper ends of buckets for what takes milliseconds or seconds, in seconds.
const SECONDS: [f64; 13] = [0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];
/// Upper ends of buckets for a change's way to all replicas, in seconds: around the quarter second that is promised.
const PROPAGATION: [f64; 11] = [0.05, 0.1, 0.15, 0.2, 0.25, 0.35, 0.5, 1.0, 2.5, 10.0, 60.0];

/// A request, as its route is written in the document; never as it was sent.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    route: String,
    method: &'static str,
    status: u16,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ChangeLabels {
    kind: &'static str,
    actor_kind: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct TransitionLabels {
    to: &'static str,
    by: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct NackLabels {
    region: String,
    code: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct BuildLabels {
    version: &'static str,
    commit: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct LoginLabels {
    by: &'static str,
    outcome: &'static str,
}

/// A histogram of seconds.
fn seconds() -> Histogram {
    Histogram::new(SECONDS)
}

/// Counters and histograms of one process; what stands in the database is added when somebody asks.
pub struct Meters {
    registry: Registry,
    requests: Family<RequestLabels, Histogram, fn() -> Histogram>,
    changes: Family<ChangeLabels, Counter>,
    transitions: Family<TransitionLabels, Counter>,
    propagation: Histogram,
    nacks: Family<NackLabels, Counter>,
    logins: Family<LoginLabels, Counter>,
    ingest_batches: Histogram,
    engine_ticks: Histogram,
    engine_ticked_seconds: Gauge<f64, AtomicU64>,
}

impl Debug for Meters {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Meters").finish_non_exhaustive()
    }
}

impl Default for Meters {
    fn default() -> Self {
        let mut meters = Self {
            registry: Registry::with_prefix("flagfuse"),
            requests: Family::new_with_constructor(seconds),
            changes: Family::default(),
            transitions: Family::default(),
            propagation: Histogram::new(PROPAGATION),
            nacks: Family::default(),
            logins: Family::default(),
            ingest_batches: seconds(),
            engine_ticks: seconds(),
            engine_ticked_seconds: Gauge::default(),
        };
        meters.register();
        meters
    }
}

impl Meters {
    fn register(&mut self) {
        let registry = &mut self.registry;
        // A gauge and no `Info`: of all of OpenMetrics' kinds it is the one that older readers do not know.
        let build: Family<BuildLabels, Gauge> = Family::default();
        build.get_or_create(&BuildLabels { version: env!("CARGO_PKG_VERSION"), commit: commit() }).set(1);
        registry.register("build_info", "The program", build);
        registry.register_with_unit(
            "http_request_duration",
            "Answers by route, from the head of the request to that of the answer",
            Unit::Seconds,
            self.requests.clone(),
        );
        registry.register("changes", "Changes that were committed, by what was done", self.changes.clone());
        registry.register(
            "fuse_transitions",
            "Moves of fuses, by circuit and by who moved them",
            self.transitions.clone(),
        );
        registry.register_with_unit(
            "propagation",
            "A version, from its signature until its last replica stored it",
            Unit::Seconds,
            self.propagation.clone(),
        );
        registry.register(
            "nacks",
            "Snapshots and beats that replicas refused, by region and code",
            self.nacks.clone(),
        );
        registry.register(
            "login_attempts",
            "Attempts to sign in, by what was shown and how they ended",
            self.logins.clone(),
        );
        registry.register_with_unit(
            "ingest_batch_duration",
            "A group of batches of events, until it was committed",
            Unit::Seconds,
            self.ingest_batches.clone(),
        );
        registry.register_with_unit(
            "engine_tick_duration",
            "A look at all fuses",
            Unit::Seconds,
            self.engine_ticks.clone(),
        );
        registry.register_with_unit(
            "engine_ticked",
            "When all fuses were looked at last, since 1970",
            Unit::Seconds,
            self.engine_ticked_seconds.clone(),
        );
    }

    /// A request was answered. `route` is a template of the document.
    pub fn answered(&self, route: &str, method: &str, status: u16, lasted: Duration) {
        let labels = RequestLabels { route: route.to_owned(), method: known_method(method), status };
        self.requests.get_or_create(&labels).observe(lasted.as_secs_f64());
    }

    /// A change was committed: a word of the audit trail, and who made it, as the trail names them.
    pub fn changed(&self, kind: &'static str, actor: &str) {
        self.changes.get_or_create(&ChangeLabels { kind, actor_kind: actor_kind(actor) }).inc();
    }

    /// A fuse moved to a circuit, by somebody of this kind.
    pub fn moved(&self, to: &'static str, actor: &str) {
        self.transitions.get_or_create(&TransitionLabels { to, by: actor_kind(actor) }).inc();
    }

    /// The last replica stored a version, so long after it was signed.
    pub fn propagated(&self, lasted: Duration) {
        self.propagation.observe(lasted.as_secs_f64());
    }

    /// A replica of a region refused something. A code that is none of ours counts as `other`.
    pub fn refused(&self, region: &str, code: &'static str) {
        self.nacks.get_or_create(&NackLabels { region: region.to_owned(), code }).inc();
    }

    /// Somebody tried to sign in by a word for what was shown, which ended in a word.
    pub fn login(&self, by: &'static str, outcome: &'static str) {
        self.logins.get_or_create(&LoginLabels { by, outcome }).inc();
    }

    /// A group of batches was committed.
    pub fn ingested(&self, lasted: Duration) {
        self.ingest_batches.observe(lasted.as_secs_f64());
    }

    /// All fuses were looked at; when that ended.
    #[expect(clippy::cast_precision_loss, reason = "milliseconds since 1970 are below 2^53")]
    pub fn ticked(&self, lasted: Duration, at: UnixMillis) {
        self.engine_ticks.observe(lasted.as_secs_f64());
        self.engine_ticked_seconds.set(at.0 as f64 / 1_000.0);
    }

    /// `OpenMetrics` text of it, and of what stands beside it, to its end mark.
    pub fn text(&self, beside: &Registry) -> String {
        let mut text = String::new();
        // Writing to a String cannot fail.
        let written = encode_registry(&mut text, &self.registry)
            .and_then(|()| encode_registry(&mut text, beside))
            .and_then(|()| encode_eof(&mut text));
        if written.is_err() {
            text.clear();
            let _ = writeln!(text, "# EOF");
        }
        text
    }
}

/// The commit that it was built of, where the build said so.
fn commit() -> &'static str {
    option_env!("FLAGFUSE_COMMIT").unwrap_or("unknown")
}

/// A method as a label; anybody can send any word.
fn known_method(method: &str) -> &'static str {
    const KNOWN: [&str; 7] = ["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"];
    KNOWN.into_iter().find(|known| *known == method).unwrap_or("OTHER")
}

/// Who made a change, by the word before the colon: `token:ada` is a `token`.
fn actor_kind(actor: &str) -> &'static str {
    const KNOWN: [&str; 6] = ["token", "user", "fuse", "job", "slo", "operator"];
    let word = actor.split_once(':').map_or(actor, |(word, _)| word);
    KNOWN.into_iter().find(|known| *known == word).unwrap_or("other")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn series(text: &str) -> usize {
        text.lines().filter(|line| !line.starts_with('#')).count()
    }

    #[test]
    fn what_is_measured_is_told_as_openmetrics_once_to_its_end() {
        let meters = Meters::default();
        meters.answered("/v1/flags/{flag}", "GET", 200, Duration::from_millis(7));
        meters.changed("flag.put", "token:ada");
        meters.moved("OPEN", "fuse");
        meters.propagated(Duration::from_millis(143));
        meters.refused("eu", "E_EQUIV");
        meters.login("link", "refused");
        meters.ingested(Duration::from_millis(3));
        meters.ticked(Duration::from_millis(12), UnixMillis(1_796_000_000_500));
        let mut beside = Registry::with_prefix("flagfuse");
        let fuses: Gauge = Gauge::default();
        fuses.set(3);
        beside.register("fuses", "Fuses", fuses);
        let text = meters.text(&beside);
        for line in [
            r#"flagfuse_http_request_duration_seconds_bucket{le="0.01",route="/v1/flags/{flag}",method="GET",status="200"} 1"#,
            r#"flagfuse_changes_total{kind="flag.put",actor_kind="token"} 1"#,
            r#"flagfuse_fuse_transitions_total{to="OPEN",by="fuse"} 1"#,
            r#"flagfuse_propagation_seconds_bucket{le="0.15"} 1"#,
            r#"flagfuse_propagation_seconds_bucket{le="0.1"} 0"#,
            r#"flagfuse_nacks_total{region="eu",code="E_EQUIV"} 1"#,
            r#"flagfuse_login_attempts_total{by="link",outcome="refused"} 1"#,
            "flagfuse_ingest_batch_duration_seconds_count 1",
            "flagfuse_engine_ticked_seconds 1796000000.5",
            "flagfuse_fuses 3",
        ] {
            assert!(text.lines().any(|said| said == line), "{line} is not in\n{text}");
        }
        assert!(text.ends_with("# EOF\n") && text.matches("# EOF").count() == 1);
        assert!(text.contains("flagfuse_build_info{version=\""));
    }

    #[test]
    fn whatever_is_sent_makes_no_series() {
        let meters = Meters::default();
        let nothing = Registry::default();
        let tell = |n: u32| {
            meters.answered("unmatched", &format!("M{n}"), 404, Duration::ZERO);
            meters.changed("flag.put", &format!("token:{n}"));
            meters.changed("flag.put", &format!("{n}"));
        };
        tell(0);
        let before = series(&meters.text(&nothing));
        (1..10_000).for_each(tell);
        assert_eq!(series(&meters.text(&nothing)), before);
    }
}
