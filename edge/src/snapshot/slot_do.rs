//! The replica's Durable Object: verifies what is pushed, has it on disk, then says so. Never serves a client.
#![expect(missing_docs, reason = "the durable_object macro generates undocumented items")]

use std::cell::RefCell;
use std::rc::Rc;

use flagfuse_shared::contract::probe::{HAVE_HEADER, PROBE_PATH, VERSION_HEADER};
use flagfuse_shared::contract::push::ReplicaMessage;
use flagfuse_shared::contract::replica::Urgency;
use flagfuse_shared::digest::Digest;
use flagfuse_shared::ids::{Scope, SnapshotVersion, UnixMillis};
use flagfuse_shared::snapshot::Held;
use worker::worker_sys::WebSocketRequestResponsePair;
use worker::{
    DurableObject, Env, Error, Method, Request, Response, Result, SqlStorageValue, State, WebSocket,
    WebSocketIncomingMessage, WebSocketPair, durable_object, wasm_bindgen,
};

use crate::beacon::send::buffer_stub;
use crate::clock;
use crate::config::{Config, config, scope_of_object};
use crate::notify::announce;
use crate::snapshot::slot::{Decision, Message, Row, ack, decide, hello, nack, read_message};

/// Path on which the edge hands over a push connection.
pub const PUSH_PATH: &str = "/push";
/// Open push connections: one per control plane, and some that have not noticed their end yet.
const SOCKET_COUNT_MAX: usize = 16;

/// Holds the newest snapshot of one environment in one region.
#[durable_object]
pub struct Replica {
    state: State,
    env: Env,
    memory: RefCell<Memory>,
}

/// What this object knows of its row on disk.
enum Memory {
    /// Not read yet.
    Unread,
    /// The same as on disk.
    Known(Option<Rc<Row>>),
}

impl DurableObject for Replica {
    fn new(state: State, env: Env) -> Self {
        Self { state, env, memory: RefCell::new(Memory::Unread) }
    }

    async fn fetch(&self, request: Request) -> Result<Response> {
        match request.path().as_str() {
            PROBE_PATH => self.answer_probe(&request),
            PUSH_PATH => self.accept_push(),
            _ => Ok(Response::empty()?.with_status(404)),
        }
    }

    async fn websocket_message(&self, socket: WebSocket, message: WebSocketIncomingMessage) -> Result<()> {
        let WebSocketIncomingMessage::Binary(bytes) = message else {
            return Ok(());
        };
        match read_message(&bytes) {
            Message::Publish(frame) => {
                let reply = self.publish(frame).await?;
                socket.send_with_str(serde_json::to_string(&reply)?)
            }
            Message::Nudge => self.nudge_buffer().await,
            Message::Unknown => Ok(()),
        }
    }

    async fn websocket_close(
        &self,
        socket: WebSocket,
        code: usize,
        _reason: String,
        _clean: bool,
    ) -> Result<()> {
        // 1005 and 1006 say that no code was sent and may not be sent back.
        let code = u16::try_from(code).ok().filter(|code| !matches!(code, 1005 | 1006 | 1015));
        // The peer is gone either way; an error here would only be logged.
        let _ = socket.close(code, Some("closed"));
        Ok(())
    }

    async fn websocket_error(&self, _socket: WebSocket, _error: Error) -> Result<()> {
        Ok(())
    }

    async fn alarm(&self) -> Result<Response> {
        // None is set, but the trait's own handler panics, and one from another version might still ring.
        Response::empty()
    }
}

impl Replica {
    fn config(&self) -> Result<Rc<Config>> {
        config(&self.env).map_err(|error| Error::RustError(error.to_string()))
    }

    /// The row on disk, read once in the life of this object.
    fn row(&self) -> Result<Option<Rc<Row>>> {
        if let Memory::Known(row) = &*self.memory.borrow() {
            return Ok(row.clone());
        }
        let row = self.read_row()?.map(Rc::new);
        self.memory.replace(Memory::Known(row.clone()));
        Ok(row)
    }

    fn read_row(&self) -> Result<Option<Row>> {
        let sql = self.state.storage().sql();
        // A probe for an environment that does not exist must not leave a table behind.
        let table =
            sql.exec("SELECT 1 FROM sqlite_master WHERE name = 'slot'", None)?.raw().next().transpose()?;
        if table.is_none() {
            return Ok(None);
        }
        let statement = "SELECT version, digest, keyset_version, stored_ms, frame FROM slot WHERE id = 1";
        let Some(columns) = sql.exec(statement, None)?.raw().next().transpose()? else {
            return Ok(None);
        };
        row_of(columns)
            .map(Some)
            .ok_or_else(|| Error::RustError("the stored snapshot row is malformed".to_owned()))
    }

