//! Texts: how they are compared and hashed without following pointers, and how they are written as JSON.

mod json;
mod short;

pub use self::json::write_json_string;
pub(crate) use self::short::{Ends, Needle, ShortText, table_hash};
