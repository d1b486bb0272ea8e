//! The course of an import: one thread cuts, some tasks send, and here what is acknowledged without a gap becomes the position.

use std::collections::BTreeMap;
use std::io::BufRead;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::Duration;

use anyhow::Context as _;
use flagfuse_control_plane::clock::monotonic;
use tokio::runtime::Handle;
use tokio::sync::{Semaphore, mpsc};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until};

use super::connection::Target;
use super::cut::{Batch, Cutter};
use super::progress::{Figures, Progress};
use super::reject::{Reject, Rejects};
use super::sender::{self, Piece, Sent};
use super::shared::Shared;
use super::state::{State, StateFile};

/// Batches that may be ahead of the first one that is not acknowledged, for each request under way: 8 bodies at most.
const AHEAD: usize = 8;
/// Between two looks at how far it is.
const LOOK: Duration = Duration::from_millis(100);
/// How long what is under way may take once it is to stop.
const STOP_LIMIT: Duration = Duration::from_secs(5);

/// How it is sent.
#[derive(Debug, Clone, Copy)]
pub(super) struct Manner {
    pub(super) in_flight: usize,
    pub(super) patience: Duration,
    pub(super) is_strict: bool,
}

/// An import under way.
pub(super) struct Course {
    pub(super) state: State,
    state_file: StateFile,
    rejects: Option<Rejects>,
    progress: Progress,
    len: Option<u64>,
    /// The input's beginning.
    head: Vec<u8>,
    is_strict: bool,
    shared: Arc<Shared>,
    window: Arc<Semaphore>,
    began: Instant,
    before: (u64, u64),
    was_settled: bool,
    /// Acknowledged in front of one that is not.
    early: BTreeMap<u64, Sent>,
    next: u64,
    written_at: Instant,
    is_dirty: bool,
    failure: Option<anyhow::Error>,
}

impl Course {
    pub(super) fn new(
        (state, state_file): (State, StateFile),
        rejects: Option<Rejects>,
        (len, head): (Option<u64>, Vec<u8>),
        target: Target,
        manner: Manner,
    ) -> Self {
        let Manner { in_flight, patience, is_strict } = manner;
        let now = monotonic();
        Self {
            before: (state.at.line, state.at.offset),
            was_settled: state.is_settled,
            state,
            state_file,
            rejects,
            progress: Progress::on_standard_error(),
            len,
            head,
            is_strict,
            shared: Arc::new(Shared::new(target, patience)),
            window: Arc::new(Semaphore::new(in_flight * AHEAD)),
            began: now,
            early: BTreeMap::new(),
            next: 0,
            written_at: now,
            is_dirty: false,
            failure: None,
        }
    }

    /// Sends what lies behind the position. The position is written in any case; an error says why it is not the end.
    pub(super) async fn run(
        &mut self,
        input: Box<dyn BufRead + Send>,
        in_flight: usize,
    ) -> anyhow::Result<()> {
        self.state.is_settled = false;
        self.write()?;
        let (results, mut done) = mpsc::channel(in_flight);
        let (pieces, waiting) = mpsc::channel(in_flight);
        let waiting = Arc::new(tokio::sync::Mutex::new(waiting));
        for _ in 0..in_flight {
            tokio::spawn(sender::run(Arc::clone(&self.shared), Arc::clone(&waiting), results.clone()));
        }
        drop(waiting);
        self.cut(Cutter::new(input, self.state.at.clone(), self.state.cut), pieces, results);
        let (mut look, mut is_stopping) = (interval(LOOK), None);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut interrupt = std::pin::pin!(tokio::signal::ctrl_c());
        loop {
            tokio::select! {
                result = done.recv() => match result {
                    None => break,
                    Some(Ok(sent)) => self.sent(sent)?,
                    Some(Err(error)) => self.fail(error),
                },
                _ = look.tick() => self.look()?,
                _ = &mut interrupt, if is_stopping.is_none() => {
                    self.fail(anyhow::anyhow!("interrupted"));
                    self.shared.stop.send_replace(true);
                }
                () = sleep_until(is_stopping.unwrap_or(self.began)), if is_stopping.is_some() => break,
            }
            if is_stopping.is_none() && self.shared.has_stopped() {
                self.window.close();
                is_stopping = Some(monotonic() + STOP_LIMIT);
            }
        }
        let is_whole = self.next == self.shared.handed.load(Ordering::SeqCst);
        let is_untouched = self.was_settled && !self.shared.is_touched.load(Ordering::SeqCst);
        if is_whole || is_untouched {
            self.state.settle(&self.head);
        }
        self.write()?;
        self.progress.end(&self.figures());
        self.failure.take().map_or(Ok(()), Err)
    }

