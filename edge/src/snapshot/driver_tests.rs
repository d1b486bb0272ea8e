//! The driver in a small world: two replicas that answer when their turn has come, a copy, and a clock that ticks by polls.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::fmt;
use std::task::{Context, Poll, Waker};

use flagfuse_shared::digest::Digest;
use flagfuse_testing::{NOW, key, roots, scope, signed};

use super::*;
use crate::snapshot::cache::SnapshotState;

const KEY: &str = "demo:production.s3cret";

/// A replica: after how many milliseconds it answers, what it holds, and whether it is vouched for.
type Replica = (u64, Option<u64>, bool);

#[derive(Default)]
struct Small {
    now_ms: Cell<u64>,
    own: Cell<Option<Replica>>,
    /// Until then it answers nobody.
    own_from_ms: Cell<u64>,
    neighbour: Cell<Option<Replica>>,
    copy: Cell<Option<u64>>,
    slip: Cell<Option<Slip>>,
    probes: RefCell<BTreeMap<u64, Nearness>>,
    refusals: Cell<u32>,
}

fn frame(seq: u64) -> Vec<u8> {
    signed(&[], seq).frame
}

const fn version(seq: u64) -> SnapshotVersion {
    SnapshotVersion { epoch: 1, seq }
}

impl Runtime for &Small {
    fn now(&self) -> UnixMillis {
        NOW.plus(self.now_ms.get())
    }

    async fn sleep(&self, ms: u64) {
        let due_ms = self.now_ms.get() + ms;
        std::future::poll_fn(|_| if self.now_ms.get() >= due_ms { Poll::Ready(()) } else { Poll::Pending })
            .await;
    }

    fn has_neighbour(&self) -> bool {
        self.neighbour.get().is_some()
    }

    async fn probe(
        &self,
        replica: Nearness,
        _: &Scope,
        have: Option<SnapshotVersion>,
    ) -> Result<ProbeAnswer, EdgeError> {
        self.probes.borrow_mut().insert(self.now_ms.get(), replica);
        let replica_is_own = replica == Nearness::Own;
        let replica = if replica_is_own { &self.own } else { &self.neighbour };
        let is_deaf = replica_is_own && self.now_ms.get() < self.own_from_ms.get();
        let (after_ms, seq, is_vouched) =
            replica.get().filter(|_| !is_deaf).ok_or(EdgeError::ReplicaUnavailable)?;
        self.sleep(after_ms).await;
        let held = seq.map(version);
        let status = ProbeStatus { is_vouched, ..ProbeStatus::default() };
        Ok(ProbeAnswer { version: held, frame: seq.filter(|_| held > have).map(frame), status })
    }

    fn has_kv_copies(&self) -> bool {
        self.copy.get().is_some()
    }

    async fn read_kv_copy(&self, _: &Scope) -> Option<Vec<u8>> {
        self.copy.get().map(frame)
    }

    fn log_refusal(&self, _: fmt::Arguments<'_>) {
        self.refusals.set(self.refusals.get() + 1);
    }

    fn slip(&self) -> Option<Slip> {
        self.slip.get()
    }
}

impl Small {
    /// Runs to the end, a millisecond for each poll.
    fn run<T>(&self, work: impl Future<Output = T>) -> T {
        let mut work = pin!(work);
        loop {
            if let Poll::Ready(outcome) = work.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
                return outcome;
            }
            self.now_ms.set(self.now_ms.get() + 1);
            assert!(self.now_ms.get() < 100_000, "it never ends");
        }
    }

    fn driver<'s>(
        &'s self,
        memory: &Rc<Memory>,
        roots: &'s Result<TrustedRoots, EdgeError>,
    ) -> Driver<'s, &'s Self> {
        Driver::new(self, Rc::clone(memory), roots)
    }
}

fn shown() -> Credential {
    Credential::Key(Digest::of(KEY.as_bytes()))
}

/// Opens the environment and answers once: source, version, state, age and when.
fn answer(
    small: &Small,
    memory: &Rc<Memory>,
    wish: Wish,
) -> Result<(Source, u64, SnapshotState, u64, u64), EdgeError> {
    let roots = Ok(roots());
    let driver = small.driver(memory, &roots);
    let scope = scope();
    small.run(async {
        driver.open(&scope, &shown()).await?;
        let served = driver.current(&scope, &shown(), wish, || {}).await?;
        Ok((served.source, served.version.seq, served.state, served.age_ms, small.now_ms.get()))
    })
}

