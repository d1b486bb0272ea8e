//! The replica's Durable Object: hears the control plane, writes, then acknowledges; asks by itself when it hears nothing.
//! Never serves a client and decides nothing: `replica` does.
#![expect(missing_docs, reason = "the durable_object macro generates undocumented items")]

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use flagfuse_shared::contract::beacon::EventSource;
use flagfuse_shared::contract::probe::{
    BEAT_AGE_HEADER, FRESH_HEADER, HAVE_HEADER, PROBE_PATH, VERSION_HEADER, VOUCHED_HEADER,
};
use flagfuse_shared::contract::replica::{PlaneMessage, ReplicaMessage, decode_messages};
use flagfuse_shared::ids::{Scope, SnapshotVersion, UnixMillis};
use flagfuse_shared::snapshot::TrustedRoots;
use futures_util::future::join_all;
use worker::{
    DurableObject, Env, Error, Method, Request, Response, Result, SqlStorage, State, WebSocket,
    WebSocketIncomingMessage, durable_object, wasm_bindgen,
};

use crate::beacon::buffer_do::NUDGE_PATH;
use crate::beacon::send::buffer_stub;
use crate::config::{Config, config};
use crate::notify::announce;
use crate::region::{is_kv_writer, read_replica_name};
use crate::snapshot::frames::Frames;
use crate::snapshot::kv::{keeps_kv_copies, write_kv_copy};
use crate::snapshot::kv_copies::KvCopies;
use crate::snapshot::pull_client::pull;
use crate::snapshot::pull_timer::PullEnd;
use crate::snapshot::pull_timer::Via;
use crate::snapshot::replica::{self, Publication, ReplicaStep};
use crate::snapshot::table;
use crate::socket::{accept, close_back};
use crate::{clock, random};

/// Path on which the edge hands over a push connection.
pub const ACCEPT_PATH: &str = "/push";
/// Path on which the edge asks what people and tests want to know of a replica.
pub const STATE_PATH: &str = "/state";
/// Open push connections: one per control plane, and some that have not noticed their end yet.
const SOCKET_COUNT_MAX: usize = 16;
/// Environments whose buffers are nudged at the same time.
const NUDGE_COUNT_MAX: usize = 8;
/// An alarm that is later than this was lost.
const ALARM_LATE_MS: u64 = 3_000;

/// Holds the newest snapshots of all environments for one shard of one region.
#[durable_object]
pub struct Replica {
    state: State,
    env: Env,
    memory: RefCell<Option<Loaded>>,
    /// When the alarm that we know to be set will ring; 0 when we know of none.
    alarm_at_ms: Cell<u64>,
}

/// What this object keeps beside its tables. Borrowed between two awaits only.
struct Loaded {
    replica: replica::ReplicaMachine,
    frames: Frames,
    /// `None` when another replica keeps the copies, or none does.
    copies: Option<KvCopies>,
    config: Rc<Config>,
}

impl Loaded {
    fn roots(&self) -> Result<&TrustedRoots> {
        self.config.roots.as_ref().map_err(failed)
    }

    fn hear(&mut self, message: PlaneMessage<'_>, via: Via, now: UnixMillis) -> Result<ReplicaStep> {
        let roots = self.config.roots.as_ref().map_err(failed)?;
        Ok(self.replica.hear(message, via, roots, now))
    }

    /// When the alarm has to ring; `None` when there is nothing to wait for.
    fn alarm_at(&self) -> Option<UnixMillis> {
        let pull_at = (!self.config.control_plane_url.is_empty()).then(|| self.replica.alarm_at());
        let copy_at = self.copies.as_ref().and_then(KvCopies::due_at);
        pull_at.into_iter().chain(copy_at).min()
    }
}

impl DurableObject for Replica {
    fn new(state: State, env: Env) -> Self {
        Self { state, env, memory: RefCell::new(None), alarm_at_ms: Cell::new(0) }
    }

    async fn fetch(&self, request: Request) -> Result<Response> {
        let path = request.path();
        let answer = match path.as_str() {
            ACCEPT_PATH => self.accept_push(),
            STATE_PATH => self.tell_state(),
            path => match path.strip_prefix(PROBE_PATH).and_then(|rest| rest.strip_prefix('/')) {
                Some(scope) => self.answer_probe(&request, scope),
                None => Ok(Response::empty()?.with_status(404)),
            },
        };
        self.keep_alarm().await;
        answer
    }

