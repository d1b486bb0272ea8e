//! What people define: projects, environments, flags, what they share, fuses, tokens, and the trail of it all.

use flagfuse_shared::digest::Digest;
use flagfuse_shared::ids::{FlagKey, ProjectKey, SnapshotVersion, TenantKey, UnixMillis};
use serde_json::json;

use super::super::audit::{AuditFilter, AuditPlace, NewAudit};
use super::super::evidence::Looked;
use super::super::fuses::FuseRow;
use super::super::listing::{Listing, Order, Stand};
use super::super::parts::Part;
use super::super::phases::PhaseRow;
use super::super::project_flags::Inherited;
use super::super::scopes::Whose;
use super::super::tokens::TokenRow;
use super::super::{
    Connection, StoreError, audit, contents, flags, fuses, parts, phases, project_flags, scopes, sql, tokens,
};
use super::{NOW, flag, make, policy, scope, worlds};
use crate::model::circuit::{Circuit, Hand, Rollout};
use crate::model::settings::EnvironmentSettings;
use crate::model::token::TokenKind;

fn tenant() -> TenantKey {
    scope("t/p/e").tenant
}

fn project(key: &str) -> ProjectKey {
    ProjectKey::parse(key).unwrap()
}

/// All pages of two, one after the other.
async fn pages<T, K>(
    conn: &mut Connection,
    mut page: impl AsyncFnMut(&mut Connection, Option<K>, u32) -> Vec<T>,
    key: impl Fn(&T) -> K,
) -> Vec<T> {
    let mut all: Vec<T> = Vec::new();
    loop {
        let next = page(conn, all.last().map(&key), 2).await;
        let is_last = next.len() < 2;
        all.extend(next);
        if is_last {
            return all;
        }
    }
}

#[tokio::test]
async fn projects_and_environments_are_listed_by_key_in_bytes_and_hidden_when_they_are_deleted() {
    for (_database, _store, mut tx) in worlds().await {
        // As bytes, not as a dictionary would have it.
        for name in ["t/p/ab", "t/p/a-b", "t/p/a", "t/q/e", "u/p/e"] {
            make(&mut tx, name).await;
        }
        let keys = |rows: Vec<scopes::EnvironmentRow>| -> Vec<String> {
            rows.into_iter().map(|row| row.scope.to_string()).collect()
        };
        let all = scopes::environments(&mut tx, Whose::Installation).await.unwrap();
        assert_eq!(keys(all), ["t/p/a", "t/p/a-b", "t/p/ab", "t/p/e", "t/q/e", "u/p/e"]);
        let own = scopes::environments(&mut tx, Whose::Tenant(&tenant())).await.unwrap();
        assert_eq!(own.len(), 5);
        let of_project =
            scopes::environments(&mut tx, Whose::Project(&tenant(), &project("p"))).await.unwrap();
        assert_eq!(keys(of_project), ["t/p/a", "t/p/a-b", "t/p/ab", "t/p/e"]);
        let all = scopes::projects(&mut tx, &tenant()).await.unwrap();
        assert_eq!(all.iter().map(|row| row.key.as_str()).collect::<Vec<_>>(), ["p", "q"]);

        contents::delete_environment(&mut tx, &scope("t/p/a"), NOW).await.unwrap();
        assert!(scopes::environment(&mut tx, &scope("t/p/a")).await.unwrap().is_none());
        assert!(scopes::environment_or_deleted(&mut tx, &scope("t/p/a")).await.unwrap().is_some());
        assert_eq!(scopes::counts(&mut tx, &tenant()).await.unwrap(), (5, 1));
        let kept = scopes::environments(&mut tx, Whose::Replicas).await.unwrap();
        assert_eq!(kept.len(), 6);
        make(&mut tx, "t/p/a").await;
        let anew = scopes::environment(&mut tx, &scope("t/p/a")).await.unwrap().unwrap();
        assert_eq!((anew.settings, anew.settings_revision), (EnvironmentSettings::default(), 3));
        let (t, q) = (tenant(), project("q"));
        contents::delete_project(&mut tx, &t, &q, NOW).await.unwrap();
        assert!(!scopes::has_project(&mut tx, &t, &q).await.unwrap());
        assert!(scopes::insert_project(&mut tx, &t, &q, "again", NOW).await.unwrap());
        assert!(!scopes::insert_project(&mut tx, &t, &q, "twice", NOW).await.unwrap());
    }
}