    /// Cuts in a thread of its own: reading may block for as long as it likes.
    fn cut(
        &self,
        mut cutter: Cutter<Box<dyn BufRead + Send>>,
        pieces: mpsc::Sender<Piece>,
        results: mpsc::Sender<anyhow::Result<Sent>>,
    ) {
        let (shared, window, is_strict) =
            (Arc::clone(&self.shared), Arc::clone(&self.window), self.is_strict);
        let runtime = Handle::current();
        let mut hand_out = move || -> anyhow::Result<()> {
            while let Some(batch) = cutter.next().context("reading the input")? {
                if let Some(unsent) = batch.unsent.first().filter(|_| is_strict) {
                    anyhow::bail!("{}", unsent.told());
                }
                let Ok(leave) = runtime.block_on(Arc::clone(&window).acquire_owned()) else { break };
                shared.handed.fetch_add(1, Ordering::SeqCst);
                if pieces.blocking_send(Piece { batch, leave }).is_err() {
                    break;
                }
            }
            Ok(())
        };
        // It ends with the process where it is stuck in a read.
        thread::spawn(move || {
            if let Err(error) = hand_out() {
                // Whoever does not listen any more has stopped.
                let _has_stopped = results.blocking_send(Err(error));
            }
        });
    }

    /// Only the first failure is told; the others follow from it.
    fn fail(&mut self, error: anyhow::Error) {
        self.failure.get_or_insert(error);
        // What was handed out goes its way.
        self.window.close();
    }

    /// A batch was taken: everything without a gap is done.
    fn sent(&mut self, sent: Sent) -> anyhow::Result<()> {
        self.early.insert(sent.batch.number, sent);
        while let Some(Sent { batch, answered, .. }) = self.early.remove(&self.next) {
            self.next += 1;
            self.state.tally.add(&batch, &answered);
            self.note(&batch, &answered.quarantined)?;
            self.state.at = batch.until;
            self.is_dirty = true;
        }
        if self.is_dirty && self.written_at.elapsed() >= LOOK { self.write() } else { Ok(()) }
    }

    /// Notes what could not be used of a batch, in the order of the lines.
    fn note(&mut self, batch: &Batch, quarantined: &[Reject]) -> anyhow::Result<()> {
        let mut all: Vec<_> = batch.unsent.iter().chain(quarantined).collect();
        all.sort_by_key(|reject| reject.line);
        for reject in all {
            self.progress.reject(&reject.told());
            if let Some(rejects) = &mut self.rejects {
                rejects.add(reject)?;
            }
            if self.is_strict {
                self.fail(anyhow::anyhow!("{}", reject.told()));
            }
        }
        Ok(())
    }

    fn look(&mut self) -> anyhow::Result<()> {
        if self.is_dirty {
            self.write()?;
        }
        self.progress.show(&self.figures(), self.shared.trouble().as_deref());
        Ok(())
    }

    fn write(&mut self) -> anyhow::Result<()> {
        if let Some(rejects) = &mut self.rejects {
            self.state.rejects_len = rejects.flushed()?;
        }
        self.state_file.write(&self.state)?;
        (self.written_at, self.is_dirty) = (monotonic(), false);
        Ok(())
    }

    pub(super) fn figures(&self) -> Figures {
        Figures {
            lines: self.state.at.line,
            offset: self.state.at.offset,
            before: self.before,
            len: self.len,
            elapsed: self.began.elapsed(),
        }
    }
}
