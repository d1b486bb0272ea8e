//! Hostile pushes to a real replica: each is refused with its stable code and the old version goes on being served.

use std::fs;
use std::net::TcpStream;

use flagfuse_shared::contract::push::{HeldVersion, ReplicaMessage, publish_message, push_path};
use flagfuse_shared::digest::Digest;
use flagfuse_shared::flag::environment::SharedWire;
use flagfuse_shared::ids::{EnvironmentKey, ProjectKey, Scope, SnapshotVersion, TenantKey, UnixMillis};
use flagfuse_shared::snapshot::AutoExposure;
use flagfuse_shared::snapshot::envelope::{Segments, encode_frame, split_frame};
use flagfuse_shared::snapshot::manifest::{Keyset, Role, Roles};
use flagfuse_shared::snapshot::payload::{Content, Profile};
use flagfuse_shared::snapshot::sign::{PrivateKey, Release, sign_keyset, sign_snapshot};
use support::World;
use tungstenite::client::IntoClientRequest as _;
use tungstenite::{Message, WebSocket};

struct Replica(WebSocket<TcpStream>);

impl Replica {
    /// Dials the replica as the control plane does; the status when it is refused.
    fn dial(world: &World, token: Option<&str>) -> Result<(Self, Option<HeldVersion>), u16> {
        let authority = world.stack.edge_url(1).replace("http://", "");
        let mut request =
            format!("ws://{authority}{}", push_path(&scope("demo"))).into_client_request().unwrap();
        if let Some(token) = token {
            request.headers_mut().insert("authorization", format!("Bearer {token}").parse().unwrap());
        }
        let stream = TcpStream::connect(&authority).unwrap();
        match tungstenite::client(request, stream) {
            Ok((socket, _)) => {
                let mut replica = Self(socket);
                match replica.read() {
                    ReplicaMessage::Hello { held, .. } => Ok((replica, held)),
                    other => panic!("{other:?}"),
                }
            }
            Err(tungstenite::HandshakeError::Failure(tungstenite::Error::Http(response))) => {
                Err(response.status().as_u16())
            }
            Err(other) => panic!("{other}"),
        }
    }

    fn read(&mut self) -> ReplicaMessage {
        loop {
            if let Message::Text(text) = self.0.read().unwrap() {
                return serde_json::from_str(text.as_str()).unwrap();
            }
        }
    }

    /// Publishes and gives the code of the refusal, or `ack`.
    fn publish(&mut self, frame: &[u8]) -> String {
        self.0.send(Message::binary(publish_message(frame))).unwrap();
        match self.read() {
            ReplicaMessage::Ack { .. } => "ack".to_owned(),
            ReplicaMessage::Nack { code, .. } => code,
            other @ ReplicaMessage::Hello { .. } => panic!("{other:?}"),
        }
    }
}

fn scope(project: &str) -> Scope {
    Scope {
        tenant: TenantKey::parse("default").unwrap(),
        project: ProjectKey::parse(project).unwrap(),
        environment: EnvironmentKey::parse("production").unwrap(),
    }
}

/// The development keys of the running stack, so that hostile frames can be signed correctly where they should be.
struct Keys {
    root: PrivateKey,
    release: PrivateKey,
    freshness: PrivateKey,
}

impl Keys {
    fn of(world: &World) -> Self {
        let read = |name: &str| {
            let path = world.data_dir.join(format!("control-plane/keys/{name}.key"));
            let text = fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
            PrivateKey::from_seed(Digest::parse(text.trim()).unwrap().as_bytes())
        };
        Self { root: read("root"), release: read("release"), freshness: read("freshness") }
    }

