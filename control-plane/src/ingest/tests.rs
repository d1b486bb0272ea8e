//! Several control planes on one database: who counts, who refuses, and how it changes hands.

use std::time::Duration;

use axum::body::Bytes;
use flagfuse_shared::ids::{Scope, UnixMillis};
use serde_json::json;
use tokio::sync::watch;
use tokio::time::{Instant, sleep};

use super::{Answered, IngestError, Ingestion, Node};
use crate::clock::{Clock, monotonic};
use crate::model::identity::UnitKey;
use crate::model::rights::{Holding, Place, Rights};
use crate::model::safety::SafetySettings;
use crate::model::settings::EnvironmentSettings;
use crate::model::token::TokenKind;
use crate::store::scopes::{SettingsRow, insert_environment, insert_project};
use crate::store::testing::{TestDatabase, number, postgres};
use crate::store::{Lock, Store};

const PATIENCE: Duration = Duration::from_mins(2);

fn scope() -> Scope {
    Scope::parse("t/p/e").unwrap()
}

/// A control plane of which nobody else knows the address, with the buffer of an edge that reaches only this one.
struct Plane {
    ingestion: Ingestion,
    buffer: &'static str,
    batches: u64,
}

/// A database with an environment, and two such planes.
async fn planes() -> Option<(TestDatabase, Store, [Plane; 2])> {
    let database = postgres().await?;
    let store = database.store().await;
    let (scope, now) = (scope(), UnixMillis(1));
    let mut tx = store.write(Lock::Keys).await.unwrap();
    insert_project(&mut tx, &scope.tenant, &scope.project, "", now).await.unwrap();
    let safety = SafetySettings::default();
    let row = SettingsRow { settings: EnvironmentSettings::default(), safety: &safety };
    assert!(insert_environment(&mut tx, &scope, row, now).await.unwrap());
    tx.commit().await.unwrap();
    let plane = |buffer| {
        let (_, bell) = watch::channel(0);
        let node = Node::random(String::new()).unwrap();
        let (store, key) = (store.clone(), UnitKey::new([7; 32]));
        Plane { ingestion: Ingestion::new(store, key, Clock::System, node, bell), buffer, batches: 0 }
    };
    let both = [plane("one"), plane("two")];
    Some((database, store, both))
}

impl Plane {
    /// Delivers the buffer's next batch as an edge does: where it is refused, the same again later.
    async fn deliver(&mut self) -> Result<(), IngestError> {
        let (now, seq) = (Clock::System.now(), self.batches + 1);
        let event = json!({ "type": "outcome", "id": format!("{}-{seq}", self.buffer), "unit": "u", "metric": "m",
            "occurred_ms": now });
        let batch = json!({ "buffer_id": self.buffer, "batch_seq": seq, "tenant": "t", "project": "p",
            "environment": "e", "region": "r", "events": [{ "received_ms": now, "raw": event }] });
        let rights =
            Rights::new(vec![Holding { rights: TokenKind::Ingest.rights(), place: Place::from(&scope()) }]);
        let answer = self.ingestion.ingest(&scope().tenant, &rights, Bytes::from(batch.to_string())).await;
        match answer {
            Ok(Answered { .. }) => {
                self.batches = seq;
                Ok(())
            }
            Err(IngestError::Elsewhere { address, scope }) => {
                assert_eq!(address, "", "nobody says where it is reached");
                // What the API does where it cannot hand a batch on.
                self.ingestion.want(&scope.clone().unwrap());
                Err(IngestError::Elsewhere { address, scope })
            }
            Err(error) => Err(error),
        }
    }

    /// The same until it is taken.
    async fn deliver_until_taken(&mut self) {
        let until = monotonic() + PATIENCE;
        while let Err(error) = self.deliver().await {
            assert!(matches!(error, IngestError::Elsewhere { .. } | IngestError::Opening), "{error}");
            assert!(monotonic() < until, "a batch was not taken for {PATIENCE:?}: {error}");
            sleep(Duration::from_millis(250)).await;
        }
    }
}

async fn stored(store: &Store) -> i64 {
    number(&mut store.read().await.unwrap(), "SELECT CAST(SUM(stored) AS BIGINT) FROM balance").await
}

async fn changes_of_hands(store: &Store) -> i64 {
    number(&mut store.read().await.unwrap(), "SELECT fence FROM partitions").await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_owner_to_which_nothing_comes_lets_go_of_what_another_has_to_refuse() {
    let Some((_database, store, [mut one, mut two])) = planes().await else { return };
    one.deliver().await.unwrap();
    let refused = two.deliver().await.unwrap_err().to_string();
    assert!(refused.contains("--advertise-url"), "{refused}");
    two.deliver_until_taken().await;
    two.deliver().await.unwrap();
    assert_eq!(stored(&store).await, 3);
    let fence = changes_of_hands(&store).await;
    // It stays there as long as nobody else is asked, also when the other one looks whether anybody has it.
    for _ in 0..3 {
        one.ingestion.tick().await.unwrap();
        two.ingestion.tick().await.unwrap();
        two.deliver().await.unwrap();
    }
    assert_eq!(changes_of_hands(&store).await, fence);
    assert_eq!(stored(&store).await, 6);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_events_come_to_both_they_take_turns_and_nothing_is_lost_or_counted_twice() {
    let Some((_database, store, [mut one, mut two])) = planes().await else { return };
    one.deliver().await.unwrap();
    let until = monotonic() + PATIENCE;
    // Who took it, with when the other one was last seen to have it, and when it was taken.
    let mut turns: Vec<(&str, Instant, Instant)> = Vec::new();
    let mut seen = monotonic();
    while turns.len() < 3 {
        assert!(monotonic() < until, "they do not take turns: {turns:?}");
        for plane in [&mut one, &mut two] {
            let asked = monotonic();
            if plane.deliver().await.is_err() {
                continue;
            }
            if turns.last().is_none_or(|(last, ..)| *last != plane.buffer) {
                turns.push((plane.buffer, seen, monotonic()));
            }
            seen = asked;
        }
        sleep(Duration::from_millis(250)).await;
    }
    assert_eq!(turns.iter().map(|(buffer, ..)| *buffer).collect::<Vec<_>>(), ["one", "two", "one"]);
    // From before it can have begun to when it was over, whatever a look was late by.
    let turn = turns[2].2.duration_since(turns[1].1);
    assert!(turn >= Duration::from_secs(9), "it goes to and fro: {turn:?}");
    let sent = i64::try_from(one.batches + two.batches).unwrap();
    assert_eq!(stored(&store).await, sent);
}
