//! One kind of request under load: who is asked, and with which script.

use std::path::PathBuf;

/// One kind of request to one server.
pub(super) struct Slot {
    pub(super) name: &'static str,
    /// For people.
    pub(super) what: &'static str,
    pub(super) base_url: String,
    pub(super) script: PathBuf,
    /// The server's process.
    pub(super) process_id: u32,
}