    fn frame(&self, scope: Scope, version: SnapshotVersion, marker: &str, signer: &PrivateKey) -> Vec<u8> {
        let role = |key: &PrivateKey| Role { threshold: 1, keys: vec![key.public_base64()] };
        let keyset = Keyset {
            keyset_version: 1,
            expires_ms: UnixMillis(u64::MAX / 2),
            roles: Roles {
                root: role(&self.root),
                release: role(&self.release),
                freshness: role(&self.freshness),
            },
            min_epoch: [].into(),
        };
        let now = UnixMillis(xtask::traffic::now_ms());
        let release = Release {
            scope,
            version,
            prev_sha256: Digest::of(marker.as_bytes()),
            created_ms: now,
            expires_ms: now.plus(1_000_000),
            keyset_version: 1,
        };
        let content = Content {
            flags: Vec::new(),
            client_keys: [].into(),
            profile: Profile::Strict,
            auto_exposure: AutoExposure::Off,
            shared: SharedWire::default(),
        };
        let keyset = sign_keyset(&keyset, std::slice::from_ref(&self.root)).unwrap();
        sign_snapshot(&content, &release, &keyset, std::slice::from_ref(signer)).unwrap().frame
    }
}

#[test]
fn a_hostile_push_never_counts() {
    let world = World::start("tamper");
    let token = world.stack.secrets().push_token.clone();
    assert_eq!(Replica::dial(&world, None).err(), Some(401));
    assert_eq!(Replica::dial(&world, Some("wrong")).err(), Some(401));

    let (mut replica, held) = Replica::dial(&world, Some(&token)).unwrap();
    let held = held.expect("the demo was published").version();
    let keys = Keys::of(&world);
    let next = SnapshotVersion { seq: held.seq + 1, ..held };
    let good = keys.frame(scope("demo"), next, "good", &keys.release);

    let stranger = PrivateKey::from_seed(&[7; 32]);
    let older = SnapshotVersion { seq: held.seq - 1, ..held };
    let far = SnapshotVersion { seq: held.seq + (1 << 20) + 1, ..held };
    let past_epoch = SnapshotVersion { epoch: held.epoch - 1, seq: held.seq + 5 };
    let other_payload = {
        let other = keys.frame(scope("demo"), next, "other", &keys.release);
        let (a, b) = (split_frame(&good).unwrap(), split_frame(&other).unwrap());
        let mut payload = b.payload.to_vec();
        payload[0] ^= 1;
        encode_frame(Segments { payload: &payload, ..a })
    };
    let mut long = good.clone();
    long.push(0);
    let rows = [
        ("E_ROLLBACK", keys.frame(scope("demo"), older, "x", &keys.release)),
        ("E_EQUIV", keys.frame(scope("demo"), held, "x", &keys.release)),
        ("E_EPOCH", keys.frame(scope("demo"), past_epoch, "x", &keys.release)),
        ("E_FASTFWD", keys.frame(scope("demo"), far, "x", &keys.release)),
        ("E_SCOPE", keys.frame(scope("other"), next, "x", &keys.release)),
        ("E_KEY", keys.frame(scope("demo"), next, "x", &stranger)),
        ("E_KEY", keys.frame(scope("demo"), next, "x", &keys.freshness)),
        ("E_KEY", keys.frame(scope("demo"), next, "x", &keys.root)),
        ("E_DIGEST", other_payload),
        ("E_TRUNC", good[..good.len() - 1].to_vec()),
        ("E_TRUNC", Vec::new()),
        ("E_SIZE", long),
        ("E_SIZE", vec![0xff; 1_000]),
    ];
    for (at, (code, frame)) in rows.iter().enumerate() {
        assert_eq!(replica.publish(frame), *code, "row {at}");
    }
    // Every 37th bit of the signed part: spread over all fields, short enough to push one by one.
    let payload_len = split_frame(&good).unwrap().payload.len();
    for bit in (0..(good.len() - payload_len) * 8).step_by(37) {
        let mut flipped = good.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        assert_ne!(replica.publish(&flipped), "ack", "bit {bit}");
    }

    // After all that the old version is still what everybody gets, and the replica still takes a good one.
    for index in 0..2 {
        let answer = world.ask(index, "theme", "u").unwrap();
        assert_eq!(answer.header("x-flags-version"), Some(held.to_string().as_str()));
    }
    assert_eq!(replica.publish(&good), "ack");
    assert_eq!(replica.publish(&good), "ack", "a repeat is acknowledged again");
}