#[tokio::test]
async fn a_row_that_is_made_anew_goes_on_above_the_revisions_of_the_deleted_one() {
    for (_database, _store, mut tx) in worlds().await {
        let scope = scope("t/p/e");
        for expected in 1..=3 {
            assert_eq!(flags::put(&mut tx, &scope, &flag("f"), NOW).await.unwrap(), expected);
        }
        assert!(flags::delete(&mut tx, &scope, "f").await.unwrap());
        assert!(!flags::delete(&mut tx, &scope, "f").await.unwrap());
        assert_eq!(flags::put(&mut tx, &scope, &flag("g"), NOW).await.unwrap(), 4);
        let body = json!({ "key": "s" });
        assert_eq!(parts::put(&mut tx, &scope, Part::Segment, "s", &body, NOW).await.unwrap(), 4);
        assert_eq!(parts::put(&mut tx, &scope, Part::Segment, "s", &body, NOW).await.unwrap(), 5);
        contents::delete_environment(&mut tx, &scope, NOW).await.unwrap();
        assert!(contents::of_environment(&mut tx, &scope).await.unwrap().is_empty());
        make(&mut tx, "t/p/e").await;
        assert_eq!(flags::put(&mut tx, &scope, &flag("f"), NOW).await.unwrap(), 6);
        let (t, p) = (tenant(), project("p"));
        for expected in 1..=2 {
            assert_eq!(project_flags::put(&mut tx, &t, &p, &flag("f"), NOW).await.unwrap(), expected);
        }
        project_flags::delete(&mut tx, &t, &p, "f").await.unwrap();
        assert_eq!(project_flags::put(&mut tx, &t, &p, &flag("f"), NOW).await.unwrap(), 3);
        contents::delete_project(&mut tx, &t, &p, NOW).await.unwrap();
        assert!(scopes::insert_project(&mut tx, &t, &p, "", NOW).await.unwrap());
        assert_eq!(project_flags::put(&mut tx, &t, &p, &flag("f"), NOW).await.unwrap(), 4);
    }
}

#[tokio::test]
async fn flags_parts_and_definitions_come_in_pages_by_key() {
    for (_database, _store, mut tx) in worlds().await {
        let (scope, t, p) = (scope("t/p/e"), tenant(), project("p"));
        for key in ["b", "ab", "a-b", "c", "a"] {
            flags::put(&mut tx, &scope, &flag(key), NOW).await.unwrap();
            project_flags::put(&mut tx, &t, &p, &flag(key), NOW).await.unwrap();
            parts::put(&mut tx, &scope, Part::Layer, key, &json!({ "key": key }), NOW).await.unwrap();
        }
        let expected = ["a", "a-b", "ab", "b", "c"];
        let key = |row: &flags::FlagRow| row.wire.key.clone();
        let stand = |row: &flags::FlagRow| Stand { at: row.updated_ms, key: key(row) };
        let page = async |conn: &mut Connection, after: Option<Stand>, limit| {
            flags::listed(conn, &scope, &Listing::by_key(after.as_ref(), limit)).await.unwrap()
        };
        assert_eq!(pages(&mut tx, page, stand).await.iter().map(key).collect::<Vec<_>>(), expected);
        let page = async |conn: &mut Connection, after: Option<Stand>, limit| {
            project_flags::listed(conn, &t, &p, &Listing::by_key(after.as_ref(), limit)).await.unwrap()
        };
        assert_eq!(pages(&mut tx, page, stand).await.iter().map(key).collect::<Vec<_>>(), expected);
        let key = |row: &parts::PartRow| row.body["key"].as_str().unwrap().to_owned();
        let stand = |row: &parts::PartRow| Stand { at: row.updated_ms, key: key(row) };
        let page = async |conn: &mut Connection, after: Option<Stand>, limit| {
            parts::listed(conn, &scope, Part::Layer, &Listing::by_key(after.as_ref(), limit)).await.unwrap()
        };
        assert_eq!(pages(&mut tx, page, stand).await.iter().map(key).collect::<Vec<_>>(), expected);
        assert!(parts::parts(&mut tx, &scope, Part::Segment).await.unwrap().is_empty());
        assert!(parts::delete(&mut tx, &scope, Part::Layer, "b").await.unwrap());
        assert!(parts::part(&mut tx, &scope, Part::Layer, "b").await.unwrap().is_none());
        parts::put(&mut tx, &scope, Part::Holdout, "", &json!({ "percent": 1 }), NOW).await.unwrap();
        assert_eq!(parts::parts(&mut tx, &scope, Part::Holdout).await.unwrap().len(), 1);
        let held = contents::of_environment(&mut tx, &scope).await.unwrap();
        assert_eq!(held.len(), 5 + 4 + 1);
        assert_eq!(contents::of_project(&mut tx, &t, &p).await.unwrap().len(), 5);
    }
}