    async fn websocket_message(&self, socket: WebSocket, message: WebSocketIncomingMessage) -> Result<()> {
        let WebSocketIncomingMessage::Binary(bytes) = message else {
            return Ok(());
        };
        let message = PlaneMessage::decode(&bytes);
        let step = self.with(|memory| memory.hear(message, Via::Push, clock::now()))??;
        let done = self.perform(step, |said| socket.send_with_str(said)).await;
        self.keep_alarm().await;
        done
    }

    async fn websocket_close(
        &self,
        socket: WebSocket,
        code: usize,
        _reason: String,
        _clean: bool,
    ) -> Result<()> {
        close_back(&socket, code);
        Ok(())
    }

    async fn websocket_error(&self, _socket: WebSocket, _error: Error) -> Result<()> {
        Ok(())
    }

    async fn alarm(&self) -> Result<Response> {
        self.alarm_at_ms.set(0);
        // An error would make the platform retry six times and then give up; we never do.
        if let Err(error) = self.work_off().await {
            worker::console_warn!("replica {}: {error}", self.name());
        }
        self.keep_alarm().await;
        Response::empty()
    }
}

impl Replica {
    fn name(&self) -> String {
        self.state.id().name().unwrap_or_default()
    }

    fn sql(&self) -> SqlStorage {
        self.state.storage().sql()
    }

    /// What is in memory, read from the tables once in the life of this object.
    fn with<T>(&self, act: impl FnOnce(&mut Loaded) -> T) -> Result<T> {
        let mut slot = self.memory.borrow_mut();
        let memory = match slot.as_mut() {
            Some(memory) => memory,
            None => slot.insert(self.load()?),
        };
        Ok(act(memory))
    }

    fn load(&self) -> Result<Loaded> {
        let name = self.name();
        let identity = read_replica_name(&name)
            .ok_or_else(|| Error::RustError(format!("{name:?} is not a replica's name")))?;
        let config = Rc::new(config(&self.env).map_err(|error| failed(&error))?.at(&identity.region));
        let roots = config.roots.as_ref().map_err(failed)?;
        let (sql, now) = (self.sql(), clock::now());
        table::create(&sql)?;
        let marks = table::marks(&sql)?;
        let newest = marks.iter().max_by_key(|(_, mark)| mark.held.keyset_version);
        let newest = newest.map(|(scope, _)| table::frame(&sql, scope)).transpose()?.flatten();
        let mut copies = None;
        if is_kv_writer(&config.regions, &identity) && keeps_kv_copies(&self.env) {
            let copies = copies.insert(KvCopies::default());
            for scope in table::uncopied(&sql)? {
                copies.changed(&scope, now);
            }
        }
        let replica = replica::ReplicaMachine::load(identity, marks, newest.as_deref(), roots, now);
        Ok(Loaded { replica, frames: Frames::default(), copies, config })
    }

    /// An environment's signed bytes, from memory or from disk.
    fn frame(&self, memory: &mut Loaded, scope: &Scope) -> Result<Rc<Vec<u8>>> {
        if let Some(frame) = memory.frames.get(scope) {
            return Ok(frame);
        }
        let frame = table::frame(&self.sql(), scope)?.map(Rc::new);
        let frame = frame.ok_or_else(|| Error::RustError(format!("the row of {scope} is gone")))?;
        memory.frames.put(scope, Rc::clone(&frame));
        Ok(frame)
    }

