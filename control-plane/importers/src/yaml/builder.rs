//! Puts scalars, lists and mappings together and counts what they cost. Reads no text.

use std::collections::BTreeMap;

use flagfuse_shared::limits::{IMPORT_LEN_MAX, IMPORT_YAML_DEPTH_MAX, IMPORT_YAML_VALUE_COUNT_MAX};
use saphyr_parser::Tag;
use serde_json::{Map, Value};

use super::YamlFault;

/// The key whose value is merged into its mapping.
const MERGE: &str = "<<";

/// A document under construction.
#[derive(Debug)]
pub(super) struct Builder {
    document_count: usize,
    root: Value,
    open: Vec<Open>,
    /// Complete values that aliases may stand for, by the parser's number.
    anchored: BTreeMap<usize, Value>,
    values_left: usize,
    bytes_left: usize,
}

/// A list or mapping whose end has not come.
#[derive(Debug)]
struct Open {
    anchor: usize,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    List(Vec<Value>),
    Map {
        fields: Map<String, Value>,
        /// The key whose value comes next.
        key: Option<String>,
        /// Mappings to merge: what stands in the mapping itself counts more, and earlier ones more than later ones.
        merged: Vec<Map<String, Value>>,
    },
}

impl Default for Builder {
    fn default() -> Self {
        Self {
            document_count: 0,
            root: Value::Null,
            open: Vec::new(),
            anchored: BTreeMap::new(),
            values_left: IMPORT_YAML_VALUE_COUNT_MAX,
            bytes_left: IMPORT_LEN_MAX,
        }
    }
}

impl Builder {
    pub(super) const fn begin_document(&mut self) -> Result<(), YamlFault> {
        self.document_count += 1;
        if self.document_count > 1 { Err(YamlFault::SecondDocument) } else { Ok(()) }
    }

    pub(super) fn scalar(&mut self, value: Value, anchor: usize) -> Result<(), YamlFault> {
        self.spend(&value, IMPORT_YAML_DEPTH_MAX)?;
        self.complete(value, anchor)
    }

    pub(super) fn alias(&mut self, anchor: usize) -> Result<(), YamlFault> {
        // One that stands inside its own anchor is not complete either, so there are no circles.
        let value = self.anchored.remove(&anchor).ok_or(YamlFault::OpenAnchor)?;
        let depth_left = IMPORT_YAML_DEPTH_MAX.saturating_sub(self.open.len());
        // What it costs is asked before it is copied.
        let copy = self.spend(&value, depth_left).map(|()| value.clone());
        self.anchored.insert(anchor, value);
        self.complete(copy?, NO_ANCHOR)
    }

    pub(super) fn begin_list(&mut self, anchor: usize, tag: Option<&Tag>) -> Result<(), YamlFault> {
        self.begin(anchor, tag, "seq", Kind::List(Vec::new()))
    }

    pub(super) fn begin_map(&mut self, anchor: usize, tag: Option<&Tag>) -> Result<(), YamlFault> {
        let kind = Kind::Map { fields: Map::new(), key: None, merged: Vec::new() };
        self.begin(anchor, tag, "map", kind)
    }

    fn begin(&mut self, anchor: usize, tag: Option<&Tag>, own: &str, kind: Kind) -> Result<(), YamlFault> {
        if let Some(tag) = tag.filter(|tag| !tag.is_yaml_core_schema() || tag.suffix != own) {
            return Err(YamlFault::Tag { tag: tag.to_string() });
        }
        if self.open.len() == IMPORT_YAML_DEPTH_MAX {
            return Err(YamlFault::TooDeep);
        }
        self.spend_value(0)?;
        self.open.push(Open { anchor, kind });
        Ok(())
    }

    /// The list or mapping that was begun last is complete.
    pub(super) fn end(&mut self) -> Result<(), YamlFault> {
        let Some(Open { anchor, kind }) = self.open.pop() else { return Ok(()) };
        let value = match kind {
            Kind::List(items) => Value::Array(items),
            Kind::Map { mut fields, merged, .. } => {
                for (name, value) in merged.into_iter().flatten() {
                    fields.entry(name).or_insert(value);
                }
                Value::Object(fields)
            }
        };
        self.complete(value, anchor)
    }

    /// A value has its place: as a key, as a field's value, in a list, or as the document.
    fn complete(&mut self, value: Value, anchor: usize) -> Result<(), YamlFault> {
        if anchor != NO_ANCHOR {
            // The copy is paid for like any other.
            self.spend(&value, IMPORT_YAML_DEPTH_MAX)?;
            self.anchored.insert(anchor, value.clone());
        }
        match self.open.last_mut().map(|open| &mut open.kind) {
            None => self.root = value,
            Some(Kind::List(items)) => items.push(value),
            Some(Kind::Map { fields, key, merged }) => match key.take() {
                None => {
                    let Value::String(name) = value else { return Err(YamlFault::KeyType) };
                    if fields.contains_key(&name) {
                        return Err(YamlFault::KeyTwice { key: name });
                    }
                    *key = Some(name);
                }
                Some(name) if name == MERGE => merge(value, merged)?,
                Some(name) => {
                    fields.insert(name, value);
                }
            },
        }
        Ok(())
    }

    /// Takes from the budgets what a value costs, with everything in it.
    fn spend(&mut self, value: &Value, depth_left: usize) -> Result<(), YamlFault> {
        self.spend_value(value.as_str().map_or(0, str::len))?;
        let inner = || depth_left.checked_sub(1).ok_or(YamlFault::TooDeep);
        match value {
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => Ok(()),
            Value::Array(items) => {
                let depth_left = inner()?;
                items.iter().try_for_each(|item| self.spend(item, depth_left))
            }
            Value::Object(fields) => {
                let depth_left = inner()?;
                fields.iter().try_for_each(|(name, field)| {
                    self.spend_value(name.len())?;
                    self.spend(field, depth_left)
                })
            }
        }
    }

    fn spend_value(&mut self, len: usize) -> Result<(), YamlFault> {
        self.values_left = self.values_left.checked_sub(1).ok_or(YamlFault::TooManyValues)?;
        self.bytes_left = self.bytes_left.checked_sub(len).ok_or(YamlFault::TooLong)?;
        Ok(())
    }

    pub(super) fn finish(self) -> Value {
        self.root
    }
}

/// The parser counts anchors from 1.
const NO_ANCHOR: usize = 0;

fn merge(value: Value, merged: &mut Vec<Map<String, Value>>) -> Result<(), YamlFault> {
    let sources = match value {
        Value::Array(sources) => sources,
        only => vec![only],
    };
    for source in sources {
        let Value::Object(fields) = source else { return Err(YamlFault::Merge) };
        merged.push(fields);
    }
    Ok(())
}
