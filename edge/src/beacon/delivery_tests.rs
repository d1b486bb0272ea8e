//! What a turn does with each answer of the control plane, as a table.

use std::cell::RefCell;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use super::*;

/// Rows of one event each that wait, and what the control plane answers to each batch; what was done.
#[derive(Default)]
struct Rows {
    numbered: Cell<Option<i64>>,
    waiting: Cell<i64>,
    statuses: RefCell<Vec<u16>>,
    is_poison: Cell<bool>,
    idle_ms: Cell<Option<u64>>,
    done: RefCell<Vec<String>>,
}

impl Rows {
    fn note(&self, what: String) {
        self.done.borrow_mut().push(what);
    }
}

impl Queue for Rows {
    fn unconfirmed(&self) -> Result<Option<i64>, DeliveryError> {
        Ok(self.numbered.get())
    }

    fn oldest(&self) -> Result<Vec<EventRow>, DeliveryError> {
        Ok((0..self.waiting.get()).map(|row_id| EventRow { row_id, event_count: 1, len: 10 }).collect())
    }

    fn number_batch(&self, end: i64) -> Result<i64, DeliveryError> {
        self.note(format!("number to {end}"));
        self.numbered.set(Some(7));
        Ok(7)
    }

    async fn sync(&self) -> Result<(), DeliveryError> {
        self.note("sync".to_owned());
        Ok(())
    }

    async fn send(&self, batch_seq: i64) -> Result<Receipt, DeliveryError> {
        self.note(format!("send {batch_seq}"));
        let status = self.statuses.borrow_mut().pop();
        let status = status.ok_or_else(|| DeliveryError::Platform("no answer".to_owned()))?;
        Ok(Receipt { status, reason: String::new() })
    }

    fn silence(&self) -> Silence {
        self.idle_ms.get().map_or(Silence::Unwatched, |idle_ms| Silence::Watched { idle_ms })
    }

    async fn say(&self, rests: bool) -> Result<Receipt, DeliveryError> {
        self.note(format!("say {}", if rests { "rests" } else { "through" }));
        let status = self.statuses.borrow_mut().pop();
        let status = status.ok_or_else(|| DeliveryError::Platform("no answer".to_owned()))?;
        Ok(Receipt { status, reason: String::new() })
    }

    fn forget(&self, batch_seq: i64) -> Result<(), DeliveryError> {
        self.note(format!("forget {batch_seq}"));
        self.numbered.set(None);
        self.waiting.set(0);
        Ok(())
    }

    fn part(&self, batch_seq: i64, _: &Receipt) -> Result<Parted, DeliveryError> {
        self.note(format!("part {batch_seq}"));
        let is_alone = self.is_poison.get();
        if is_alone {
            self.numbered.set(None);
            self.waiting.set(0);
        }
        Ok(if is_alone { Parted::SetAside } else { Parted::Halved })
    }

    fn random(&self) -> f64 {
        1.0
    }

    fn log_failure(&self, what: fmt::Arguments<'_>) {
        self.note(what.to_string());
    }
}

fn turn(delivery: &Delivery, rows: &Rows) -> Option<u64> {
    let mut turn = pin!(delivery.take_turn(rows));
    match turn.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(pause_ms) => pause_ms,
        Poll::Pending => panic!("nothing here waits"),
    }
}

#[test]
fn a_batch_has_its_number_on_disk_before_it_is_sent_and_keeps_it_until_it_is_committed() {
    let (delivery, rows) = (Delivery::default(), Rows::default());
    rows.waiting.set(3);
    rows.statuses.replace(vec![200, 503]);
    assert_eq!(turn(&delivery, &rows), Some(250));
    assert_eq!(turn(&delivery, &rows), None, "nothing waits any more");
    let failed = "delivery failed 1 times, next try in 250 ms: batch 7: control plane answered 503";
    let expected = ["number to 2", "sync", "send 7", failed, "sync", "send 7", "forget 7"];
    assert_eq!(*rows.done.borrow(), expected);
}

#[test]
fn failures_in_a_row_are_repeated_ever_more_slowly_until_one_succeeds() {
    let (delivery, rows) = (Delivery::default(), Rows::default());
    rows.waiting.set(1);
    let pauses: Vec<_> = (0..3).map(|_| turn(&delivery, &rows)).collect();
    assert_eq!(pauses, [Some(250), Some(500), Some(1_000)]);
    rows.statuses.replace(vec![200]);
    assert_eq!(turn(&delivery, &rows), None);
    rows.waiting.set(1);
    assert_eq!(turn(&delivery, &rows), Some(250));
}

#[test]
fn what_is_refused_is_parted_and_the_rest_waits_after_something_was_set_aside() {
    let (delivery, rows) = (Delivery::default(), Rows::default());
    rows.waiting.set(1);
    rows.statuses.replace(vec![200, 400]);
    assert_eq!(turn(&delivery, &rows), None, "halves are sent at once");
    rows.is_poison.set(true);
    for expected_ms in [250, 500] {
        rows.waiting.set(1);
        rows.statuses.replace(vec![422]);
        assert_eq!(turn(&delivery, &rows), Some(expected_ms));
    }
}

#[test]
fn a_turn_gives_way_after_so_many_batches() {
    let (delivery, rows) = (Delivery::default(), Rows::default());
    rows.waiting.set(1);
    rows.statuses.replace(vec![400; 100]);
    assert_eq!(turn(&delivery, &rows), Some(0));
    let sent = rows.done.borrow().iter().filter(|what| what.starts_with("send")).count();
    assert_eq!(sent, BATCH_COUNT_PER_TURN as usize);
}

#[test]
fn a_watched_buffer_says_how_far_it_is_until_its_last_event_is_old() {
    let (delivery, rows) = (Delivery::default(), Rows::default());
    rows.idle_ms.set(Some(0));
    rows.waiting.set(1);
    rows.statuses.replace(vec![200; 9]);
    assert_eq!(turn(&delivery, &rows), Some(WORD_INTERVAL_MS), "its batch has said how far it is");
    assert!(delivery.waits_to_say(), "an event need not wait for that");
    rows.idle_ms.set(Some(WORD_INTERVAL_MS));
    assert_eq!(turn(&delivery, &rows), Some(WORD_INTERVAL_MS));
    rows.idle_ms.set(Some(WATCHED_IDLE_MS_MAX));
    assert_eq!(turn(&delivery, &rows), None);
    assert_eq!(turn(&delivery, &rows), None, "it rests");
    let expected = ["number to 0", "sync", "send 7", "forget 7", "say through", "say rests"];
    assert_eq!(*rows.done.borrow(), expected);
    rows.waiting.set(1);
    rows.idle_ms.set(Some(0));
    assert_eq!(turn(&delivery, &rows), Some(WORD_INTERVAL_MS), "an event woke it");
    rows.idle_ms.set(None);
    assert_eq!(turn(&delivery, &rows), None, "nobody watches any more");
}

#[test]
fn words_that_do_not_arrive_are_repeated_and_those_that_nobody_takes_are_not() {
    let (delivery, rows) = (Delivery::default(), Rows::default());
    rows.idle_ms.set(Some(9));
    rows.statuses.replace(vec![200, 503]);
    assert_eq!(turn(&delivery, &rows), Some(250));
    assert_eq!(turn(&delivery, &rows), Some(WORD_INTERVAL_MS));
    rows.statuses.replace(vec![400]);
    assert_eq!(turn(&delivery, &rows), None);
}
