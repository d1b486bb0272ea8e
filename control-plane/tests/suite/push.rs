//! The pusher against a replica that verifies what it gets, on a real socket.

use std::time::Duration;

use flagfuse_control_plane::plane::ServeOptions;
use flagfuse_control_plane::publish::push::EdgeRegion;
use flagfuse_shared::contract::push::{HeldVersion, NUDGE, PUBLISH, ReplicaMessage};
use flagfuse_shared::ids::{EnvironmentKey, ProjectKey, Scope, TenantKey};
use flagfuse_shared::snapshot::{Held, Outcome, TrustedRoots, verify};
use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::server::{ErrorResponse, Request, Response};

use crate::world::{ENVIRONMENT, FLAG, World, flag};

/// A replica of one environment behind a listener.
struct Replica {
    listener: TcpListener,
    roots: TrustedRoots,
    scope: Scope,
    held: Option<Held>,
}

impl Replica {
    async fn new(world: &World) -> Self {
        let roots = world.plane.publisher.keys().root_public_keys();
        Self {
            listener: TcpListener::bind("127.0.0.1:0").await.unwrap(),
            roots: TrustedRoots::parse(roots.iter().map(String::as_str), 1).unwrap(),
            scope: Scope {
                tenant: TenantKey::parse("default").unwrap(),
                project: ProjectKey::parse("demo").unwrap(),
                environment: EnvironmentKey::parse("production").unwrap(),
            },
            held: None,
        }
    }

    fn edge(&self) -> EdgeRegion {
        let url = format!("http://{}", self.listener.local_addr().unwrap());
        EdgeRegion { name: "local".to_owned(), url }
    }

    fn held(&self) -> Option<HeldVersion> {
        let held = self.held.as_ref()?;
        Some(HeldVersion { epoch: held.version.epoch, seq: held.version.seq, digest: held.digest })
    }

    async fn accept(&self) -> WebSocketStream<TcpStream> {
        self.accept_with(self.held()).await
    }

    async fn accept_with(&self, held: Option<HeldVersion>) -> WebSocketStream<TcpStream> {
        let (stream, _) = self.listener.accept().await.unwrap();
        #[expect(clippy::result_large_err, reason = "the callback's type is the library's")]
        let check = |request: &Request, response: Response| -> Result<Response, ErrorResponse> {
            assert_eq!(request.uri().path(), "/v1/push/default/demo/production");
            assert_eq!(request.headers()["authorization"], "Bearer push-secret");
            Ok(response)
        };
        let mut socket = tokio_tungstenite::accept_hdr_async(stream, check).await.unwrap();
        let hello = ReplicaMessage::Hello { region: "local".to_owned(), held };
        say(&mut socket, &hello).await;
        socket
    }

    /// Waits for a frame, verifies and acknowledges it; its version.
    async fn take(&mut self, socket: &mut WebSocketStream<TcpStream>, world: &World) -> String {
        let frame = next_frame(socket).await;
        let outcome =
            verify(&frame, &self.roots, &self.scope, self.held.as_ref(), world.clock.now()).unwrap();
        if let Outcome::Newer(admitted) = outcome {
            self.held = Some(admitted.held);
        }
        let held = self.held().unwrap();
        let ack = ReplicaMessage::Ack { region: "local".to_owned(), held, stored_ms: world.clock.now() };
        say(socket, &ack).await;
        held.version().to_string()
    }
}

async fn say(socket: &mut WebSocketStream<TcpStream>, message: &ReplicaMessage) {
    socket.send(Message::text(serde_json::to_string(message).unwrap())).await.unwrap();
}

async fn next_frame(socket: &mut WebSocketStream<TcpStream>) -> Vec<u8> {
    loop {
        let message = tokio::time::timeout(Duration::from_secs(10), socket.next()).await;
        match message.expect("a frame within ten seconds").unwrap().unwrap() {
            Message::Binary(bytes) if bytes[0] == PUBLISH => return bytes[1..].to_vec(),
            Message::Binary(bytes) => assert_eq!(bytes.as_ref(), [NUDGE]),
            Message::Text(text) => assert_eq!(text.as_str(), "ping"),
            other => panic!("unexpected {other:?}"),
        }
    }
}

/// Serves the world in the background; the sender stops it.
async fn serve(world: &World, edge: EdgeRegion) -> (oneshot::Sender<()>, tokio::task::JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (stop, stopped) = oneshot::channel::<()>();
    let options = ServeOptions {
        edges: vec![edge],
        push_token: "push-secret".to_owned(),
        tick: Duration::from_millis(50),
    };
    let plane = world.plane.clone();
    let serving = tokio::spawn(async move {
        let shutdown = async {
            let _ = stopped.await;
        };
        plane.serve(listener, options, shutdown).await.unwrap();
    });
    (stop, serving)
}

