//! Beacons: events from clients to the edge, and batches from the edge to the control plane.
//!
//! Both ends check an event with [`parse_event`], so they can never disagree about what is quarantined.

pub mod answer;
mod arrival;
mod batch;
mod client;
pub mod erased;
mod event;
mod fields;
mod older;
mod quick;
mod refused;
mod request;
mod source;

pub use self::arrival::{Arrival, Content, EdgeExposure};
pub use self::batch::{BatchHead, FORMAT, FORMATS, IngestBatch};
pub use self::client::ClientBatch;
pub use self::event::{Event, EventKind, parse_event};
pub use self::older::as_format_1;
pub use self::refused::BatchError;
pub use self::request::{
    ExposureGroup, Recorded, Request, RequestHead, Shown, exposure_group, exposures, split_requests,
    with_receipt,
};
pub use self::source::{EventSource, SourceMark};

/// Path of client events at the edge.
pub const EVENTS_PATH: &str = "/v1/events";
/// Path of batches at the control plane.
pub const INGEST_PATH: &str = "/v1/ingest";
