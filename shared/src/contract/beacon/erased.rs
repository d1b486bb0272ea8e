//! Units that were erased, as edges are told of them, and how rows that wait at an edge are rid of them. Text in, text out.
//!
//! A unit is named by a hash with a salt of its environment: the list tells nobody who was erased, but whoever holds an event
//! of that unit anyway.

use std::ops::Range;

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::digest::Digest;
use crate::ids::Scope;
use crate::limits::EVENT_AGE_MS_MAX;
use crate::ordered;
use crate::strict;

/// For how long a control plane names an erased unit: events that are older are counted nowhere, and a day more.
pub const ERASED_KEPT_MS: u64 = EVENT_AGE_MS_MAX + 24 * 3_600_000;
/// Units that it names, the newest ones.
pub const ERASED_COUNT_MAX: usize = 10_000;

/// Path of an environment's list at the control plane; authenticated like ingestion.
pub fn erased_path(scope: &Scope) -> String {
    format!("/v1/projects/{}/environments/{}/erasures", scope.project, scope.environment)
}

/// Hexadecimal digits of a hash.
const HASH_LEN: usize = 32;

/// By what edges know an erased unit: the first half of SHA-256 over salt, line feed and unit, in hexadecimal digits.
pub fn edge_hash(salt: &str, unit: &str) -> String {
    let mut digits = Digest::of([salt, "\n", unit].concat().as_bytes()).to_string();
    digits.truncate(HASH_LEN);
    digits
}

/// The erased units of an environment.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct ErasedUnits {
    salt: String,
    /// Each as [`edge_hash`] writes it.
    units: Vec<String>,
}

impl ErasedUnits {
    /// Reads a control plane's list; `None` for what is none.
    pub fn read(body: &[u8]) -> Option<Self> {
        let mut list: Self = strict::from_slice(body).ok()?;
        ordered::sort(&mut list.units);
        Some(list)
    }

    /// Whether nobody was erased.
    pub const fn is_empty(&self) -> bool {
        self.units.is_empty()
    }

    fn has(&self, unit: &str) -> bool {
        self.units.binary_search(&edge_hash(&self.salt, unit)).is_ok()
    }

    /// The requests of a row, of either format, without what names an erased unit; `None` when nothing does.
    ///
    /// Each event keeps its place, so that a batch which may have been applied stays the batch it is: an event becomes `null`
    /// and its request says `has_erased`, an exposure loses its unit.
    pub fn without(&self, requests: &str) -> Option<String> {
        let array = format!("[{requests}]");
        let mut cuts: Vec<(Range<usize>, &str)> = Vec::new();
        for request in strict::list(&array)? {
            let mut has_erased = false;
            let whole = place_in(&array, request);
            for (name, value) in strict::fields(request.get().as_bytes()).ok()? {
                match name.as_str() {
                    "events" => {
                        for event in
                            strict::items(value).ok()?.into_iter().filter(|event| self.is_about(event))
                        {
                            has_erased = true;
                            cuts.push((place_in(&array, event), "null"));
                        }
                    }
                    "raw" if self.is_about(value) => cuts.push((place_in(&array, value), "null")),
                    "exposures" => {
                        for group in strict::items(value).ok()? {
                            let units = self.erased_of(group)?.into_iter();
                            cuts.extend(units.map(|unit| (place_in(&array, unit), "\"\"")));
                        }
                    }
                    _ => {}
                }
            }
            if has_erased {
                cuts.push((whole.start..whole.start + 1, "{\"has_erased\":true,"));
            }
        }
        (!cuts.is_empty()).then(|| replaced(&array, cuts))
    }

    /// Whether a text that an event holds is an erased unit, whatever field it is in.
    fn is_about(&self, event: &RawValue) -> bool {
        let names_one = |value: &RawValue| text(value).is_some_and(|text| self.has(&text));
        let fields = strict::fields(event.get().as_bytes()).unwrap_or_default();
        names_one(event) || fields.iter().any(|(_, value)| names_one(value))
    }

    /// Erased units of a group of exposures.
    fn erased_of<'g>(&self, group: &'g RawValue) -> Option<Vec<&'g RawValue>> {
        let fields = strict::fields(group.get().as_bytes()).ok()?;
        let (_, shown) = fields.into_iter().find(|(name, _)| name == "units")?;
        let units = strict::items(shown).ok()?.into_iter();
        let units = units.filter_map(|shown| strict::items(shown).ok()?.into_iter().next());
        Some(units.filter(|unit| text(unit).is_some_and(|unit| self.has(&unit))).collect())
    }
}

