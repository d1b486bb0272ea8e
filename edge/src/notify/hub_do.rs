//! The notifier's Durable Object: sleeping listeners in, versions out. Stores nothing and knows no flags.
//!
//! It sleeps between publications, whatever the number of listeners; only a wave under way keeps it in memory, for two or
//! three seconds. What it forgets when it falls asleep is older than any isolate's memory may be, so a listener that comes
//! later hears the version its isolate serves.
#![expect(missing_docs, reason = "the durable_object macro generates undocumented items")]

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;

use flagfuse_shared::contract::probe::VERSION_HEADER;
use flagfuse_shared::contract::replica::Urgency;
use flagfuse_shared::ids::{SnapshotVersion, UnixMillis};
use flagfuse_shared::snapshot::{KeyId, KeyIds};
use worker::{
    DurableObject, Env, Error, Method, Request, Response, Result, State, WebSocket, WebSocketIncomingMessage,
    durable_object, wasm_bindgen,
};

use crate::config::config;
use crate::deadline::pause;
use crate::notify::door::{Door, Look};
use crate::notify::hub::{Hub, News, Reaction, SLOT_COUNT};
use crate::notify::shares::{Client, gives_way};
use crate::socket::{accept, close_back};
use crate::{clock, random};

/// Path of a listener's WebSocket; [`VERSION_HEADER`] says what its isolate serves.
pub const LISTEN_PATH: &str = "/listen";
/// On a listener's request: the client key that let it in.
pub const KEY_HEADER: &str = "x-flags-key";
/// On a listener's request: who it is, as far as shares go.
pub const CLIENT_HEADER: &str = "x-flags-client";
/// Path of an announcement; its headers say everything but which client keys are valid, which its body does.
pub const ANNOUNCE_PATH: &str = "/announce";
/// On an announcement: there when it is urgent.
pub const URGENT_HEADER: &str = "x-flags-urgent";
/// On an announcement: when the replica stored the version.
pub const STORED_HEADER: &str = "x-flags-stored-ms";

/// Tags of a socket, which the platform keeps while the object sleeps: its slot is a number, the others begin with these.
const KEY_TAG: &str = "key:";
const CLIENT_TAG: &str = "client:";
/// Counting who holds how many of all places means to make an object for every socket: once in this time.
const COUNT_INTERVAL_MS: u64 = 1_000;

/// Tells the listeners of one environment in one region.
#[durable_object]
pub struct Notifier {
    inner: Rc<Inner>,
    env: Env,
}

/// What a wave under way needs after its announcement has been answered.
struct Inner {
    state: State,
    hub: RefCell<Hub>,
    door: RefCell<Door>,
    /// When it was last counted who holds how many places.
    shared_at: Cell<UnixMillis>,
    /// `None` until they were counted once.
    listener_count: Cell<Option<usize>>,
    is_telling: Cell<bool>,
}

impl DurableObject for Notifier {
    fn new(state: State, env: Env) -> Self {
        let inner = Inner {
            state,
            hub: RefCell::default(),
            door: RefCell::default(),
            shared_at: Cell::default(),
            listener_count: Cell::new(None),
            is_telling: Cell::new(false),
        };
        Self { inner: Rc::new(inner), env }
    }

    async fn fetch(&self, mut request: Request) -> Result<Response> {
        match (request.method(), request.path().as_str()) {
            (Method::Get, LISTEN_PATH) => self.listen(&request),
            (Method::Post, ANNOUNCE_PATH) => self.announce(&mut request).await,
            _ => Ok(Response::empty()?.with_status(404)),
        }
    }

    async fn websocket_message(&self, socket: WebSocket, _message: WebSocketIncomingMessage) -> Result<()> {
        // Pings are answered without waking the object; a listener has nothing else to say, and each word costs.
        let _ = socket.close(Some(1008), Some("listeners only listen"));
        Ok(())
    }

    async fn websocket_close(
        &self,
        socket: WebSocket,
        code: usize,
        _reason: String,
        _clean: bool,
    ) -> Result<()> {
        self.inner.listener_left();
        close_back(&socket, code);
        Ok(())
    }

    async fn websocket_error(&self, _socket: WebSocket, _error: Error) -> Result<()> {
        self.inner.listener_left();
        Ok(())
    }

    async fn alarm(&self) -> Result<Response> {
        // None is set, but the trait's own handler panics, and one from another version might still ring.
        Response::empty()
    }
}

impl Notifier {
    /// Accepts a listener and tells it at once what there is.
    fn listen(&self, request: &Request) -> Result<Response> {
        let header = |name| request.headers().get(name).ok().flatten();
        let (Some(served), Some(key), Some(client)) = (
            version(request)?,
            header(KEY_HEADER).as_deref().and_then(KeyId::parse),
            header(CLIENT_HEADER).as_deref().and_then(Client::parse),
        ) else {
            return Ok(Response::empty()?.with_status(400));
        };
        if !self.inner.door.borrow().lets_in(key, served) {
            return Ok(Response::empty()?.with_status(401));
        }
        let count_max =
            config(&self.env).map_err(|error| Error::RustError(error.to_string()))?.notify.listener_count_max;
        if !self.inner.has_room(count_max) && !self.inner.make_room(client) {
            return Ok(Response::empty()?.with_status(503));
        }
        let slot = random::number() >> 32;
        let slot = (slot % u64::from(SLOT_COUNT)).to_string();
        let (key, client) = (format!("{KEY_TAG}{key}"), format!("{CLIENT_TAG}{client}"));
        let welcome = self.inner.hub.borrow().welcome(served).message();
        let response = accept(&self.inner.state, &[&slot, &key, &client], &welcome)?;
        self.inner.listener_count.set(self.inner.listener_count.get().map(|count| count + 1));
        Ok(response)
    }

