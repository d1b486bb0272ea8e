//! What the connected edges can read, and how a snapshot is written for the oldest of them.
//!
//! A change that would add what an edge cannot read is refused. A kill is never refused: other flags that need a newer
//! reader are lowered in its snapshot, and wait like that until the edge has gone or is a newer one.

use std::collections::BTreeMap;
use std::sync::Arc;

use flagfuse_shared::definition::FlagWire;
use flagfuse_shared::ids::{TenantKey, UnixMillis};
use flagfuse_shared::snapshot::payload::Content;
use flagfuse_shared::snapshot::reader::{Features, OLDEST_READER};

use crate::store::edge_readers::{self, ReaderRow};
use crate::store::receipts::ReplicaName;
use crate::store::{Connection, StoreError};

/// For how long an edge counts that is connected no longer, or that was exchanged: isolates of it may still run.
pub const LATELY_MS: u64 = 10 * 60_000;

/// What an edge can read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EdgeReader {
    pub replica: ReplicaName,
    /// What it counts as.
    pub reader: u32,
    /// Whether it said so itself; one that does not say counts as the oldest there is.
    pub is_named: bool,
}

impl std::fmt::Display for EdgeReader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { replica: ReplicaName { region, shard }, reader, is_named } = self;
        write!(f, "the edge of region {region:?} (replica {shard}) ")?;
        if *is_named {
            write!(f, "is reader {reader}")
        } else {
            write!(f, "does not say its reader and counts as {reader}")
        }
    }
}

/// The readers that a tenant's edges have been lately, as they said; the newest word of each replica first.
pub async fn lately(
    conn: &mut Connection,
    tenant: &TenantKey,
    now: UnixMillis,
) -> Result<Vec<ReaderRow>, StoreError> {
    edge_readers::since(conn, tenant, now.minus(LATELY_MS)).await
}

/// The oldest of them; `None` when no edge is known.
pub fn oldest(lately: Vec<ReaderRow>) -> Option<EdgeReader> {
    let edges = lately.into_iter().map(|row| EdgeReader {
        replica: row.replica,
        reader: row.reader.max(OLDEST_READER),
        is_named: row.reader > 0,
    });
    edges.min_by_key(|edge| edge.reader)
}

/// How a content was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fitted {
    /// The smallest reader that understands it.
    pub reader_min: u32,
    /// The reader that some flags were lowered to; `None` when it says all that it should.
    pub lowered_to: Option<u32>,
}

/// What becomes of a flag that an edge cannot read, where the version before did not have it as it is now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Firmness {
    /// The change is refused: it can wait for the edge.
    Refused,
    /// It is lowered: the change takes something away, or renews.
    Lowered,
    /// The same, and what an edge could not read before is lowered too: the version has to reach every edge.
    Reaches,
}

/// An edge that is connected, or was a few minutes ago, could not read what a change adds.
#[derive(Debug, thiserror::Error)]
#[error(
    "flag {flag:?} needs edges of reader {needed} or newer, and {edge}: bring that edge up to date first; an edge counts \
     until ten minutes after it was connected last"
)]
pub struct EdgeTooOld {
    /// The oldest edge.
    pub edge: Box<EdgeReader>,
    /// The first flag that it cannot read.
    pub flag: String,
    /// The reader that the flag needs.
    pub needed: u32,
}

/// Writes a content for the oldest edge, which cannot read all of it; `before` are the flags of the version before, by key.
pub fn fit(
    features: Features,
    content: &mut Content<Arc<FlagWire>>,
    before: &BTreeMap<String, FlagWire>,
    edge: EdgeReader,
    firmness: Firmness,
) -> Result<Fitted, EdgeTooOld> {
    let mut lowered_to = None;
    for flag in &mut content.flags {
        let needed = features.flag_needs(flag);
        if needed <= edge.reader {
            continue;
        }
        let lowered = features.lowered(flag, edge.reader);
        let last = before.get(&flag.key);
        let is_last = |wire: &FlagWire| last.is_some_and(|last| is_same(last, wire));
        match firmness {
            // The edge could not read it before, and this version changes nothing about that.
            Firmness::Refused | Firmness::Lowered if is_last(flag) => continue,
            Firmness::Refused if !is_last(&lowered) => {
                return Err(EdgeTooOld { edge: Box::new(edge), flag: flag.key.clone(), needed });
            }
            Firmness::Refused | Firmness::Lowered | Firmness::Reaches => {}
        }
        tracing::warn!(flag = flag.key, needed, "a flag is written as an older edge can read it: {edge}");
        *flag = Arc::new(lowered);
        lowered_to = Some(edge.reader);
    }
    Ok(Fitted { reader_min: features.reader_needed(content), lowered_to })
}

