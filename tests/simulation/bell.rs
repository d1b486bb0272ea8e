//! A bell that rings after each commit. Unlike tokio's `watch`, which draws lots among those who wait, it wakes them in the
//! order in which they came: a seed has to determine everything.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::task::{Poll, Waker};

#[derive(Default)]
pub(crate) struct Bell {
    rung: Cell<u64>,
    waiting: RefCell<Vec<Waker>>,
}

impl Bell {
    pub(crate) fn ring(&self) {
        self.rung.set(self.rung.get() + 1);
        for waker in self.waiting.take() {
            waker.wake();
        }
    }

    /// How often it has rung.
    pub(crate) fn rung(&self) -> u64 {
        self.rung.get()
    }

    /// Waits until it has rung more than `heard` times; how often it has then.
    pub(crate) async fn rings_after(&self, heard: u64) -> u64 {
        poll_fn(|context| {
            if self.rung.get() > heard {
                return Poll::Ready(self.rung.get());
            }
            self.waiting.borrow_mut().push(context.waker().clone());
            Poll::Pending
        })
        .await
    }
}
