//! Attributes: those that say something of a flag or an outcome are kept by their names, and of all of them a print.

use std::borrow::Cow;

use flagfuse_shared::limits::EVENT_LEN_MAX;

/// A value of an attribute.
#[derive(Debug, Clone, PartialEq)]
pub enum Attr<'b> {
    /// A text.
    Text(Cow<'b, str>),
    /// A truth value.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// A number.
    Double(f64),
    /// A list, an object or bytes.
    Other,
}

impl Attr<'_> {
    /// The text that it is.
    pub fn text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            Self::Bool(_) | Self::Int(_) | Self::Double(_) | Self::Other => None,
        }
    }

    /// The same, without what it was read from.
    pub(crate) fn into_owned(self) -> Attr<'static> {
        match self {
            Self::Text(text) => Attr::Text(Cow::Owned(text.into_owned())),
            Self::Bool(value) => Attr::Bool(value),
            Self::Int(value) => Attr::Int(value),
            Self::Double(value) => Attr::Double(value),
            Self::Other => Attr::Other,
        }
    }

    /// Appends it as JSON.
    pub(crate) fn write(&self, json: &mut String) {
        match self {
            Self::Text(text) => json.push_str(&serde_json::to_string(text).unwrap_or_default()),
            Self::Bool(value) => json.push_str(if *value { "true" } else { "false" }),
            Self::Int(value) => json.push_str(&value.to_string()),
            // What is not finite is no number in JSON.
            Self::Double(value) => json.push_str(&serde_json::Value::from(*value).to_string()),
            Self::Other => json.push_str("[]"),
        }
    }
}

/// Names that are looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Key {
    Flag,
    Variant,
    Unit,
    Version,
    Set,
    Reason,
    Phase,
    Slices,
    Metric,
    OutcomeUnit,
    Value,
    Id,
    EventName,
    SdkLanguage,
    SdkVersion,
}

const KEY_COUNT: usize = 15;

impl Key {
    /// By an attribute's name, and whether that is an older one than another name of the same.
    const fn of(name: &[u8]) -> Option<(Self, bool)> {
        Some(match name {
            b"feature_flag.key" => (Self::Flag, false),
            b"feature_flag.result.variant" => (Self::Variant, false),
            b"feature_flag.variant" => (Self::Variant, true),
            b"feature_flag.context.id" => (Self::Unit, false),
            b"feature_flag.version" => (Self::Version, false),
            b"feature_flag.set.id" => (Self::Set, false),
            b"feature_flag.result.reason" => (Self::Reason, false),
            b"feature_flag.evaluation.reason" => (Self::Reason, true),
            b"flagfuse.phase" => (Self::Phase, false),
            b"flagfuse.slices" => (Self::Slices, false),
            b"flagfuse.metric" => (Self::Metric, false),
            b"flagfuse.unit" => (Self::OutcomeUnit, false),
            b"flagfuse.value" => (Self::Value, false),
            b"flagfuse.id" => (Self::Id, false),
            b"event.name" => (Self::EventName, false),
            b"telemetry.sdk.language" => (Self::SdkLanguage, false),
            b"telemetry.sdk.version" => (Self::SdkVersion, false),
            _ => return None,
        })
    }

    /// Whether an attribute of this name is looked for.
    pub(crate) const fn is_sought(name: &[u8]) -> bool {
        Self::of(name).is_some()
    }
}

/// What is kept of a list of attributes.
#[derive(Debug, Clone, Default)]
pub(crate) struct Attributes<'b> {
    found: [Option<Attr<'b>>; KEY_COUNT],
    /// Which of them had an older name.
    older: u32,
    print: u64,
}

impl<'b> Attributes<'b> {
    /// Keeps an attribute that is looked for. Of two with one name the first counts. A text that no event has room for is cut,
    /// and still no event has room for it.
    pub(crate) fn keep(&mut self, name: &[u8], value: Attr<'b>) {
        let Some((key, is_older)) = Key::of(name) else { return };
        let bit = 1 << (key as u32);
        if let Some(place) = self.found.get_mut(key as usize)
            && (place.is_none() || (self.older & bit != 0 && !is_older))
        {
            *place = Some(match value {
                Attr::Text(text) => Attr::Text(cut(text)),
                value => value,
            });
            self.older = if is_older { self.older | bit } else { self.older & !bit };
        }
    }

    /// Adds an attribute to the print, which does not depend on their order.
    pub(crate) fn add_to_print(&mut self, name: &[u8], value: Option<&Attr<'_>>) {
        let of_name = mixed(FNV_OFFSET, name);
        let of_value = match value {
            Some(Attr::Text(text)) => mixed(of_name ^ 1, text.as_bytes()),
            Some(Attr::Bool(value)) => mixed(of_name ^ 2, &[u8::from(*value)]),
            Some(Attr::Int(value)) => mixed(of_name ^ 3, &value.to_le_bytes()),
            Some(Attr::Double(value)) => mixed(of_name ^ 4, &value.to_bits().to_le_bytes()),
            Some(Attr::Other) => mixed(of_name ^ 5, &[]),
            None => of_name,
        };
        let spread = (of_value ^ (of_value >> 32)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        self.print = self.print.wrapping_add(spread ^ (spread >> 29));
    }

    pub(crate) fn get(&self, key: Key) -> Option<&Attr<'b>> {
        self.found.get(key as usize)?.as_ref()
    }

    pub(crate) fn take(&mut self, key: Key) -> Option<Attr<'b>> {
        self.found.get_mut(key as usize)?.take()
    }

    /// A number for all that was added.
    pub(crate) const fn print(&self) -> u64 {
        self.print
    }

    /// Takes over the print of the same attributes.
    pub(crate) const fn set_print(&mut self, print: u64) {
        self.print = print;
    }
}

/// A text of the length of an event at most.
pub(crate) fn cut(text: Cow<'_, str>) -> Cow<'_, str> {
    if text.len() <= EVENT_LEN_MAX {
        return text;
    }
    let len = text.floor_char_boundary(EVENT_LEN_MAX);
    match text {
        Cow::Borrowed(text) => Cow::Borrowed(text.get(..len).unwrap_or_default()),
        Cow::Owned(text) => Cow::Owned(text.get(..len).unwrap_or_default().to_owned()),
    }
}

const FNV_OFFSET: u64 = 0xcbf2_9ce4_8422_2325;

/// FNV-1a: the same in every process, for what only has to differ by accident.
fn mixed(seed: u64, bytes: &[u8]) -> u64 {
    bytes.iter().fold(seed, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3))
}