/// Whether a flag of a frame says what a row says, which may have a description too.
fn is_same(published: &FlagWire, wire: &FlagWire) -> bool {
    let description = String::new();
    *published == FlagWire { description, ..wire.clone() }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use flagfuse_shared::definition::SharedWire;
    use flagfuse_shared::snapshot::reader::Feature;
    use flagfuse_shared::snapshot::{AutoExposure, Profile};
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn an_edge_that_does_not_say_its_reader_counts_as_the_oldest() {
        let row = |region: &str, reader| ReaderRow {
            replica: ReplicaName { region: region.to_owned(), shard: 0 },
            reader,
            formats: Vec::new(),
            seen_ms: UnixMillis(1),
        };
        assert_eq!(oldest(Vec::new()), None);
        let found = oldest(vec![row("eu", OLDEST_READER + 1), row("us", 0)]).unwrap();
        assert_eq!(
            (found.replica.region.as_str(), found.reader, found.is_named),
            ("us", OLDEST_READER, false)
        );
        assert_eq!(
            found.to_string(),
            format!(
                "the edge of region \"us\" (replica 0) does not say its reader and counts as {OLDEST_READER}"
            )
        );
        let found = oldest(vec![row("eu", OLDEST_READER + 1)]).unwrap();
        assert_eq!(
            found.to_string(),
            format!("the edge of region \"eu\" (replica 0) is reader {}", OLDEST_READER + 1)
        );
    }

    const NEW: u32 = OLDEST_READER + 1;
    const PLANTED: &[Feature] = &[Feature {
        reader: NEW,
        is_in: |flag| flag.schedule.is_some(),
        take_out: |flag| flag.schedule = None,
    }];

    fn flag(key: &str, patch: &Value) -> FlagWire {
        let mut flag =
            json!({ "key": key, "value_type": "boolean", "variations": [{ "key": "on", "value": true }] });
        for (name, value) in patch.as_object().unwrap() {
            flag[name] = value.clone();
        }
        serde_json::from_value(flag).unwrap()
    }

    fn content(flags: &[(&str, Value)]) -> Content<Arc<FlagWire>> {
        Content {
            flags: flags.iter().map(|(key, patch)| Arc::new(flag(key, patch))).collect(),
            client_keys: BTreeSet::new(),
            profile: Profile::Strict,
            auto_exposure: AutoExposure::Single,
            shared: SharedWire::default(),
        }
    }

    fn needing() -> Value {
        json!({ "schedule": { "until_ms": 4_000_000_000_000_u64 }, "description": "for people" })
    }

    /// What becomes of a flag that needs a newer reader: refused, `whole` or `lowered`.
    fn became(before: Option<&Value>, firmness: Firmness) -> Result<&'static str, String> {
        let mut next = content(&[("f", needing()), ("g", json!({}))]);
        let before = before.map(|patch| FlagWire { description: String::new(), ..flag("f", patch) });
        let before = before.into_iter().map(|flag| (flag.key.clone(), flag)).collect();
        let replica = ReplicaName { region: "eu".to_owned(), shard: 1 };
        let edge = EdgeReader { replica, reader: OLDEST_READER, is_named: true };
        let fitted = fit(Features::planted(PLANTED), &mut next, &before, edge, firmness);
        let fitted = fitted.map_err(|error| error.to_string())?;
        let is_whole = next.flags[0].schedule.is_some();
        let expected = if is_whole { (NEW, None) } else { (OLDEST_READER, Some(OLDEST_READER)) };
        assert_eq!((fitted.reader_min, fitted.lowered_to), expected);
        Ok(if is_whole { "whole" } else { "lowered" })
    }

    #[test]
    fn what_an_edge_cannot_read_is_refused_where_it_is_new_and_never_holds_up_a_kill() {
        let (lowered, other) = (json!({}), json!({ "enabled": false }));
        for (before, firmness, expected) in [
            (None, Firmness::Refused, None),
            (Some(&other), Firmness::Refused, None),
            (Some(&needing()), Firmness::Refused, Some("whole")),
            (Some(&lowered), Firmness::Refused, Some("lowered")),
            (None, Firmness::Lowered, Some("lowered")),
            (Some(&needing()), Firmness::Lowered, Some("whole")),
            (Some(&lowered), Firmness::Lowered, Some("lowered")),
            (None, Firmness::Reaches, Some("lowered")),
            (Some(&needing()), Firmness::Reaches, Some("lowered")),
        ] {
            let found = became(before, firmness);
            if let Some(expected) = expected {
                assert_eq!(found.as_deref(), Ok(expected), "{before:?} {firmness:?}");
                continue;
            }
            let said = found.unwrap_err();
            let words = [
                format!("flag \"f\" needs edges of reader {NEW}"),
                "region \"eu\" (replica 1) is reader".into(),
            ];
            assert!(words.iter().all(|words| said.contains(words)), "{said}");
        }
    }
}