#[tokio::test]
async fn an_override_has_a_revision_that_rises_when_it_changes_and_goes_with_its_flag() {
    for (_database, _store, mut tx) in worlds().await {
        let scope = scope("t/p/e");
        project_flags::put(&mut tx, &tenant(), &project("p"), &flag("f"), NOW).await.unwrap();
        flags::put(&mut tx, &scope, &flag("f"), NOW).await.unwrap();
        let patched = |value| Inherited { patch: Some(json!({ "enabled": value })) };
        for (inherited, expected) in [
            (Inherited { patch: None }, None),
            (patched(true), Some((json!({ "enabled": true }), 2))),
            (patched(true), Some((json!({ "enabled": true }), 2))),
            (patched(false), Some((json!({ "enabled": false }), 3))),
        ] {
            project_flags::attach(&mut tx, &scope, "f", &inherited).await.unwrap();
            assert_eq!(project_flags::patch(&mut tx, &scope, "f").await.unwrap(), expected);
            assert_eq!(project_flags::inherited(&mut tx, &scope, "f").await.unwrap(), Some(inherited));
        }
        assert!(project_flags::detach(&mut tx, &scope, "f").await.unwrap());
        assert!(!project_flags::detach(&mut tx, &scope, "f").await.unwrap());
        assert_eq!(project_flags::inherited(&mut tx, &scope, "f").await.unwrap(), None);
    }
}

pub(super) fn phase() -> PhaseRow {
    PhaseRow {
        phase_id: 0,
        phase: 0,
        circuit: Circuit::Closed,
        attempt: 1,
        stage: 1,
        salt: "salt".to_owned(),
        bucket_by: None,
        slices: Vec::new(),
        policy: policy(),
        started_ms: NOW,
        ended_ms: None,
    }
}

#[tokio::test]
async fn the_phases_of_an_attempt_are_those_that_exposed_anybody_and_all_of_a_flag_end_together() {
    for (_database, _store, mut tx) in worlds().await {
        let scope = scope("t/p/e");
        flags::put(&mut tx, &scope, &flag("f"), NOW).await.unwrap();
        for (attempt, stage) in [(1, 1), (1, 2), (1, 0), (2, 1)] {
            let row = PhaseRow { attempt, stage, ..phase() };
            phases::begin(&mut tx, &scope, "f", row).await.unwrap();
        }
        let of_attempt = phases::of_attempt(&mut tx, &scope, "f", 1).await.unwrap();
        let found: Vec<_> = of_attempt.iter().map(|row| (row.phase, row.attempt, row.stage)).collect();
        assert_eq!(found, [(1, 1, 1), (2, 1, 2)]);
        // All at once, each as of a phase: what began later is not there yet.
        let first = phases::by_number(&mut tx, &scope, "f", 1).await.unwrap().unwrap();
        let last = phases::by_number(&mut tx, &scope, "f", 4).await.unwrap().unwrap();
        let looked = |row: &PhaseRow, upto| Looked { phase_id: row.phase_id, upto };
        for (asked, expected) in [
            (
                vec![looked(&first, 1), looked(&last, 4)],
                vec![(first.phase_id, vec![1]), (last.phase_id, vec![4])],
            ),
            (vec![looked(&first, 3)], vec![(first.phase_id, vec![1, 2])]),
            (vec![], vec![]),
        ] {
            let found = phases::of_attempts(&mut tx, &asked).await.unwrap();
            let numbers = |rows: Vec<PhaseRow>| rows.iter().map(|row| row.phase).collect::<Vec<_>>();
            let found: Vec<_> = found.into_iter().map(|(phase_id, rows)| (phase_id, numbers(rows))).collect();
            assert_eq!(found, expected);
        }
        let places = phases::places(&mut tx, &scope, "f").await.unwrap();
        let places: Vec<_> = places.iter().map(|place| (place.attempt, place.salt.as_str())).collect();
        assert_eq!(places, [(2, "salt"), (1, "salt"), (1, "salt"), (1, "salt")]);
        phases::end(&mut tx, &scope, "f", NOW).await.unwrap();
        assert_eq!(phases::running(&mut tx, &scope).await.unwrap(), [0; 0]);
    }
}