    fn answer_probe(&self, request: &Request, scope: &str) -> Result<Response> {
        let Ok(scope) = Scope::parse(scope) else {
            return Ok(Response::empty()?.with_status(400));
        };
        let have = request.headers().get(HAVE_HEADER)?.and_then(|text| SnapshotVersion::parse(&text));
        let (reply, frame) = self.with(|memory| {
            let reply = memory.replica.probe(&scope, have, clock::now());
            let frame = reply.is_newer.then(|| self.frame(memory, &scope)).transpose()?;
            Ok::<_, Error>((reply, frame))
        })??;
        let response = match (frame, reply.version) {
            (Some(frame), _) => Response::from_bytes(frame.to_vec())?,
            (None, Some(_)) => Response::empty()?.with_status(204),
            (None, None) => Response::empty()?.with_status(404),
        };
        let headers = response.headers();
        let numbers = [(BEAT_AGE_HEADER, reply.beat_age_ms), (FRESH_HEADER, reply.soft_ttl_ms)];
        for (name, value) in numbers.into_iter().filter_map(|(name, value)| Some((name, value?))) {
            headers.set(name, &value.to_string())?;
        }
        if let Some(version) = reply.version {
            headers.set(VERSION_HEADER, &version.to_string())?;
        }
        headers.set(VOUCHED_HEADER, if reply.is_vouched { "1" } else { "0" })?;
        Ok(response)
    }

    fn accept_push(&self) -> Result<Response> {
        if self.state.get_websockets().len() >= SOCKET_COUNT_MAX {
            return Ok(Response::empty()?.with_status(503));
        }
        let hello = self.with(|memory| memory.roots().map(|_| memory.replica.hello()))??;
        accept(&self.state, &[], &serde_json::to_string(&hello)?)
    }

    fn tell_state(&self) -> Result<Response> {
        let sockets = self.state.get_websockets().len();
        let state = self.with(|memory| {
            let replica = &memory.replica;
            let (is_vouched, beat_age_ms) = replica.vouched(clock::now());
            serde_json::json!({
                "region": replica.identity().region, "shard": replica.identity().shard, "held": replica.held(),
                "vouched": is_vouched, "beat_age_ms": beat_age_ms, "refusals": replica.refusals(),
                "probes": replica.probe_count(),
                "connections": sockets, "copies_waiting": memory.copies.as_ref().map(KvCopies::waiting_count),
                "metadata": {},
            })
        })?;
        Response::from_json(&state)
    }

    /// Does what a message asks for. `say` reaches whoever is told.
    async fn perform(&self, step: ReplicaStep, say: impl Fn(&str) -> Result<()>) -> Result<()> {
        match step {
            ReplicaStep::Store(publication) => self.store(&publication, say).await,
            ReplicaStep::Say(said) => {
                if let ReplicaMessage::Nack { scope, code, detail, .. } = &said {
                    let what = scope.as_deref().unwrap_or("a beat");
                    worker::console_warn!("replica {} refused {what}: {code}: {detail}", self.name());
                }
                // The row of a repeated receipt may be younger than its write is durable.
                self.state.storage().sync().await?;
                say(&serde_json::to_string(&said)?)
            }
            ReplicaStep::Nudge => self.nudge_buffers().await,
            ReplicaStep::Nothing => Ok(()),
        }
    }

    async fn store(&self, publication: &Publication, say: impl Fn(&str) -> Result<()>) -> Result<()> {
        let (scope, row) = (&publication.scope, &publication.row);
        let (ack, config, shard) = self.with(|memory| {
            // No await between the decision and the write: two publications cannot both be newer than the same row.
            table::put(&self.sql(), scope, row)?;
            let ack = memory.replica.stored(publication);
            memory.frames.put(scope, Rc::new(row.frame.clone()));
            if let Some(copies) = &mut memory.copies {
                copies.changed(scope, clock::now());
            }
            Ok::<_, Error>((ack, Rc::clone(&memory.config), memory.replica.identity().shard))
        })??;
        self.state.storage().sync().await?;
        say(&serde_json::to_string(&ack)?)?;
        // One replica of a region tells its clients.
        if shard != 0 {
            return Ok(());
        }
        let (env, scope) = (self.env.clone(), scope.clone());
        let (version, urgency, keys) = (row.held.version, publication.urgency, publication.keys.clone());
        // In the background: the next message does not wait for clients to be told.
        self.state.wait_until(async move { announce(&env, &config, &scope, version, urgency, &keys).await });
        Ok(())
    }

