//! What a partition's task does while another process has the partition, or nobody can: it answers everybody so, and asks for
//! the partition again.

use std::collections::VecDeque;
use std::time::Duration;

use flagfuse_shared::ids::UnixMillis;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout, timeout_at};

use super::context::{Context, WANTED_MS};
use super::delivery::Delivery;
use super::error::IngestError;
use super::message::{IDLE, Message};
use crate::clock::monotonic;
use crate::store::{Lock, StoreError, partitions};

/// While another process has a partition, it is asked for again this often.
const ELSEWHERE: Duration = Duration::from_millis(500);

/// Until when the partition is asked for again and again, because events were refused.
#[derive(Debug, Default)]
pub(super) struct Wanting(Option<Instant>);

impl Wanting {
    fn is_on(&self) -> bool {
        self.0.is_some_and(|until| monotonic() < until)
    }

    /// Says so in the database.
    async fn say(&mut self, context: &Context) -> Result<(), StoreError> {
        let mut tx = context.store().write_patiently(Lock::Partition(&context.scope)).await?;
        let (owner, now) = (&context.surroundings.node.owner, context.now());
        let stale = UnixMillis(now.0.saturating_sub(WANTED_MS));
        partitions::want(&mut tx, &context.scope, owner, now, stale).await?;
        tx.commit().await?;
        self.0 = Some(monotonic() + Duration::from_millis(WANTED_MS));
        Ok(())
    }
}

/// Answers everybody for a moment; whether the partition is to be let go.
pub(super) async fn refuse(
    context: &Context,
    inbox: &mut mpsc::Receiver<Message>,
    solo: &mut VecDeque<Delivery>,
    wanting: &mut Wanting,
    error: impl Fn() -> IngestError,
) -> bool {
    for delivery in solo.drain(..) {
        delivery.answer(Err(error()));
    }
    let until = monotonic() + ELSEWHERE;
    let mut has_said = false;
    let mut has_answered = wanting.is_on();
    loop {
        // Until somebody asks again, nothing has to be known.
        let next = if has_answered {
            match timeout_at(until, inbox.recv()).await {
                Ok(next) => next,
                Err(_) => return false,
            }
        } else {
            timeout(IDLE, inbox.recv()).await.unwrap_or_default()
        };
        match next {
            None => return true,
            Some(Message::Deliver(delivery)) => delivery.answer(Err(error())),
            Some(Message::Tick(done)) => drop(done),
            Some(Message::Erase(_, reply)) => {
                let _nobody_waits = reply.send(Err(error()));
            }
            Some(Message::Want) if has_said => {}
            Some(Message::Want) => {
                has_said = true;
                if let Err(error) = wanting.say(context).await {
                    tracing::warn!(%error, scope = %context.scope, "events are refused, and their owner is not told");
                }
            }
            Some(Message::Close(done)) => {
                drop(done);
                return true;
            }
        }
        has_answered = true;
        if monotonic() >= until {
            return false;
        }
    }
}
