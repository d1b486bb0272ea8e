//! What is signed and sent: frames, their history, keysets, and what replicas hold.

use flagfuse_shared::contract::replica::{HeldVersion, Urgency};
use flagfuse_shared::digest::Digest;
use flagfuse_shared::ids::SnapshotVersion;
use serde_json::json;

use super::super::audit::{AuditPlace, NewAudit};
use super::super::keysets::KeysetRow;
use super::super::receipts::{NackRow, ReplicaName, Told};
use super::super::snapshots::{FrameRow, FrameTraits};
use super::super::{Connection, audit, history, keysets, receipts, scopes, snapshots};
use super::{NOW, make, scope, worlds};
use crate::model::ceremony::{Gate, SignedStep};

fn version(epoch: u64, seq: u64) -> SnapshotVersion {
    SnapshotVersion { epoch, seq }
}

async fn sign(
    conn: &mut Connection,
    environment: &str,
    version: SnapshotVersion,
    urgency: Urgency,
) -> HeldVersion {
    let digest = Digest::of(version.to_string().as_bytes());
    let row = FrameRow { version, digest, frame: vec![0, 0xff, 7], created_ms: NOW };
    let traits = FrameTraits { urgency, stale_ms: 250 };
    snapshots::insert(conn, &scope(environment), &row, traits).await.unwrap();
    HeldVersion { epoch: version.epoch, seq: version.seq, digest }
}

#[tokio::test]
async fn the_newest_version_of_each_environment_is_told_with_its_newest_urgent_one() {
    for (_database, _store, mut tx) in worlds().await {
        make(&mut tx, "t/p/other").await;
        make(&mut tx, "t/p/unsigned").await;
        make(&mut tx, "u/p/e").await;
        let scope = scope("t/p/e");
        for (seq, urgency) in [(9, Urgency::Urgent), (10, Urgency::Urgent), (11, Urgency::Ordinary)] {
            sign(&mut tx, "t/p/e", version(1, seq), urgency).await;
        }
        let newest = sign(&mut tx, "t/p/e", version(2, 1), Urgency::Ordinary).await;
        let other = sign(&mut tx, "t/p/other", version(1, 1), Urgency::Ordinary).await;
        sign(&mut tx, "u/p/e", version(7, 7), Urgency::Urgent).await;
        let mut rows = snapshots::newest_versions(&mut tx, &scope.tenant).await.unwrap();
        rows.sort_by_key(|row| row.scope.to_string());
        let found: Vec<_> = rows.iter().map(|row| (row.scope.to_string(), row.held, row.urgent)).collect();
        let expected =
            [("t/p/e".to_owned(), newest, Some(version(1, 10))), ("t/p/other".to_owned(), other, None)];
        assert_eq!(found, expected);
        let row = snapshots::newest(&mut tx, &scope).await.unwrap().unwrap();
        assert_eq!((row.version, row.frame.as_slice()), (version(2, 1), [0, 0xff, 7].as_slice()));
        let signed = snapshots::newest_signed(&mut tx, &scope).await.unwrap().unwrap();
        assert_eq!((signed.held, signed.urgency), (newest, Urgency::Ordinary));
        assert!(snapshots::frame(&mut tx, &scope, version(1, 10)).await.unwrap().is_some());
        assert!(snapshots::frame(&mut tx, &scope, version(1, 12)).await.unwrap().is_none());
        assert_eq!(snapshots::stale_ms_max(&mut tx, &scope, version(1, 8)).await.unwrap(), None);
    }
}

#[tokio::test]
async fn the_history_names_for_each_version_the_change_that_it_carried_first() {
    for (_database, _store, mut tx) in worlds().await {
        let scope = scope("t/p/e");
        for seq in 1..=5 {
            sign(&mut tx, "t/p/e", version(1, seq), Urgency::Ordinary).await;
            for action in ["flag.put", "override.put"] {
                let detail = json!({ "version": format!("1.{seq}") });
                let subject = format!("f{seq}");
                let entry = NewAudit { actor: "token:a", action, subject: &subject, detail, flags: &[] };
                audit::insert(&mut tx, AuditPlace::Environment(&scope), entry, NOW).await.unwrap();
            }
        }
        sign(&mut tx, "t/p/e", version(2, 1), Urgency::Urgent).await;
        let mut told = Vec::new();
        let mut before = None;
        loop {
            let page = history::page(&mut tx, &scope, before, 4).await.unwrap();
            let Some(last) = page.last() else { break };
            before = SnapshotVersion::parse(&last.version);
            told.extend(page.into_iter().map(|row| (row.version, row.action, row.subject)));
        }
        let row = |seq: u64| (format!("1.{seq}"), Some("flag.put".to_owned()), Some(format!("f{seq}")));
        let expected = [("2.1".to_owned(), None, None), row(5), row(4), row(3), row(2), row(1)];
        assert_eq!(told, expected);
        assert_eq!(history::list(&mut tx, &scope).await.unwrap().len(), 6);
        assert_eq!(history::versions(&mut tx, &scope).await.unwrap()[1], version(1, 5));
    }
}

