//! Flags with what stands around them: found, ordered and counted alike on both databases, and nothing stays of what is gone.

use std::collections::BTreeMap;

use flagfuse_shared::definition::ValueType;
use flagfuse_shared::ids::{EnvironmentKey, FlagKey, Scope, UnixMillis};
use serde_json::json;

use super::super::flag_matrix::{self, Columns, FlagPair};
use super::super::flag_rows::{self, FlagFilter};
use super::super::listing::{Listing, Order, Stand};
use super::super::{Connection, asked, contents, flag_details, flags, phases};
use super::definitions::phase;
use super::{NOW, flag, make, scope, worlds};
use crate::model::flag_details::{FlagDetails, FlagKind};

fn details(name: &str, owner: &str, tags: &[&str], kind: FlagKind) -> FlagDetails {
    let tags = tags.iter().map(|tag| (*tag).to_owned()).collect();
    FlagDetails {
        name: name.to_owned(),
        owner: owner.to_owned(),
        tags,
        kind: Some(kind),
        ..FlagDetails::default()
    }
}

async fn say(conn: &mut Connection, scope: &Scope, key: &str, said: &FlagDetails) -> u64 {
    let flag = FlagKey::parse(key).unwrap();
    flag_details::put(conn, &scope.tenant, &scope.project, &flag, said, NOW).await.unwrap()
}

async fn is_said(conn: &mut Connection, scope: &Scope, key: &str) -> bool {
    flag_details::details(conn, &scope.tenant, &scope.project, key).await.unwrap().is_some()
}

/// `a` is off, `b` and `c` are on; nothing is said of `c`.
async fn fill(conn: &mut Connection, scope: &Scope) {
    let mut off = flag("a");
    off.enabled = false;
    // One that is on, though its text has the words of being off in it.
    let mut misleading = flag("c");
    misleading.value_type = ValueType::Object;
    for variation in &mut misleading.variations {
        variation.value = json!({ "enabled": false });
    }
    for (wire, at) in [(off, 3), (flag("b"), 1), (misleading, 2)] {
        flags::put(conn, scope, &wire, UnixMillis(at)).await.unwrap();
    }
    say(conn, scope, "a", &details("Größe 1", "web", &["x", "y%"], FlagKind::Ops)).await;
    say(conn, scope, "b", &details("Pay", "pay", &["x"], FlagKind::Release)).await;
}

#[tokio::test]
async fn rows_are_found_by_what_is_said_of_their_flags() {
    for (_database, _store, mut tx) in worlds().await {
        let here = scope("t/p/e");
        fill(&mut tx, &here).await;
        let none = FlagFilter::default();
        for (filter, q, expected) in [
            (none, None, &["a", "b", "c"][..]),
            (none, Some("größe"), &["a"]),
            (none, Some("PAY"), &["b"]),
            (none, Some("C"), &["c"]),
            (FlagFilter { owner: Some("pay"), ..none }, None, &["b"]),
            (FlagFilter { tag: Some("x"), ..none }, None, &["a", "b"]),
            (FlagFilter { tag: Some("y%"), ..none }, None, &["a"]),
            (FlagFilter { tag: Some("y"), ..none }, None, &[]),
            (FlagFilter { kind: Some(FlagKind::Ops), tag: Some("x"), ..none }, None, &["a"]),
            (FlagFilter { is_on: Some(true), ..none }, None, &["b", "c"]),
            (FlagFilter { is_on: Some(false), ..none }, None, &["a"]),
            (FlagFilter { is_on: Some(true), owner: Some("web"), ..none }, None, &[]),
        ] {
            for limit in [1, 9] {
                let (mut found, mut after) = (Vec::new(), None::<Stand>);
                loop {
                    let listing = Listing { q, order: Order::Key, after: after.as_ref(), limit };
                    let page = flag_rows::listed(&mut tx, &here, filter, &listing).await.unwrap();
                    let Some(last) = page.last() else { break };
                    after = Some(Stand { at: last.row.updated_ms, key: last.row.wire.key.clone() });
                    found.extend(page.into_iter().map(|flag| flag.row.wire.key));
                }
                assert_eq!(found, expected, "{filter:?} {q:?}");
            }
            let listing = Listing { q, ..Listing::ALL };
            let total = flag_rows::total(&mut tx, &here, filter, &listing).await.unwrap();
            assert_eq!(total as usize, expected.len(), "{filter:?} {q:?}");
        }
        let found = flag_rows::of_keys(&mut tx, &here, &["c".to_owned(), "a".to_owned(), "z".to_owned()])
            .await
            .unwrap();
        assert_eq!(found.len(), 2);
    }
}

