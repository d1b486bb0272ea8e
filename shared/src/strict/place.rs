//! Where in a JSON document something stands, as people and as RFC 6901 write it.

use std::fmt;

/// Where in a document something stands.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Place<'p> {
    /// The document itself.
    Root,
    /// A field of an object.
    Field(&'p Place<'p>, &'p str),
    /// An item of an array.
    Item(&'p Place<'p>, usize),
}

impl Place<'_> {
    /// As RFC 6901 writes it: `/rules/0/op`, and nothing for the document itself.
    pub(super) fn pointer(&self) -> String {
        match self {
            Self::Root => String::new(),
            Self::Field(parent, name) => format!("{}/{}", parent.pointer(), escaped(name)),
            Self::Item(parent, at) => format!("{}/{at}", parent.pointer()),
        }
    }
}

impl fmt::Display for Place<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Root => Ok(()),
            Self::Field(Self::Root, name) => f.write_str(name),
            Self::Field(parent, name) => write!(f, "{parent}.{name}"),
            Self::Item(parent, at) => write!(f, "{parent}[{at}]"),
        }
    }
}

/// A name as it stands in a JSON pointer (RFC 6901): `a/b` is `a~1b`.
pub fn escaped(name: &str) -> String {
    name.replace('~', "~0").replace('/', "~1")
}
