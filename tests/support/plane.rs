//! A control plane's side of the push contract, spoken by hand: signs what it likes, sends what it likes. Contains no test.

use std::net::TcpStream;
use std::path::Path;

use anyhow::{Context as _, Result, bail};
use flagfuse_shared::contract::replica::{
    HeldMap, HeldVersion, PlaneMessage, ReplicaMessage, Urgency, map_digest, push_path,
};
use flagfuse_shared::definition::SharedWire;
use flagfuse_shared::digest::Digest;
use flagfuse_shared::ids::{Scope, SnapshotVersion, UnixMillis};
use flagfuse_shared::limits::BEAT_VALID_MS;
use flagfuse_shared::snapshot::beat::{Beat, sign_beat};
use flagfuse_shared::snapshot::manifest::{Keyset, Role, Roles};
use flagfuse_shared::snapshot::payload::Content;
use flagfuse_shared::snapshot::sign::{PrivateKey, Release, sign_keyset, sign_snapshot};
use flagfuse_shared::snapshot::{AutoExposure, Profile};
use serde_json::Value;
use tungstenite::client::IntoClientRequest as _;
use tungstenite::{Message, WebSocket};

use crate::PATIENCE;

/// Now, by this machine's clock.
pub fn now() -> UnixMillis {
    UnixMillis(xtask::traffic::now_ms())
}

/// `default/{project}/{environment}`.
pub fn scope(text: &str) -> Scope {
    Scope::parse(&format!("default/{text}")).unwrap_or_else(|error| panic!("{text:?}: {error}"))
}

/// The keys of an installation.
#[derive(Debug)]
pub struct Keys {
    /// Signs keysets.
    pub root: PrivateKey,
    /// Signs manifests.
    pub release: PrivateKey,
    /// Signs beats.
    pub freshness: PrivateKey,
}

/// What of a frame differs from test to test.
#[derive(Debug, Clone)]
pub struct Draft {
    /// Whose snapshot.
    pub scope: Scope,
    /// Its version.
    pub version: SnapshotVersion,
    /// Two frames with different marks have different content.
    pub mark: String,
    /// Flags, as the admin API takes them.
    pub flags: Vec<Value>,
    /// The client key that opens it.
    pub client_key: Option<String>,
    /// Whether the edge records exposures.
    pub auto_exposure: AutoExposure,
}

impl Draft {
    /// An empty snapshot.
    pub fn new(scope: Scope, version: SnapshotVersion, mark: &str) -> Self {
        let (flags, client_key, auto_exposure) = (Vec::new(), None, AutoExposure::Off);
        Self { scope, version, mark: mark.to_owned(), flags, client_key, auto_exposure }
    }
}

impl Keys {
    /// The development keys of a control plane's data folder.
    pub fn read(data_dir: &Path) -> Self {
        let read = |name: &str| {
            let path = data_dir.join(format!("keys/{name}.key"));
            let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
            let seed = Digest::parse(text.trim()).expect("a development key is 32 bytes");
            PrivateKey::from_seed(seed.as_bytes())
        };
        Self { root: read("root"), release: read("release"), freshness: read("freshness") }
    }

    /// Keys of nobody.
    pub fn made_up() -> Self {
        let key = |seed| PrivateKey::from_seed(&[seed; 32]);
        Self { root: key(1), release: key(2), freshness: key(3) }
    }

    /// A frame signed by `signer`, which is the release key where it should be accepted.
    pub fn frame_by(&self, draft: &Draft, signer: &PrivateKey) -> Vec<u8> {
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
        let now = now();
        let release = Release {
            scope: draft.scope.clone(),
            version: draft.version,
            prev_sha256: Digest::of(draft.mark.as_bytes()),
            created_ms: now,
            expires_ms: now.plus(1_000_000),
            keyset_version: 1,
        };
        let flags = draft.flags.iter().map(|flag| serde_json::from_value(flag.clone()));
        let content: Content = Content {
            flags: flags.collect::<Result<_, _>>().expect("the flags are well-formed"),
            client_keys: draft.client_key.iter().map(|key| Digest::of(key.as_bytes())).collect(),
            profile: Profile::Strict,
            auto_exposure: draft.auto_exposure,
            shared: SharedWire::default(),
        };
        let keyset = sign_keyset(&keyset, std::slice::from_ref(&self.root)).expect("the keyset is signed");
        let signed = sign_snapshot(&content, &release, &keyset, std::slice::from_ref(signer));
        signed.expect("the snapshot is signed").frame
    }

    /// A frame that should be accepted.
    pub fn frame(&self, draft: &Draft) -> Vec<u8> {
        self.frame_by(draft, &self.release)
    }

    /// A beat that vouches for `held`.
    pub fn beat(&self, issuer: &str, beat_no: u64, held: &HeldMap) -> Vec<u8> {
        self.beat_at(now(), issuer, beat_no, held)
    }

