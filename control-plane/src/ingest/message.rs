//! What a partition's task is asked.

use std::time::Duration;

use flagfuse_cells::UnitHash;
use tokio::sync::oneshot;

use super::delivery::Delivery;
use super::error::IngestError;

/// A partition that has heard nothing for this long, and where nothing is due, is let go.
pub(super) const IDLE: Duration = Duration::from_mins(2);

/// What a partition is asked.
#[derive(Debug)]
pub(super) enum Message {
    Deliver(Box<Delivery>),
    /// Closes what is due; answered when it is written.
    Tick(oneshot::Sender<()>),
    /// Forgets a unit; answered when that is written. Its traces in the log go later.
    Erase(Box<Erase>, oneshot::Sender<Result<(), IngestError>>),
    /// Events were refused, because another process has the partition and is not reached.
    Want,
    /// Lets the partition go.
    Close(oneshot::Sender<()>),
}

/// A unit that is to be erased.
#[derive(Debug)]
pub(super) struct Erase {
    pub(super) unit: UnitHash,
    /// As what edges know it.
    pub(super) edge_hash: String,
    /// Who asked for it.
    pub(super) actor: String,
}