#[tokio::test]
async fn what_only_handles_answers_leaves_the_phase() {
    for (_database, _store, mut tx) in worlds().await {
        let scope = scope("t/p/e");
        flags::put(&mut tx, &scope, &flag("f"), NOW).await.unwrap();
        let first = phases::begin(&mut tx, &scope, "f", phase()).await.unwrap();
        let mut fuse = closed_fuse(first.phase_id);
        fuse.revision = fuses::insert(&mut tx, &scope, &fuse).await.unwrap();
        let held = FuseRow { is_ramp_held: true, ..fuse.clone() };
        assert!(fuses::handle(&mut tx, &scope, &held).await.unwrap());
        assert!(!fuses::handle(&mut tx, &scope, &held).await.unwrap(), "of a revision that is over");
        let handled = fuses::fuse(&mut tx, &scope, "f").await.unwrap().unwrap();
        assert_eq!((handled.revision, handled.is_ramp_held), (fuse.revision + 1, true));
        assert_eq!(handled.phase_id, first.phase_id);
    }
}

fn closed_fuse(phase_id: i64) -> FuseRow {
    FuseRow {
        flag: "f".to_owned(),
        revision: 0,
        policy: policy(),
        circuit: Circuit::Closed,
        rollout: Rollout::Pending,
        phase_id,
        tripped_phase_id: None,
        tripped_metrics: Vec::new(),
        changed_ms: NOW,
        acted_ms: None,
        hand: Hand::Free,
        is_ramp_held: false,
    }
}

#[tokio::test]
async fn a_fuse_is_replaced_against_its_revision_alone_and_phases_are_numbered_on() {
    for (_database, _store, mut tx) in worlds().await {
        let scope = scope("t/p/e");
        flags::put(&mut tx, &scope, &flag("f"), NOW).await.unwrap();
        let first = phases::begin(&mut tx, &scope, "f", phase()).await.unwrap();
        let mut fuse = closed_fuse(first.phase_id);
        fuse.revision = fuses::insert(&mut tx, &scope, &fuse).await.unwrap();
        phases::end(&mut tx, &scope, "f", NOW).await.unwrap();
        let second = phases::begin(&mut tx, &scope, "f", phase()).await.unwrap();
        assert_eq!((first.phase, second.phase), (1, 2));
        let opened = FuseRow {
            circuit: Circuit::Open,
            phase_id: second.phase_id,
            tripped_phase_id: Some(first.phase_id),
            tripped_metrics: vec!["conversion".to_owned()],
            acted_ms: Some(NOW),
            hand: Hand::Holds,
            ..fuse.clone()
        };
        assert!(fuses::replace(&mut tx, &scope, &opened).await.unwrap());
        assert!(!fuses::replace(&mut tx, &scope, &opened).await.unwrap(), "of a revision that is over");
        let stored = fuses::fuse(&mut tx, &scope, "f").await.unwrap().unwrap();
        assert_eq!((stored.revision, stored.circuit, stored.hand), (2, Circuit::Open, Hand::Holds));
        assert_eq!((stored.tripped_phase_id, stored.acted_ms), (Some(first.phase_id), Some(NOW)));
        assert_eq!(stored.tripped_metrics, ["conversion"]);
        let circuits = fuses::count_by_circuit(&mut tx, &scope.tenant).await.unwrap();
        assert_eq!(circuits, [(scope.clone(), Circuit::Open, 1)]);
        let all = phases::of_flag(&mut tx, &scope, "f", 9).await.unwrap();
        assert_eq!(
            all.iter().map(|row| (row.phase, row.ended_ms)).collect::<Vec<_>>(),
            [(2, None), (1, Some(NOW))]
        );
        let page = phases::page(&mut tx, &scope, "f", 2, 9).await.unwrap();
        assert_eq!(page.iter().map(|row| row.phase).collect::<Vec<_>>(), [1]);
        assert!(fuses::delete(&mut tx, &scope, "f").await.unwrap());
        assert!(
            phases::by_number(&mut tx, &scope, "f", 2).await.unwrap().is_some(),
            "late events find theirs"
        );
    }
}