    /// The same by a clock that shows this.
    pub fn beat_at(&self, issued_ms: UnixMillis, issuer: &str, beat_no: u64, held: &HeldMap) -> Vec<u8> {
        let beat = Beat {
            issuer: issuer.to_owned(),
            map_sha256: map_digest(held),
            count: held.len(),
            issued_ms,
            valid_ms: BEAT_VALID_MS,
            beat_no,
        };
        sign_beat(&beat, std::slice::from_ref(&self.freshness)).expect("the beat is signed")
    }
}

/// A push connection to a replica.
#[derive(Debug)]
pub struct Replica {
    socket: WebSocket<TcpStream>,
    /// What the replica holds, as it has said.
    pub held: HeldMap,
    issuer: String,
    beat_no: u64,
}

impl Replica {
    /// Dials as the control plane does; the status when it is refused.
    pub fn dial(url: &str, region: &str, shard: u16, token: Option<&str>) -> Result<Self, u16> {
        let authority = url.replace("http://", "");
        let mut request = format!("ws://{authority}{}", push_path(region, shard))
            .into_client_request()
            .expect("the address is one");
        if let Some(token) = token {
            let bearer = format!("Bearer {token}").parse().expect("the token is a header's value");
            request.headers_mut().insert("authorization", bearer);
        }
        let stream = TcpStream::connect(&authority).expect("the edge listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("time-outs can be set");
        match tungstenite::client(request, stream) {
            Ok((socket, _)) => {
                let issuer = format!("test-{}", now().0);
                let mut replica = Self { socket, held: HeldMap::new(), issuer, beat_no: 0 };
                match replica.read() {
                    ReplicaMessage::Hello { .. } => Ok(replica),
                    other => panic!("{other:?}"),
                }
            }
            Err(tungstenite::HandshakeError::Failure(tungstenite::Error::Http(response))) => {
                Err(response.status().as_u16())
            }
            Err(other) => panic!("{other}"),
        }
    }

    /// The next thing the replica says.
    pub fn read(&mut self) -> ReplicaMessage {
        loop {
            let message = self.socket.read().expect("the replica says something");
            let Message::Text(text) = message else { continue };
            let said = serde_json::from_str(text.as_str()).expect("the replica speaks the contract");
            match &said {
                ReplicaMessage::Hello { held, .. } => self.held = held.clone(),
                ReplicaMessage::Ack { scope, held, .. } => {
                    self.held.insert(scope.clone(), *held);
                }
                ReplicaMessage::Nack { .. } => {}
            }
            return said;
        }
    }

    /// Sends a message as it is.
    pub fn send(&mut self, message: &PlaneMessage<'_>) {
        self.socket.send(Message::binary(message.encode())).expect("the connection is open");
    }

    /// Publishes a frame and gives the answer.
    pub fn publish(&mut self, scope: &Scope, frame: &[u8]) -> ReplicaMessage {
        self.send(&PlaneMessage::Publish { scope: scope.clone(), urgency: Urgency::Ordinary, frame });
        self.read_past_late_beats()
    }

    /// The next thing that the replica says but for refusals of beats that reached it too late, as they do on a busy machine.
    pub fn read_past_late_beats(&mut self) -> ReplicaMessage {
        loop {
            match self.read() {
                ReplicaMessage::Nack { scope: None, code, .. } if code == "E_EXPIRED" => {}
                said => return said,
            }
        }
    }

    /// Publishes and gives the code of the refusal, or `ack`.
    pub fn code(&mut self, scope: &Scope, frame: &[u8]) -> String {
        match self.publish(scope, frame) {
            ReplicaMessage::Ack { .. } => "ack".to_owned(),
            ReplicaMessage::Nack { code, .. } => code,
            other @ ReplicaMessage::Hello { .. } => panic!("{other:?}"),
        }
    }

    /// Publishes a frame that has to be stored.
    pub fn store(&mut self, scope: &Scope, frame: &[u8]) -> Result<HeldVersion> {
        match self.publish(scope, frame) {
            ReplicaMessage::Ack { held, .. } => Ok(held),
            other => bail!("{other:?}"),
        }
    }

    /// Vouches for what the replica holds.
    pub fn vouch(&mut self, keys: &Keys) {
        let held = self.held.clone();
        self.beat(keys, &held);
    }

    /// Sends a beat that vouches for `held`.
    pub fn beat(&mut self, keys: &Keys, held: &HeldMap) {
        self.beat_no += 1;
        let envelope = keys.beat(&self.issuer, self.beat_no, held);
        self.send(&PlaneMessage::Beat(&envelope));
    }

    /// What is held of an environment.
    pub fn held(&self, scope: &Scope) -> Result<HeldVersion> {
        self.held.get(&scope.to_string()).copied().with_context(|| format!("nothing is held of {scope}"))
    }
}
