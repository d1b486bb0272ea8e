//! The rules under which a phase counts: fixed with its first event, logged, and kept as JSON beside its cells.

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::bins::VALUE_EDGES;
use crate::id::{MetricNo, NameNo, PhaseId, Source};

/// Metrics of a phase, at most: a unit keeps one bit for each.
pub const METRICS_MAX: usize = 31;
/// Declared slices of a phase, at most: four dimensions of 20 values and the rest of each.
pub const SLICES_MAX: usize = 84;
/// Names that the rules of a phase mention, at most.
pub const NAMES_MAX: usize = 256;
/// Bytes of a name of a metric or a slice, at most.
pub const NAME_BYTES_MAX: usize = 256;

/// What a phase counts, and since when.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PhaseRules {
    pub phase: PhaseId,
    /// Exposures that happened before enrol nobody.
    pub started_ms: u64,
    /// Units whose first exposure happened in the first `grace_ms` of the phase count in none of its cells.
    pub grace_ms: u64,
    /// The metric at index i has number i + 1.
    pub metrics: Vec<MetricRules>,
    /// The slice at index i has number i + 2.
    pub slices: Vec<SliceRules>,
    /// Whose outcomes count.
    #[serde(default, skip_serializing_if = "OutcomesFrom::is_anybody")]
    pub outcomes_from: OutcomesFrom,
}

/// Whose outcomes count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OutcomesFrom {
    /// Anybody's for whom somebody vouches.
    #[default]
    Any,
    /// Those that a server sent with a secret key.
    Server,
}

impl OutcomesFrom {
    /// Whether the source makes no difference.
    pub const fn is_anybody(&self) -> bool {
        matches!(self, Self::Any)
    }

    /// Whether an outcome of this source counts.
    pub const fn takes(self, source: Source) -> bool {
        match self {
            Self::Any => true,
            Self::Server => matches!(source, Source::Server),
        }
    }
}

/// One metric of a phase.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MetricRules {
    pub name: String,
    /// The outcomes that count.
    pub matching: Matching,
    /// When, after the unit's enrolment.
    pub window: Window,
    pub counting: Counting,
}

/// Outcomes by their names.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Matching {
    /// Those of this name.
    Named(String),
    /// Those of these names.
    AnyOf(Vec<String>),
    /// Those of any name but these.
    NoneOf(Vec<String>),
}

impl Matching {
    /// The names it mentions.
    pub fn names(&self) -> &[String] {
        match self {
            Self::Named(name) => std::slice::from_ref(name),
            Self::AnyOf(names) | Self::NoneOf(names) => names,
        }
    }
}

/// Milliseconds after a unit's enrolment: from `after_ms` up to, not including, `within_ms`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Window {
    pub after_ms: u64,
    pub within_ms: u64,
}

/// How a unit's outcomes of a metric count.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Counting {
    /// Once, whatever their number.
    First,
    /// Once, with the value of the first: a latency in milliseconds. An outcome without a value is no sample.
    Sample,
    /// Each, with its value; without one it counts with 0. `edges` are the 63 lower edges of the bins 1 to 63 of a unit's
    /// sum, in micros, rising, frozen with the phase; without them those of [`crate::bins::value_edges`].
    Sum {
        #[serde(default, skip_serializing_if = "Option::is_none")]
        edges: Option<Vec<i64>>,
    },
}

/// A declared slice: units whose `dimension` had `value` when they enrolled.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SliceRules {
    pub dimension: String,
    /// `None` for the rest, whatever its value.
    pub value: Option<String>,
}

/// Why rules are refused.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum RulesFault {
    /// More of something than a unit's state or a key has room for.
    #[error("{found} {what}, allowed are {allowed}")]
    TooMany { what: &'static str, found: usize, allowed: usize },
    /// A name that is longer than the log takes.
    #[error("a name of {found} bytes, allowed are {NAME_BYTES_MAX}")]
    LongName { found: usize },
    /// A window in which nothing can happen.
    #[error(
        "metric {metric:?} counts from {after_ms} ms to {within_ms} ms after the enrolment, which is never"
    )]
    EmptyWindow { metric: String, after_ms: u64, within_ms: u64 },
    /// Bins that do not follow one another.
    #[error("the bins of metric {metric:?} need {VALUE_EDGES} rising edges")]
    Edges { metric: String },
}

impl PhaseRules {
    /// Whether a ledger can count under these rules; one that is given others counts nothing for the phase.
    pub fn check(&self) -> Result<(), RulesFault> {
        let names = self.metrics.iter().map(|metric| metric.matching.names().len()).sum();
        for (what, found, allowed) in [
            ("metrics", self.metrics.len(), METRICS_MAX),
            ("slices", self.slices.len(), SLICES_MAX),
            ("names", names, NAMES_MAX),
        ] {
            if found > allowed {
                return Err(RulesFault::TooMany { what, found, allowed });
            }
        }
        let long = self.texts().map(str::len).find(|length| *length > NAME_BYTES_MAX);
        if let Some(found) = long {
            return Err(RulesFault::LongName { found });
        }
        self.metrics.iter().try_for_each(MetricRules::check)
    }

    /// Names of metrics, of outcomes and of slices.
    fn texts(&self) -> impl Iterator<Item = &str> {
        let metrics = self.metrics.iter().map(|metric| metric.name.as_str());
        let names = self.metrics.iter().flat_map(|metric| metric.matching.names()).map(String::as_str);
        let slices = self.slices.iter().flat_map(|slice| [Some(&slice.dimension), slice.value.as_ref()]);
        metrics.chain(names).chain(slices.flatten().map(String::as_str))
    }

    /// The number of the metric of this name.
    pub fn metric_no(&self, name: &str) -> Option<MetricNo> {
        let at = self.metrics.iter().position(|metric| metric.name == name)?;
        u8::try_from(at + 1).ok().map(MetricNo)
    }
}

impl MetricRules {
    fn check(&self) -> Result<(), RulesFault> {
        let Window { after_ms, within_ms } = self.window;
        if after_ms >= within_ms {
            return Err(RulesFault::EmptyWindow { metric: self.name.clone(), after_ms, within_ms });
        }
        match &self.counting {
            Counting::Sum { edges: Some(edges) }
                if edges.len() != VALUE_EDGES || !edges.is_sorted_by(|a, b| a < b) =>
            {
                Err(RulesFault::Edges { metric: self.name.clone() })
            }
            Counting::First | Counting::Sample | Counting::Sum { .. } => Ok(()),
        }
    }
}

/// The names that any rules have mentioned, numbered from 1 in the order of their first mention. Names that only clients
/// know have no number, so that nobody can make this grow.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Names {
    by_no: Vec<String>,
    by_name: std::collections::BTreeMap<String, NameNo>,
}

impl Names {
    pub(crate) fn no(&self, name: &str) -> NameNo {
        self.by_name.get(name).copied().unwrap_or(NameNo::OTHER)
    }

    /// The name's number, a new one if need be. After 65,535 names the rest counts as other.
    pub(crate) fn intern(&mut self, name: &str) -> NameNo {
        let known = self.no(name);
        if known != NameNo::OTHER {
            return known;
        }
        let Ok(number) = u16::try_from(self.by_no.len() + 1) else { return NameNo::OTHER };
        self.by_no.push(name.to_owned());
        self.by_name.insert(name.to_owned(), NameNo(number));
        NameNo(number)
    }

    /// All names, in the order of their numbers.
    pub(crate) fn iter(&self) -> impl ExactSizeIterator<Item = &str> {
        self.by_no.iter().map(String::as_str)
    }
}