/// Reads propagation until `is_reached`; receipts are written after the socket has moved on.
async fn propagation(world: &World, is_reached: impl Fn(&Value) -> bool) -> Value {
    for _ in 0..1_000 {
        let found = world.get(&format!("{ENVIRONMENT}/propagation")).await;
        if is_reached(&found) {
            return found;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("not reached: {}", world.get(&format!("{ENVIRONMENT}/propagation")).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_receives_verifies_and_confirms_every_version() {
    let world = World::new().await;
    let mut replica = Replica::new(&world).await;
    let (stop, serving) = serve(&world, replica.edge()).await;

    let mut socket = replica.accept().await;
    let first = replica.take(&mut socket, &world).await;
    let found = propagation(&world, |found| found["acked"] == 1).await;
    assert_eq!(found["version"], json!(first));
    assert_eq!(found["guaranteed_live_at_ms"], json!(world.clock.now().0 + 250));

    let changed = world.ok("PUT", FLAG, flag()).await;
    assert_eq!(json!(replica.take(&mut socket, &world).await), changed["version"]);

    // A cut connection: what changed meanwhile arrives with the next one.
    drop(socket);
    let missed = world.ok("PUT", FLAG, flag()).await;
    let mut socket = replica.accept().await;
    assert_eq!(json!(replica.take(&mut socket, &world).await), missed["version"]);
    propagation(&world, |found| found["acked"] == 1).await;

    // A refusal is shown with its code and is not repeated at once; the next version is sent.
    world.ok("PUT", FLAG, flag()).await;
    next_frame(&mut socket).await;
    let nack = ReplicaMessage::Nack {
        region: "local".to_owned(),
        code: "E_SIG".to_owned(),
        detail: "0 of 1 signatures".to_owned(),
        held: replica.held(),
    };
    say(&mut socket, &nack).await;
    let refused = propagation(&world, |found| found["regions"][0]["nack_code"] == "E_SIG").await;
    assert_eq!((&refused["acked"], &refused["guaranteed_live_at_ms"]), (&json!(0), &Value::Null));
    let next = world.ok("PUT", FLAG, flag()).await;
    assert_eq!(json!(replica.take(&mut socket, &world).await), next["version"]);
    propagation(&world, |found| found["acked"] == 1 && found["regions"][0]["nack_code"].is_null()).await;

    stop.send(()).unwrap();
    serving.await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_trip_of_the_running_engine_reaches_the_replica() {
    let world = World::new().await;
    let mut replica = Replica::new(&world).await;
    let (stop, serving) = serve(&world, replica.edge()).await;
    let mut socket = replica.accept().await;
    replica.take(&mut socket, &world).await;
    world.ok("PUT", &format!("{FLAG}/fuse"), crate::world::policy(json!({}))).await;
    replica.take(&mut socket, &world).await;
    let harmed = world.run_cohort(1, 400, (50, 200), "conversion");
    let ((), version) = tokio::join!(harmed, replica.take(&mut socket, &world));
    let fuse = world.get(&format!("{FLAG}/fuse")).await;
    assert_eq!(fuse["circuit"], "OPEN");
    assert_eq!(world.get(&format!("{ENVIRONMENT}/settings")).await["version"], json!(version));
    stop.send(()).unwrap();
    serving.await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_ahead_of_a_restored_database_is_shown_and_never_called_live() {
    let world = World::new().await;
    let replica = Replica::new(&world).await;
    let (stop, serving) = serve(&world, replica.edge()).await;
    let digest = flagfuse_shared::digest::Digest::of(b"from another life");
    for _ in 0..2 {
        let mut socket = replica.accept_with(Some(HeldVersion { epoch: 1, seq: 900, digest })).await;
        let found =
            propagation(&world, |found| found["regions"][0]["nack_code"] == json!("E_ROLLBACK")).await;
        let detail = found["regions"][0]["nack_detail"].as_str().unwrap();
        assert!(detail.contains("1.900") && detail.contains("restored"), "{detail}");
        assert_eq!((&found["acked"], &found["guaranteed_live_at_ms"]), (&json!(0), &Value::Null));
        // It stays visible, no change is taken, and nothing is sent that could only be refused.
        let refused = world.call("PUT", FLAG, flag()).await;
        assert_eq!(refused.code(), "restored_from_old_copy", "{}", refused.body);
        assert_eq!(found["forks"][0]["held"], json!("1.900"));
        let quiet = tokio::time::timeout(Duration::from_millis(200), next_frame(&mut socket)).await;
        assert!(quiet.is_err(), "a frame was sent");
        assert_eq!(propagation(&world, |_| true).await["acked"], 0);
    }
    stop.send(()).unwrap();
    serving.await.unwrap();
}