    async fn announce(&self, request: &mut Request) -> Result<Response> {
        let Some(version) = version(request)? else { return Ok(Response::empty()?.with_status(400)) };
        let Some(keys) = KeyIds::parse(&request.text().await?) else {
            return Ok(Response::empty()?.with_status(400));
        };
        let stored_ms =
            request.headers().get(STORED_HEADER)?.and_then(|text| text.parse().ok()).map(UnixMillis);
        let urgency = if request.headers().has(URGENT_HEADER)? { Urgency::Urgent } else { Urgency::Ordinary };
        let look = self.inner.door.borrow_mut().announce(version, keys);
        if look == Look::Needed {
            self.inner.end_those_without_key();
        }
        let news = News { version, stored_ms };
        let count = self.inner.listener_count();
        let reaction = self.inner.hub.borrow_mut().announce(news, urgency, count, clock::now());
        match reaction {
            Reaction::Nothing => {}
            Reaction::TellAll(news) => tell(&self.inner.state.get_websockets(), news),
            Reaction::Wave => self.inner.tell_in_waves(),
        }
        Ok(Response::empty()?.with_status(204))
    }
}

impl Inner {
    /// Counted once after each sleep, since counting means to make an object for every socket.
    fn listener_count(&self) -> usize {
        let count = self.listener_count.get().unwrap_or_else(|| self.state.get_websockets().len());
        self.listener_count.set(Some(count));
        count
    }

    fn listener_left(&self) {
        self.listener_count.set(self.listener_count.get().map(|count| count.saturating_sub(1)));
    }

    /// An end that nobody told us of would take a place for ever, so a refusal is never from memory.
    fn has_room(&self, count_max: usize) -> bool {
        if self.listener_count() < count_max {
            return true;
        }
        self.listener_count.set(None);
        self.listener_count() < count_max
    }

    /// Ends those whose key is not valid any more.
    fn end_those_without_key(&self) {
        for socket in self.state.get_websockets() {
            let key = self.tag(&socket, KEY_TAG).and_then(|text| KeyId::parse(&text));
            if key.is_none_or(|key| !self.door.borrow().is_open_to(key)) {
                let _ = socket.close(Some(1008), Some("the client key is not valid any more"));
            }
        }
    }

    /// Takes a place from the client that holds most, for one that holds fewer.
    fn make_room(&self, client: Client) -> bool {
        let now = clock::now();
        if now.since(self.shared_at.get()) < COUNT_INTERVAL_MS {
            return false;
        }
        self.shared_at.set(now);
        let mut counts = BTreeMap::<Client, usize>::new();
        for socket in self.state.get_websockets() {
            let holder = self.tag(&socket, CLIENT_TAG).and_then(|text| Client::parse(&text));
            if let Some(holder) = holder {
                *counts.entry(holder).or_default() += 1;
            }
        }
        let own = counts.get(&client).copied().unwrap_or(0);
        let Some(giver) = gives_way(&counts, own) else { return false };
        let held = self.state.get_websockets_with_tag(&format!("{CLIENT_TAG}{giver}"));
        // 1013: try again later.
        held.first().is_some_and(|socket| socket.close(Some(1013), Some("others need the place")).is_ok())
    }

    fn tag(&self, socket: &WebSocket, start: &str) -> Option<String> {
        let tags = self.state.get_tags(socket);
        tags.iter().find_map(|tag| tag.strip_prefix(start)).map(str::to_owned)
    }

    /// Tells who is due now, and goes on in the background until nobody waits.
    fn tell_in_waves(self: &Rc<Self>) {
        self.tell_due();
        if self.hub.borrow().wait_ms(clock::now()).is_none() || self.is_telling.replace(true) {
            return;
        }
        let inner = Rc::clone(self);
        self.state.wait_until(async move {
            loop {
                // Not inside the loop's head: the borrow would last for its body.
                let wait_ms = inner.hub.borrow().wait_ms(clock::now());
                let Some(wait_ms) = wait_ms else { break };
                pause(wait_ms).await;
                inner.tell_due();
            }
            inner.is_telling.set(false);
        });
    }

    fn tell_due(&self) {
        let count = self.listener_count();
        let Some((slots, news)) = self.hub.borrow_mut().due(count, clock::now()) else { return };
        for slot in slots {
            tell(&self.state.get_websockets_with_tag(&slot.to_string()), news);
        }
    }
}

/// Sends to each of them; one that cannot be reached any more is about to be reported as closed.
fn tell(sockets: &[WebSocket], news: News) {
    let message = news.message();
    for socket in sockets {
        let _ = socket.send_with_str(&message);
    }
}

fn version(request: &Request) -> Result<Option<SnapshotVersion>> {
    Ok(request.headers().get(VERSION_HEADER)?.as_deref().and_then(SnapshotVersion::parse))
}