fn text(value: &RawValue) -> Option<String> {
    // A number or an object is no unit, and need not be read.
    value.get().starts_with('"').then(|| strict::from_slice(value.get().as_bytes()).ok()).flatten()
}

/// Where a part stands in the text that it is a part of.
fn place_in(whole: &str, part: &RawValue) -> Range<usize> {
    let start = part.get().as_ptr().addr().saturating_sub(whole.as_ptr().addr());
    start..start + part.get().len()
}

/// What stands in the brackets, with these places replaced.
fn replaced(array: &str, mut cuts: Vec<(Range<usize>, &str)>) -> String {
    ordered::sort_by(&mut cuts, |(left, _), (right, _)| left.start.cmp(&right.start));
    let mut out = String::with_capacity(array.len());
    let mut from = 1;
    for (place, instead) in cuts {
        out.push_str(array.get(from..place.start).unwrap_or_default());
        out.push_str(instead);
        from = place.end;
    }
    out.push_str(array.get(from..array.len() - 1).unwrap_or_default());
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contract::beacon::{Content, IngestBatch};

    fn list(units: &[&str]) -> ErasedUnits {
        let hashes: Vec<String> = units.iter().map(|unit| edge_hash("salt", unit)).collect();
        let body = serde_json::json!({ "salt": "salt", "units": hashes, "new": 1 });
        ErasedUnits::read(body.to_string().as_bytes()).unwrap()
    }

    const ROW: &str = r#"{"received_ms":9,"source":"edge","exposures":[{"flag":"f","phase":1,"version":"1.1","variations":["on"],"units":[["ann",0,0,7],["a\u006en",0,1,7],["bob",0,2,7]]}]},{"received_ms":10,"source":"open","events":[{"id":"1","type":"outcome","unit":"ann","metric":"m","occurred_ms":9}, {"id":"2","type":"outcome","unit":"bob","metric":"m","occurred_ms":9},{"id":"3","who":"ann"},"ann",7]},{"received_ms":11,"source":"open","events":[{"id":"4","type":"link","unit":"bob","canonical":"ann","occurred_ms":9}]}"#;

    #[test]
    fn a_row_loses_erased_units_and_every_other_event_keeps_its_place() {
        let left = list(&["ann"]).without(ROW).unwrap();
        assert!(!left.contains("\"ann\"") && !left.contains("006en"), "{left}");
        let batch = |row: &str| {
            format!(
                r#"{{"format":2,"buffer_id":"b","batch_seq":1,"tenant":"t","project":"p","environment":"e","region":"r","requests":[{row}]}}"#
            )
        };
        let told = |row: &str| -> Vec<String> {
            let body = batch(row);
            let batch = IngestBatch::parse(body.as_bytes()).unwrap();
            let told = batch.arrivals().map(|arrival| match arrival.content {
                Content::Erased => "erased".to_owned(),
                Content::Exposure(exposure) => exposure.unit.to_owned(),
                Content::Raw(raw) => raw.get(..8).unwrap_or(raw).to_owned(),
            });
            told.collect()
        };
        let after = ["erased", "erased", "bob", "erased", r#"{"id":"2"#, "erased", "erased", "7", "erased"];
        assert_eq!((told(ROW).len(), told(&left)), (after.len(), after.map(str::to_owned).to_vec()));
        assert_eq!(list(&["ann"]).without(&left), None, "nothing is left of the unit");
        assert_eq!(list(&["cid"]).without(ROW), None);
        assert_eq!(list(&[]).without(ROW), None);
    }

    #[test]
    fn a_row_of_the_older_format_loses_them_too() {
        let row = r#"{"received_ms":1,"raw":{"id":"1","unit":"ann"}},{"received_ms":1,"raw":{"id":"2","unit":"bob"}}"#;
        let left = list(&["ann"]).without(row).unwrap();
        assert_eq!(left, r#"{"received_ms":1,"raw":null},{"received_ms":1,"raw":{"id":"2","unit":"bob"}}"#);
    }

    #[test]
    fn a_list_is_what_a_control_plane_writes() {
        assert!(list(&[]).is_empty() && !list(&["a"]).is_empty());
        for bad in ["", "[]", "{}", r#"{"salt":1,"units":[]}"#, r#"{"salt":"s","units":[7]}"#] {
            assert_eq!(ErasedUnits::read(bad.as_bytes()), None, "{bad}");
        }
        assert_ne!(edge_hash("a", "u"), edge_hash("b", "u"));
        assert_eq!(edge_hash("a", "u").len(), HASH_LEN);
    }
}