    fn answer_probe(&self, request: &Request) -> Result<Response> {
        let Some(row) = self.row()? else {
            return Ok(Response::empty()?.with_status(404));
        };
        let version = row.held.version.to_string();
        let response = if request.headers().get(HAVE_HEADER)?.as_deref() == Some(version.as_str()) {
            Response::empty()?.with_status(204)
        } else {
            Response::from_bytes(row.frame.clone())?
        };
        response.headers().set(VERSION_HEADER, &version)?;
        Ok(response)
    }

    /// Accepts a connection that may hibernate: this object sleeps between messages, pings included.
    fn accept_push(&self) -> Result<Response> {
        if self.state.get_websockets().len() >= SOCKET_COUNT_MAX {
            return Ok(Response::empty()?.with_status(503));
        }
        let pair = WebSocketPair::new()?;
        self.state.accept_web_socket(&pair.server);
        self.state.set_websocket_auto_response(&WebSocketRequestResponsePair::new("ping", "pong")?);
        let hello = hello(&self.config()?.region, self.row()?.as_deref());
        pair.server.send_with_str(serde_json::to_string(&hello)?)?;
        Response::from_websocket(pair.client)
    }

    async fn publish(&self, frame: &[u8]) -> Result<ReplicaMessage> {
        let config = self.config()?;
        let name = self.state.id().name().unwrap_or_default();
        let scope = scope_of_object(&name).map_err(|error| Error::RustError(error.to_string()))?;
        let roots = config.roots.as_ref().map_err(|error| Error::RustError(error.to_string()))?;
        let row = self.row()?;
        // No await between the decision and the write: two publications cannot both be newer than the same row.
        match decide(frame, roots, &scope, row.as_ref().map(|row| &row.held), clock::now()) {
            Decision::Store(new) => {
                self.write_row(&new)?;
                let new: Rc<Row> = Rc::from(new);
                self.memory.replace(Memory::Known(Some(Rc::clone(&new))));
                self.state.storage().sync().await?;
                self.announce(config.clone(), scope, new.held.version);
                Ok(ack(&config.region, &new))
            }
            Decision::AckAgain => match row {
                Some(row) => {
                    // The row may be younger than its write is durable, when the first acknowledgement is still waiting.
                    self.state.storage().sync().await?;
                    Ok(ack(&config.region, &row))
                }
                None => Err(Error::RustError("a snapshot cannot be the same as nothing".to_owned())),
            },
            Decision::Refuse(refusal) => {
                worker::console_warn!("refused a snapshot of {scope}: {refusal}");
                Ok(nack(&config.region, &refusal, row.as_deref()))
            }
        }
    }

    /// Tells the notifiers in the background: the acknowledgement does not wait for them.
    fn announce(&self, config: Rc<Config>, scope: Scope, version: SnapshotVersion) {
        let env = self.env.clone();
        self.state.wait_until(async move {
            announce(&env, &config, &scope, version, Urgency::Ordinary).await;
        });
    }

    /// Replaces the row in one statement: a crash leaves the old or the new one.
    fn write_row(&self, row: &Row) -> Result<()> {
        let sql = self.state.storage().sql();
        sql.exec(
            "CREATE TABLE IF NOT EXISTS slot (id INTEGER PRIMARY KEY CHECK (id = 1), version TEXT NOT NULL,
               digest TEXT NOT NULL, keyset_version TEXT NOT NULL, stored_ms INTEGER NOT NULL, frame BLOB NOT NULL)",
            None,
        )?;
        sql.exec(
            "INSERT OR REPLACE INTO slot (id, version, digest, keyset_version, stored_ms, frame)
               VALUES (1, ?, ?, ?, ?, ?)",
            vec![
                row.held.version.to_string().into(),
                row.held.digest.to_string().into(),
                // As text, since JavaScript's numbers end at 2^53 and these are 64 bits wide.
                row.held.keyset_version.to_string().into(),
                i64::try_from(row.stored_ms.0).unwrap_or(i64::MAX).into(),
                row.frame.clone().into(),
            ],
        )?;
        Ok(())
    }

    async fn nudge_buffer(&self) -> Result<()> {
        let name = self.state.id().name().unwrap_or_default();
        let scope = scope_of_object(&name).map_err(|error| Error::RustError(error.to_string()))?;
        let stub = buffer_stub(&self.env, &*self.config()?, &scope)?;
        stub.fetch_with_request(Request::new("http://buffer/nudge", Method::Post)?).await?;
        Ok(())
    }
}

fn row_of(columns: Vec<SqlStorageValue>) -> Option<Row> {
    let [
        SqlStorageValue::String(version),
        SqlStorageValue::String(digest),
        SqlStorageValue::String(keyset_version),
        SqlStorageValue::Integer(stored_ms),
        SqlStorageValue::Blob(frame),
    ] = <[SqlStorageValue; 5]>::try_from(columns).ok()?
    else {
        return None;
    };
    let held = Held {
        version: SnapshotVersion::parse(&version)?,
        digest: Digest::parse(&digest).ok()?,
        keyset_version: keyset_version.parse().ok()?,
    };
    Some(Row { held, stored_ms: UnixMillis(u64::try_from(stored_ms).ok()?), frame })
}
