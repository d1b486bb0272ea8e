//! Where unusable events go: kept with their reason, never dropped, never in the way of the next one.

use flagfuse_shared::contract::fault::EventFault;
use flagfuse_shared::ids::UnixMillis;
use tokio::time::Instant;

use super::Incoming;
use crate::clock::monotonic;
use crate::store::quarantine::{Balance, ClaimedPlace, insert};
use crate::store::{Connection, StoreError};

/// Keeps events for one and the same reason until `until`, at least one; how many they were.
pub(super) async fn all(
    conn: &mut Connection,
    place: ClaimedPlace<'_>,
    events: &[Incoming<'_>],
    fault: &EventFault,
    until: Instant,
    now: UnixMillis,
) -> Result<(Balance, usize), StoreError> {
    let mut taken = 0;
    for event in events {
        insert(conn, place, fault, &event.raw(), now).await?;
        taken += 1;
        if monotonic() >= until {
            break;
        }
    }
    let count = taken as u64;
    Ok((Balance { received: count, stored: 0, duplicate: 0, quarantined: count }, taken))
}
