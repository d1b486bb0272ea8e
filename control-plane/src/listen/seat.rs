//! What a connection is doing and how long it may, and which ones give way when there are too many. Pure: no clock, no
//! socket.

/// How long connections may take; only tests have other limits than [`Limits::of`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Connections that are open at once.
    pub count_max: usize,
    /// What every connection has before it gives way to another one: a flood may come faster than requests can be read, and
    /// then those behind it wait for their turn instead of displacing each other.
    pub grace_ms: u64,
    /// From a connection's or a request's first sign to the end of its head. Nothing honest takes seconds; whoever sends a
    /// byte now and then would hold a file descriptor for ever.
    pub head_ms: u64,
    /// Between an answer and the next request. Longer than the 60 s that proxies keep their idle connections for: a proxy
    /// that is told of the end only when it sends has to fail a request.
    pub idle_ms: u64,
}

impl Limits {
    /// The limits of a control plane that may have so many connections.
    pub const fn of(count_max: usize) -> Self {
        Self { count_max, grace_ms: 500, head_ms: 10_000, idle_ms: 75_000 }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Doing {
    /// No complete head of a request has come yet.
    Head,
    /// A request is being answered. Handlers and bodies have limits of their own.
    Request,
    /// Everything is answered; what is left of an answer is still being sent.
    Idle,
}

/// One connection. Times are milliseconds on a clock that never goes back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Seat {
    doing: Doing,
    since_ms: u64,
}

impl Seat {
    /// A connection that has just been accepted.
    pub(super) const fn new(now_ms: u64) -> Self {
        Self { doing: Doing::Head, since_ms: now_ms }
    }

    /// Bytes came in: after an answer, they begin the next head. Its time runs from there, however many more come.
    pub(super) const fn read(&mut self, now_ms: u64) {
        if matches!(self.doing, Doing::Idle) {
            *self = Self { doing: Doing::Head, since_ms: now_ms };
        }
    }

    /// Bytes went out: whoever takes a long answer slowly is not idle.
    pub(super) const fn wrote(&mut self, now_ms: u64) {
        if matches!(self.doing, Doing::Idle) {
            self.since_ms = now_ms;
        }
    }

    /// A head is complete.
    pub(super) const fn asked(&mut self, now_ms: u64) {
        *self = Self { doing: Doing::Request, since_ms: now_ms };
    }

    /// Its answer is there.
    pub(super) const fn answered(&mut self, now_ms: u64) {
        *self = Self { doing: Doing::Idle, since_ms: now_ms };
    }

    /// Whether nothing would be lost but a beginning.
    pub(super) const fn has_no_request(&self) -> bool {
        matches!(self.doing, Doing::Head)
    }

    /// When the connection is closed unless something happens before; `None` while a request is being answered.
    pub(super) const fn ends_ms(&self, limits: &Limits) -> Option<u64> {
        match self.doing {
            Doing::Head => Some(self.since_ms.saturating_add(limits.head_ms)),
            Doing::Idle => Some(self.since_ms.saturating_add(limits.idle_ms)),
            Doing::Request => None,
        }
    }
}

/// Who gives way at `now_ms` so that the next one can come: whoever has said nothing for longest, if that is long enough;
/// otherwise whoever has waited longest to ask again, unless the silent ones have half of the room already. Whoever is being
/// answered never does. `None` when the next one has to wait.
///
/// No share for each address: behind a proxy, everybody has the same.
pub(super) fn gives_way(
    seats: impl Iterator<Item = (u64, Seat)>,
    limits: &Limits,
    now_ms: u64,
) -> Option<u64> {
    let (mut silent, mut idle, mut silent_count) = (None, None, 0);
    for (number, seat) in seats {
        let oldest = match seat.doing {
            Doing::Head => &mut silent,
            Doing::Idle => &mut idle,
            Doing::Request => continue,
        };
        silent_count += usize::from(seat.has_no_request());
        let own = (seat.since_ms, number);
        *oldest = Some(oldest.map_or(own, |known: (u64, u64)| known.min(own)));
    }
    let silent = silent.filter(|(since_ms, _)| now_ms.saturating_sub(*since_ms) >= limits.grace_ms);
    let idle = idle.filter(|_| silent_count < limits.count_max.div_ceil(2));
    silent.or(idle).map(|(_, number)| number)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits::of(4);

    #[test]
    fn a_head_has_ten_seconds_however_slowly_it_drips() {
        let mut seat = Seat::new(1_000);
        for now_ms in [1_500, 5_000, 10_900] {
            seat.read(now_ms);
            assert_eq!(seat.ends_ms(&LIMITS), Some(11_000));
        }
    }

    #[test]
    fn the_head_of_a_later_request_has_its_own_ten_seconds() {
        let mut seat = Seat::new(0);
        seat.asked(10);
        seat.read(20);
        assert_eq!(seat.ends_ms(&LIMITS), None, "a body is not a head");
        seat.answered(30);
        assert_eq!(seat.ends_ms(&LIMITS), Some(75_030));
        seat.wrote(50_000);
        assert_eq!(seat.ends_ms(&LIMITS), Some(125_000), "an answer that is taken slowly");
        seat.read(60_000);
        seat.read(69_999);
        assert_eq!(seat.ends_ms(&LIMITS), Some(70_000));
    }

    fn idle(since_ms: u64) -> Seat {
        let mut seat = Seat::new(0);
        seat.asked(0);
        seat.answered(since_ms);
        seat
    }

    #[test]
    fn the_oldest_silent_one_gives_way_before_an_idle_one_and_whoever_is_answered_never_does() {
        let mut busy = Seat::new(0);
        busy.asked(0);
        let chosen = |seats: &[Seat], now_ms| gives_way((0..).zip(seats.iter().copied()), &LIMITS, now_ms);
        let (old, new) = (Seat::new(100), Seat::new(200));
        assert_eq!(chosen(&[busy, new, idle(1), old], 600), Some(3));
        assert_eq!(chosen(&[busy, new, idle(1), old], 599), None, "half are silent, none for long enough");
        assert_eq!(chosen(&[busy, new, idle(9), idle(1)], 600), Some(3), "the silent have less than half");
        assert_eq!(chosen(&[busy; 4], 1_000_000), None);
    }
}