#[tokio::test]
async fn what_is_said_of_a_flag_goes_with_the_last_of_its_key() {
    for (_database, _store, mut tx) in worlds().await {
        make(&mut tx, "t/p/f").await;
        let (here, there) = (scope("t/p/e"), scope("t/p/f"));
        fill(&mut tx, &here).await;
        flags::put(&mut tx, &there, &flag("a"), NOW).await.unwrap();
        assert!(flags::delete(&mut tx, &here, "a").await.unwrap());
        assert!(is_said(&mut tx, &here, "a").await, "the other environment has it");
        let before = say(&mut tx, &here, "a", &FlagDetails::default()).await;
        assert!(flags::delete(&mut tx, &there, "a").await.unwrap());
        assert!(!is_said(&mut tx, &here, "a").await);
        flags::put(&mut tx, &here, &flag("a"), NOW).await.unwrap();
        assert!(say(&mut tx, &here, "a", &FlagDetails::default()).await > before, "no revision comes back");
        asked::note(&mut tx, &here, &BTreeMap::from([("b".to_owned(), NOW)])).await.unwrap();
        contents::delete_environment(&mut tx, &here, NOW).await.unwrap();
        assert!(!is_said(&mut tx, &here, "a").await && !is_said(&mut tx, &here, "b").await);
        assert_eq!(asked::last(&mut tx, &here, "b").await.unwrap(), None);
    }
}

#[tokio::test]
async fn the_last_question_is_written_down_by_the_minute_and_never_goes_back() {
    for (_database, _store, mut tx) in worlds().await {
        let here = scope("t/p/e");
        for (at, expected) in [
            (NOW, NOW),
            (NOW.plus(59_999), NOW),
            (NOW.plus(60_000), NOW.plus(60_000)),
            (NOW, NOW.plus(60_000)),
        ] {
            asked::note(&mut tx, &here, &BTreeMap::from([("a".to_owned(), at)])).await.unwrap();
            assert_eq!(asked::last(&mut tx, &here, "a").await.unwrap(), Some(expected), "{at:?}");
        }
        assert_eq!(asked::last(&mut tx, &here, "b").await.unwrap(), None);
        // By the phases of a flag, the newest of them.
        flags::put(&mut tx, &here, &flag("f"), NOW).await.unwrap();
        let mut begun_phases = BTreeMap::new();
        for at in [5, 3] {
            let begun = phases::begin(&mut tx, &here, "f", phase()).await.unwrap();
            begun_phases.insert(begun.phase_id, NOW.plus(at));
        }
        begun_phases.insert(999, NOW);
        asked::note_phases(&mut tx, &begun_phases).await.unwrap();
        asked::note_phases(&mut tx, &BTreeMap::new()).await.unwrap();
        assert_eq!(asked::last(&mut tx, &here, "f").await.unwrap(), Some(NOW.plus(5)));
    }
}

#[tokio::test]
async fn flags_of_several_environments_stand_side_by_side() {
    for (_database, _store, mut tx) in worlds().await {
        make(&mut tx, "t/p/f").await;
        let (here, there) = (scope("t/p/e"), scope("t/p/f"));
        fill(&mut tx, &here).await;
        let mut other = flag("b");
        other.description = "d".to_owned();
        let same = flag_rows::flag(&mut tx, &here, "c").await.unwrap().unwrap().row.wire;
        for (wire, at) in [(other.clone(), 9), (same, 2), (flag("d"), 4)] {
            flags::put(&mut tx, &there, &wire, UnixMillis(at)).await.unwrap();
        }
        let (e, f) = (here.environment.clone(), there.environment.clone());
        let keys = async |conn: &mut Connection, environments: &[EnvironmentKey], q: Option<&str>, order| {
            let columns = Columns { tenant: &here.tenant, project: &here.project, environments };
            let (mut found, mut after) = (Vec::new(), None::<Stand>);
            loop {
                let listing = Listing { q, order, after: after.as_ref(), limit: 2 };
                let page = flag_matrix::keys(conn, columns, &listing).await.unwrap();
                let Some(last) = page.last() else { break };
                after = Some(Stand { at: last.updated_ms, key: last.flag.clone() });
                found.extend(page.into_iter().map(|key| key.flag));
            }
            assert_eq!(flag_matrix::total(conn, columns, q).await.unwrap() as usize, found.len());
            found
        };
        let both = [e.clone(), f.clone()];
        assert_eq!(keys(&mut tx, &both, None, Order::Key).await, ["a", "b", "c", "d"]);
        assert_eq!(keys(&mut tx, &both, None, Order::TimeDown).await, ["b", "d", "a", "c"]);
        assert_eq!(keys(&mut tx, &both, None, Order::KeyDown).await, ["d", "c", "b", "a"]);
        assert_eq!(keys(&mut tx, &both, Some("pay"), Order::Key).await, ["b"]);
        assert_eq!(keys(&mut tx, &both[1..], None, Order::Time).await, ["c", "d", "b"]);
        assert_eq!(keys(&mut tx, &[], None, Order::Key).await, [""; 0]);
        let found = flag_matrix::pairs(&mut tx, &here, &f).await.unwrap();
        let sides: Vec<_> = found
            .iter()
            .map(|FlagPair { flag, left, right }| (flag.as_str(), left.is_some(), right.is_some()))
            .collect();
        assert_eq!(sides, [("a", true, false), ("b", true, true), ("d", false, true)]);
        let right = found[1].right.clone().unwrap();
        assert_eq!(serde_json::from_str::<serde_json::Value>(&right).unwrap(), json!(other));
    }
}