#[tokio::test]
async fn keysets_come_into_force_once_and_wait_for_the_replicas_that_lag() {
    for (_database, _store, mut tx) in worlds().await {
        let keyset = |keyset_version, in_force_ms| KeysetRow {
            step: SignedStep { keyset_version, envelope: vec![1, 2], gate: Gate::AfterAck },
            created_ms: NOW,
            in_force_ms,
        };
        assert_eq!(keysets::newest_version(&mut tx).await.unwrap(), 0);
        assert_eq!(keysets::in_force_version(&mut tx).await.unwrap(), None);
        let (first, second) = (keyset(1, Some(NOW)), keyset(2, None));
        keysets::insert(&mut tx, &first).await.unwrap();
        keysets::insert(&mut tx, &second).await.unwrap();
        assert_eq!(keysets::chain(&mut tx).await.unwrap(), [first, second]);
        assert_eq!(keysets::envelope(&mut tx, 2).await.unwrap(), Some(vec![1, 2]));
        assert!(keysets::put_in_force(&mut tx, 2, NOW).await.unwrap());
        assert!(!keysets::put_in_force(&mut tx, 2, NOW).await.unwrap(), "another one was first");
        assert_eq!(keysets::in_force_version(&mut tx).await.unwrap(), Some(2));

        let scope = scope("t/p/e");
        assert_eq!(keysets::unpublished(&mut tx, 2).await.unwrap(), std::slice::from_ref(&scope));
        for seq in [3, 4] {
            keysets::note_publication(&mut tx, 2, &scope, version(1, seq)).await.unwrap();
        }
        assert!(keysets::unpublished(&mut tx, 2).await.unwrap().is_empty());
        assert!(!keysets::has_receipts(&mut tx).await.unwrap());
        let replicas = ["eu/0".to_owned(), "us/11".to_owned()];
        let lagging = keysets::laggards(&mut tx, 2, &replicas).await.unwrap();
        assert_eq!(lagging.iter().map(|row| row.needs.as_str()).collect::<Vec<_>>(), ["1.3", "1.3"]);
        let us = ReplicaName { region: "us".to_owned(), shard: 11 };
        let held = HeldVersion { epoch: 1, seq: 3, digest: Digest::of(b"x") };
        receipts::record_held(&mut tx, &scope, &us, held, Told::Hello, NOW).await.unwrap();
        let lagging = keysets::laggards(&mut tx, 2, &replicas).await.unwrap();
        assert_eq!(lagging.iter().map(|row| row.replica.as_str()).collect::<Vec<_>>(), ["eu/0"]);
        assert_eq!(keysets::known_replicas(&mut tx).await.unwrap(), ["us/11"]);
        let nack = NackRow { code: "E_SIZE".to_owned(), detail: "\0".to_owned(), at_ms: NOW };
        receipts::record_nack(&mut tx, &scope, &us, &nack).await.unwrap();
        let row = receipts::receipts(&mut tx, &scope).await.unwrap().remove(0);
        assert_eq!((row.held, row.nack.map(|nack| nack.code)), (Some(held), Some("E_SIZE".to_owned())));

        assert_eq!(scopes::bump_version(&mut tx, &scope).await.unwrap(), version(1, 1));
        assert!(keysets::raise_epoch(&mut tx, &scope, 3).await.unwrap());
        assert!(!keysets::raise_epoch(&mut tx, &scope, 3).await.unwrap());
        assert_eq!(scopes::bump_version(&mut tx, &scope).await.unwrap(), version(3, 1));
        keysets::insert(&mut tx, &keyset(3, None)).await.unwrap();
        keysets::drop_waiting(&mut tx).await.unwrap();
        assert_eq!(keysets::newest_version(&mut tx).await.unwrap(), 2);
        assert_eq!(
            receipts::acks_from(&mut tx, &scope, version(1, 1)).await.unwrap(),
            [],
            "it was never signed here"
        );
    }
}
