//! A second question when the first is late or fails: the first success counts. Brings no clock and asks nobody itself.

use std::pin::pin;

use futures_util::future::{Either, select};

/// Awaits `first`; when it fails, or `late` comes before it, asks `second` too. The question that is not needed any more is
/// given up. When both fail, the later error is the one that is told.
pub async fn hedge<T, E>(
    first: impl Future<Output = Result<T, E>>,
    late: impl Future<Output = ()>,
    second: impl AsyncFnOnce() -> Result<T, E>,
) -> Result<T, E> {
    let mut first = pin!(first);
    match select(first.as_mut(), pin!(late)).await {
        Either::Left((Ok(answer), _)) => return Ok(answer),
        Either::Left((Err(_), _)) => return second().await,
        Either::Right(_) => {}
    }
    match select(first, pin!(second())).await {
        Either::Left((Ok(answer), _)) | Either::Right((Ok(answer), _)) => Ok(answer),
        Either::Left((Err(_), second)) => second.await,
        Either::Right((Err(_), first)) => first.await,
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::task::{Context, Poll, Waker};

    use super::*;

    /// Comes when its turn has come.
    async fn at<T>(clock: &Cell<u32>, turn: u32, value: T) -> T {
        std::future::poll_fn(|_| if clock.get() >= turn { Poll::Ready(()) } else { Poll::Pending }).await;
        value
    }

    /// Turn and result, when both questions and the lateness come at these turns; how often the second was asked.
    fn outcome(
        first: (u32, Result<&'static str, &'static str>),
        late: u32,
        second: (u32, Result<&'static str, &'static str>),
    ) -> (u32, Result<&'static str, &'static str>, u32) {
        let (clock, asked) = (Cell::new(0), Cell::new(0));
        let second = async || {
            asked.set(asked.get() + 1);
            at(&clock, second.0, second.1).await
        };
        let mut both = pin!(hedge(at(&clock, first.0, first.1), at(&clock, late, ()), second));
        loop {
            if let Poll::Ready(result) = both.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
                return (clock.get(), result, asked.get());
            }
            clock.set(clock.get() + 1);
            assert!(clock.get() < 100, "never answered");
        }
    }

    #[test]
    fn a_neighbour_is_asked_once_and_only_when_the_first_is_late_or_fails() {
        let (a, b, x, y) = (Ok("first"), Ok("second"), Err("x"), Err("y"));
        for (first, second, expected) in [
            ((3, a), (0, b), (3, a, 0)),
            ((9, a), (7, b), (7, b, 1)),
            ((7, a), (9, b), (7, a, 1)),
            ((2, x), (6, b), (6, b, 1)),
            ((7, x), (9, b), (9, b, 1)),
            ((9, a), (7, y), (9, a, 1)),
            ((7, x), (9, y), (9, y, 1)),
            ((2, x), (3, y), (3, y, 1)),
        ] {
            assert_eq!(outcome(first, 5, second), expected, "{first:?} {second:?}");
        }
    }
}