fn token(token_id: &str, kind: TokenKind, created_ms: u64) -> TokenRow {
    let is_client = kind == TokenKind::Client;
    TokenRow {
        token_id: token_id.to_owned(),
        tenant: "t".to_owned(),
        kind,
        name: "größe \0".to_owned(),
        project: is_client.then(|| "p".to_owned()),
        environment: is_client.then(|| "e".to_owned()),
        created_ms: UnixMillis(created_ms),
        revoked_ms: None,
        expires_ms: None,
        used_ms: None,
        replaced_by: None,
        revision: 1,
    }
}

/// The newest first.
fn by_time(after: Option<&Stand>, limit: u32) -> Listing<'_> {
    Listing { order: Order::Time, ..Listing::by_key(after, limit) }
}

#[tokio::test]
async fn tokens_are_found_by_their_digest_until_they_are_revoked() {
    for (database, _store, mut tx) in worlds().await {
        let digest = |token_id: &str| Digest::of(token_id.as_bytes());
        for (token_id, kind, created_ms) in [
            ("z", TokenKind::Admin, 1),
            ("c", TokenKind::Client, 2),
            ("b", TokenKind::Client, 2),
            ("a", TokenKind::Ingest, 3),
        ] {
            let row = token(token_id, kind, created_ms);
            tokens::insert(&mut tx, &row, &digest(token_id)).await.unwrap();
        }
        let twice = token("d", TokenKind::Admin, 4);
        assert!(tokens::find(&mut tx, &digest("d"), NOW).await.unwrap().is_none());
        let found = tokens::find(&mut tx, &digest("c"), NOW).await.unwrap().unwrap();
        // PostgreSQL has every character but one.
        let name = if database.is_postgres() { "größe \u{fffd}" } else { "größe \0" };
        assert_eq!((found.kind, found.name.as_str()), (TokenKind::Client, name));
        let stand = |row: &TokenRow| Stand { at: row.created_ms, key: row.token_id.clone() };
        let ids = |rows: Vec<TokenRow>| rows.into_iter().map(|row| row.token_id).collect::<String>();
        let page = async |conn: &mut Connection, after: Option<Stand>, limit| {
            tokens::listed(conn, &tenant(), &by_time(after.as_ref(), limit)).await.unwrap()
        };
        assert_eq!(ids(pages(&mut tx, page, stand).await), "zbca");
        let page = async |conn: &mut Connection, after: Option<Stand>, limit| {
            tokens::listed_of_environment(conn, &scope("t/p/e"), &by_time(after.as_ref(), limit))
                .await
                .unwrap()
        };
        assert_eq!(ids(pages(&mut tx, page, stand).await), "bc");
        assert_eq!(tokens::client_key_digests(&mut tx, &scope("t/p/e")).await.unwrap().len(), 2);
        for ms in [7, 5] {
            tokens::note_use(&mut tx, &digest("z"), UnixMillis(ms)).await.unwrap();
        }
        tokens::replace(&mut tx, &tenant(), "z", "b", NOW.plus(9)).await.unwrap();
        tokens::replace(&mut tx, &tenant(), "z", "b", NOW.plus(10)).await.unwrap();
        let replaced = tokens::find(&mut tx, &digest("z"), NOW.plus(8)).await.unwrap().unwrap();
        assert_eq!((replaced.used_ms, replaced.revision), (Some(UnixMillis(7)), 3));
        assert_eq!((replaced.replaced_by.as_deref(), replaced.expires_ms), (Some("b"), Some(NOW.plus(9))));
        assert!(tokens::find(&mut tx, &digest("z"), NOW.plus(9)).await.unwrap().is_none());
        assert_eq!(ids(tokens::expired(&mut tx, NOW.plus(9), 9).await.unwrap()), "z");
        assert!(tokens::expired(&mut tx, NOW.plus(8), 9).await.unwrap().is_empty());
        let revoked = tokens::revoke(&mut tx, &tenant(), "c", NOW).await.unwrap().unwrap();
        assert_eq!((revoked.revoked_ms, revoked.revision), (Some(NOW), 2));
        assert!(tokens::revoke(&mut tx, &tenant(), "c", NOW).await.unwrap().is_none());
        assert!(tokens::find(&mut tx, &digest("c"), NOW).await.unwrap().is_none());
        assert_eq!(tokens::count(&mut tx, TokenKind::Client).await.unwrap(), 1);
        let sql = "UPDATE tokens SET kind = 'owner' WHERE token_id = 'z'";
        sql::query(sql).execute(&mut tx).await.unwrap();
        let corrupt = tokens::list(&mut tx, &tenant()).await;
        assert!(matches!(corrupt, Err(StoreError::Corrupt { column: "tokens.kind", .. })), "{corrupt:?}");
        // Last, since it ends a transaction of PostgreSQL.
        let refused = tokens::insert(&mut tx, &twice, &digest("a")).await;
        assert!(matches!(refused, Err(StoreError::Sql(_))), "{refused:?}");
    }
}