#[test]
fn an_answer_is_as_old_as_its_question_unless_somebody_slips() {
    for (slip, expected_ms) in
        [(None, 30), (Some(Slip::AskedAfterAwait), 0), (Some(Slip::AgedFromArrival), 0)]
    {
        let (small, memory) = (Small::default(), Rc::default());
        small.own.set(Some((30, Some(5), true)));
        small.slip.set(slip);
        let (_, seq, state, age_ms, _) = answer(&small, &memory, Wish::default()).unwrap();
        assert_eq!((seq, state, age_ms), (5, SnapshotState::Fresh, expected_ms), "{slip:?}");
    }
}

#[test]
fn a_neighbour_is_asked_when_the_own_replica_is_late_or_knows_less() {
    for (own, neighbour, expected) in [
        ((20, Some(5), true), (0, Some(6), true), (5, 20)),
        ((900, Some(5), true), (10, Some(6), true), (6, 310)),
        // One that is new has not heard of anything yet.
        ((1, None, false), (2, Some(6), true), (6, 3)),
    ] {
        let (small, memory) = (Small::default(), Rc::default());
        small.own.set(Some(own));
        small.neighbour.set(Some(neighbour));
        let (_, seq, _, _, now_ms) = answer(&small, &memory, Wish::default()).unwrap();
        assert_eq!((seq, now_ms), expected, "{own:?} {neighbour:?}");
    }
}

#[test]
fn beyond_the_hard_ttl_what_there_is_has_to_do_when_nobody_answers() {
    let (small, memory) = (Small::default(), Rc::default());
    small.own.set(Some((0, Some(5), true)));
    assert_eq!(answer(&small, &memory, Wish::default()).unwrap().2, SnapshotState::Fresh);
    small.own.set(None);
    small.now_ms.set(251);
    let (source, seq, state, age_ms, _) = answer(&small, &memory, Wish::default()).unwrap();
    assert_eq!((source, seq, state, age_ms), (Source::Memory, 5, SnapshotState::Stale, 251));
    let probe_count = small.probes.borrow().len();
    small.now_ms.set(500);
    assert_eq!(answer(&small, &memory, Wish::default()).unwrap().2, SnapshotState::Stale);
    assert_eq!(small.probes.borrow().len(), probe_count, "nobody asks again so soon");
}

#[test]
fn a_cold_isolate_starts_from_the_copy_and_calls_it_so() {
    let (small, memory) = (Small::default(), Rc::default());
    small.copy.set(Some(4));
    let (source, seq, state, ..) = answer(&small, &memory, Wish::default()).unwrap();
    assert_eq!((source, seq, state), (Source::Bootstrap, 4, SnapshotState::Bootstrap));
}

#[test]
fn a_version_that_does_not_come_is_waited_for_no_longer_than_half_a_second() {
    let (small, memory) = (Small::default(), Rc::default());
    small.own.set(Some((0, Some(5), true)));
    answer(&small, &memory, Wish::default()).unwrap();
    let wish = |seq| Wish { version_min: Some(version(seq)), is_stray: false };
    let refused = answer(&small, &memory, wish(6));
    assert_eq!(refused, Err(EdgeError::VersionNotHere { wanted: "1.6".to_owned() }));
    assert!((450..=500).contains(&small.now_ms.get()), "{}", small.now_ms.get());
    small.own.set(Some((0, Some(6), true)));
    assert_eq!(answer(&small, &memory, wish(6)).unwrap().1, 6);
}

#[test]
fn a_version_is_waited_for_although_a_question_fails_and_nobody_says_that_it_is_not_there() {
    let (small, memory) = (Small::default(), Rc::default());
    small.own.set(Some((0, Some(5), true)));
    answer(&small, &memory, Wish::default()).unwrap();
    let wish = |seq| Wish { version_min: Some(version(seq)), is_stray: false };
    small.own.set(Some((0, Some(6), true)));
    small.own_from_ms.set(300);
    let (_, seq, _, _, now_ms) = answer(&small, &memory, wish(6)).unwrap();
    assert!(seq == 6 && (300..500).contains(&now_ms), "{seq} at {now_ms}");
    small.own_from_ms.set(60_000);
    let began_ms = small.now_ms.get();
    assert_eq!(answer(&small, &memory, wish(7)), Err(EdgeError::ReplicaUnavailable));
    let took_ms = small.now_ms.get() - began_ms;
    assert!((450..=700).contains(&took_ms), "{took_ms}");
}

#[test]
fn bytes_that_the_roots_do_not_vouch_for_are_refused_and_said() {
    let (small, memory) = (Small::default(), Rc::default());
    small.own.set(Some((0, Some(5), true)));
    let strangers = TrustedRoots::parse([key(9).public_base64().as_str()], 1);
    let strangers = strangers.map_err(|_| EdgeError::Internal);
    let driver = small.driver(&memory, &strangers);
    let opened = small.run(driver.open(&scope(), &shown()));
    assert_eq!((opened, small.refusals.get() > 0), (Err(EdgeError::KeyUnsure), true));
    assert_eq!(memory.held_count(), 0);
}
