//! Why a batch is refused as a whole; the edge keeps it, and sends it again.

use flagfuse_shared::contract::beacon::BatchError;
use flagfuse_shared::ids::{Scope, TenantKey};

use crate::model::rights::Place;
use crate::store::StoreError;

/// Bytes of a buffer's id; it has 32 hexadecimal digits.
pub(super) const BUFFER_ID_LEN_MAX: usize = 64;

/// Why a batch is refused as a whole; the edge keeps it.
#[derive(Debug, thiserror::Error)]
pub enum IngestError {
    /// It is no batch.
    #[error(transparent)]
    Batch(#[from] BatchError),
    /// The token belongs to another tenant.
    #[error("batch is for tenant {claimed:?}, the token is for {tenant}")]
    WrongTenant {
        /// Tenant of the batch.
        claimed: String,
        /// Tenant of the token.
        tenant: TenantKey,
    },
    /// The token is for other environments.
    #[error("batch is for {}, where this token is not valid", place.in_words())]
    WrongPlace {
        /// Place of the batch; the whole tenant when its names are none.
        place: Place,
    },
    /// The batch has no usable name.
    #[error("buffer_id has {len} bytes, allowed is 1 to {BUFFER_ID_LEN_MAX}")]
    BufferId {
        /// Bytes found.
        len: usize,
    },
    /// A number the database cannot tell from others.
    #[error("batch_seq is {batch_seq}, the limit is {}", i64::MAX)]
    BatchSeq { batch_seq: u64 },
    /// Applying an event panicked: a fault of ours, which must not take the batch's other events along.
    #[error("event {position} of batch {batch_seq} cannot be applied")]
    Panicked {
        /// Position in the batch.
        position: u64,
        /// Number of the batch.
        batch_seq: u64,
    },
    /// More batches wait than memory has room for.
    #[error("{waiting} batches of this environment wait, which is the limit: send it again")]
    Full { waiting: usize },
    /// Another control plane counts the environment's events, or is about to.
    #[error("another control plane counts the events of this environment{}", at(.address))]
    Elsewhere {
        /// Where that one is reached; empty when it does not say.
        address: String,
        /// The environment, where somebody may ask for it.
        scope: Option<Box<Scope>>,
    },
    /// What memory held of the environment is read again, or the process ends.
    #[error("the events of this environment are being read: send it again")]
    Opening,
    /// What memory held cannot be brought back.
    #[error("the log of partition {partition_id} cannot be read at row {seq}: {why}")]
    Log { partition_id: i64, seq: i64, why: String },
    #[error(transparent)]
    Store(#[from] StoreError),
}

fn at(address: &str) -> String {
    if address.is_empty() {
        " and does not say where it is reached, see --advertise-url: send it again, it hands them over within seconds"
            .to_owned()
    } else {
        format!(", at {address}: send it again")
    }
}

impl IngestError {
    /// Somebody else has taken the partition meanwhile.
    pub(super) const fn overtaken() -> Self {
        Self::Elsewhere { address: String::new(), scope: None }
    }

    /// Whether the same may go well in a while, without anything being wrong with the events.
    pub(super) const fn is_passing(&self) -> bool {
        match self {
            Self::Store(error) => error.is_passing(),
            Self::Full { .. } | Self::Elsewhere { .. } | Self::Opening => true,
            Self::Batch(_)
            | Self::WrongTenant { .. }
            | Self::WrongPlace { .. }
            | Self::BufferId { .. }
            | Self::BatchSeq { .. }
            | Self::Panicked { .. }
            | Self::Log { .. } => false,
        }
    }
}