#[tokio::test]
async fn the_trail_is_read_backwards_by_place_and_by_every_filter() {
    for (_database, _store, mut tx) in worlds().await {
        let (e, other) = (scope("t/p/e"), scope("t/p/other"));
        let both = ["f".to_owned(), "g".to_owned(), "f".to_owned()];
        for (place, (actor, action), seq, flags) in [
            (AuditPlace::Environment(&e), ("token:a", "flag.put"), 1, &both[..1]),
            (AuditPlace::Environment(&other), ("fuse", "fuse.put"), 2, &both[1..2]),
            (AuditPlace::Tenant(&e.tenant), ("token:a", "token.create"), 3, &both[..0]),
            (AuditPlace::Environment(&e), ("fuse", "flag.put"), 4, &both[..]),
        ] {
            let detail = json!({ "version": format!("1.{seq}"), "reason": "\0 größe" });
            let subject = if seq == 3 { "t" } else { "f" };
            let entry = NewAudit { actor, action, subject, detail, flags };
            audit::insert(&mut tx, place, entry, NOW.plus(seq)).await.unwrap();
        }
        let (f, g) = (FlagKey::parse("f").unwrap(), FlagKey::parse("g").unwrap());
        let tenant = AuditPlace::Tenant(&e.tenant);
        let none = AuditFilter::default();
        for (place, filter, expected) in [
            (tenant, none, vec![4, 3, 2, 1]),
            (AuditPlace::Environment(&e), none, vec![4, 1]),
            (tenant, AuditFilter { flag: Some(&f), ..none }, vec![4, 1]),
            (tenant, AuditFilter { flag: Some(&g), ..none }, vec![4, 2]),
            (tenant, AuditFilter { actor: Some("token:a"), ..none }, vec![3, 1]),
            (
                AuditPlace::Environment(&e),
                AuditFilter { flag: Some(&g), actor: Some("fuse"), ..none },
                vec![4],
            ),
            (AuditPlace::Environment(&other), AuditFilter { flag: Some(&f), ..none }, vec![]),
            (tenant, AuditFilter { action: Some("flag.put"), ..none }, vec![4, 1]),
            (tenant, AuditFilter { subject: Some("f"), ..none }, vec![4, 2, 1]),
            (tenant, AuditFilter { project: Some(&e.project), ..none }, vec![4, 2, 1]),
            (tenant, AuditFilter { from: Some(NOW.plus(2)), ..none }, vec![4, 3, 2]),
            (tenant, AuditFilter { from: Some(NOW.plus(2)), to: Some(NOW.plus(4)), ..none }, vec![3, 2]),
            (AuditPlace::Environment(&e), AuditFilter { to: Some(NOW.plus(4)), ..none }, vec![1]),
            (
                AuditPlace::Environment(&e),
                AuditFilter { action: Some("flag.put"), from: Some(NOW.plus(2)), ..none },
                vec![4],
            ),
        ] {
            let page = async |conn: &mut Connection, before: Option<i64>, limit| {
                audit::page(conn, place, filter, before.unwrap_or(i64::MAX), limit).await.unwrap()
            };
            let found: Vec<_> = pages(&mut tx, page, |row| row.audit_id).await;
            assert_eq!(
                found.iter().map(|row| row.audit_id).collect::<Vec<_>>(),
                expected,
                "{place:?} {filter:?}"
            );
        }
        let version = SnapshotVersion { epoch: 1, seq: 4 };
        let entry = audit::of_version(&mut tx, &e, version).await.unwrap().unwrap();
        assert_eq!((entry.audit_id, &entry.detail["reason"]), (4, &json!("\0 größe")));
        assert!(audit::of_version(&mut tx, &other, version).await.unwrap().is_none());
    }
}