    /// Shard 0 wakes the buffers for the whole region: whatever became of their alarms, they deliver.
    async fn nudge_buffers(&self) -> Result<()> {
        let (scopes, config) = self.with(|memory| {
            let is_first = memory.replica.identity().shard == 0;
            let scopes = is_first.then(|| memory.replica.marks().keys().cloned().collect::<Vec<_>>());
            (scopes.unwrap_or_default(), Rc::clone(&memory.config))
        })?;
        for some in scopes.chunks(NUDGE_COUNT_MAX) {
            let all = some.iter().flat_map(|scope| EventSource::ALL.map(|source| (scope, source)));
            let nudged = all.map(async |(scope, source)| {
                let stub = buffer_stub(&self.env, &config, scope, source)?;
                stub.fetch_with_request(Request::new(&format!("http://buffer{NUDGE_PATH}"), Method::Post)?)
                    .await
            });
            for error in join_all(nudged).await.into_iter().filter_map(Result::err) {
                worker::console_warn!("a buffer could not be nudged: {error}");
            }
        }
        Ok(())
    }

    /// What the alarm is for: a pull when no beat was heard for too long, copies that are due.
    async fn work_off(&self) -> Result<()> {
        let (request, config) =
            self.with(|memory| (memory.replica.alarm(clock::now()), Rc::clone(&memory.config)))?;
        if let Some(request) = request.filter(|_| !config.control_plane_url.is_empty()) {
            let outcome = match pull(&config, &request).await {
                Ok(bytes) => self.hear_all(&bytes).await.map(|()| PullEnd::Answered),
                // Said by the age of the beats on every evaluation: an outage must not fill the log.
                Err(_) => Ok(PullEnd::Failed),
            };
            let end = *outcome.as_ref().unwrap_or(&PullEnd::Failed);
            self.with(|memory| memory.replica.pulled(end, random::unit_interval(), clock::now()))?;
            outcome?;
        }
        self.write_copies().await
    }

    /// Hears the messages of an answer as if they had been pushed; everyone connected hears the receipts.
    async fn hear_all(&self, bytes: &[u8]) -> Result<()> {
        for message in decode_messages(bytes) {
            let step = self.with(|memory| memory.hear(message, Via::Pull, clock::now()))??;
            self.perform(step, |said| {
                for socket in self.state.get_websockets() {
                    // One that is closing hears of it by its next hello.
                    let _ = socket.send_with_str(said);
                }
                Ok(())
            })
            .await?;
        }
        Ok(())
    }

    async fn write_copies(&self) -> Result<()> {
        let due = self.with(|memory| memory.copies.as_mut().map(|copies| copies.take_due(clock::now())))?;
        for scope in due.unwrap_or_default() {
            let (frame, version) = self.with(|memory| {
                let version = memory.replica.marks().get(&scope).map(|mark| mark.held.version);
                self.frame(memory, &scope).map(|frame| (frame, version))
            })??;
            let written = write_kv_copy(&self.env, &scope, &frame).await;
            if let (Ok(()), Some(version)) = (&written, version) {
                table::set_copied(&self.sql(), &scope, version)?;
            }
            if let Err(error) = &written {
                worker::console_warn!("the copy of {scope} could not be written: {error}");
            }
            self.with(|memory| match (&mut memory.copies, written) {
                (Some(copies), Ok(())) => copies.written(&scope),
                (Some(copies), Err(_)) => copies.failed(&scope, clock::now()),
                (None, _) => {}
            })?;
        }
        Ok(())
    }

    /// Sets the alarm unless it is known to ring in time. Called after everything that happens here, so that an alarm that
    /// was lost, by whatever fault, comes back with the next probe, beat or nudge.
    async fn keep_alarm(&self) {
        let Ok(Some(due)) = self.with(|memory| memory.alarm_at()) else { return };
        let (now, known) = (clock::now(), UnixMillis(self.alarm_at_ms.get()));
        let is_coming = known.0 > 0 && now <= known.plus(ALARM_LATE_MS);
        if is_coming && known <= due {
            return;
        }
        self.alarm_at_ms.set(due.0.max(1));
        let delay_ms = i64::try_from(due.since(now)).unwrap_or(i64::MAX);
        if let Err(error) = self.state.storage().set_alarm(delay_ms).await {
            self.alarm_at_ms.set(0);
            worker::console_warn!("replica {}: the alarm could not be set: {error}", self.name());
        }
    }
}

fn failed(error: &crate::error::EdgeError) -> Error {
    Error::RustError(error.to_string())
}
