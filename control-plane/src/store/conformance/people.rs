//! People, their sessions and codes, and when tokens and sessions were used.

use flagfuse_shared::digest::Digest;
use flagfuse_shared::ids::{EnvironmentKey, ProjectKey, TenantKey, UnixMillis};

use super::super::sessions::{self, SessionRow};
use super::super::users::{self, CodeRow, UserRow};
use super::super::{Connection, contents};
use super::{NOW, make, scope, worlds};
use crate::model::account::PasswordHash;
use crate::model::rights::{Grant, Place, Role};
use crate::model::session::OpenedBy;

fn tenant(text: &str) -> TenantKey {
    TenantKey::parse(text).unwrap()
}

fn user(user_id: &str, name: &str) -> UserRow {
    UserRow {
        user_id: user_id.to_owned(),
        name: name.to_owned(),
        password: None,
        created_ms: NOW,
        revision: 1,
    }
}

fn session(session_id: &str, user_id: &str, used_ms: u64) -> SessionRow {
    SessionRow {
        session_id: session_id.to_owned(),
        tenant: tenant("t"),
        user_id: user_id.to_owned(),
        opened_by: OpenedBy::Link,
        created_ms: UnixMillis(used_ms),
        used_ms: UnixMillis(used_ms),
    }
}

fn place(project: &str, environment: Option<&str>) -> Place {
    let project = ProjectKey::parse(project).unwrap();
    match environment {
        None => Place::Project(project),
        Some(key) => Place::Environment(project, EnvironmentKey::parse(key).unwrap()),
    }
}

async fn names(conn: &mut Connection) -> Vec<String> {
    let all = users::all(conn, &tenant("t")).await.unwrap();
    all.into_iter().map(|member| member.user.name).collect()
}

#[tokio::test]
async fn people_are_of_one_tenant_and_their_roles_go_with_what_they_are_of() {
    for (_database, _store, mut tx) in worlds().await {
        make(&mut tx, "t/p/other").await;
        let (t, other) = (tenant("t"), tenant("other"));
        for (of, user_id, name) in [(&t, "1", "b"), (&t, "2", "a"), (&other, "3", "a")] {
            assert!(users::insert(&mut tx, of, &user(user_id, name)).await.unwrap());
        }
        assert!(!users::insert(&mut tx, &t, &user("4", "a")).await.unwrap(), "one of a name");
        assert_eq!(names(&mut tx).await, ["a", "b"]);
        assert_eq!(users::count(&mut tx, &t).await.unwrap(), 2);
        assert!(users::user(&mut tx, &t, "3").await.unwrap().is_none());
        assert_eq!(users::named(&mut tx, &other, "a").await.unwrap().unwrap().user_id, "3");
        let grants = [
            Grant { role: Role::Owner, place: Place::Tenant },
            Grant { role: Role::Editor, place: place("p", None) },
            Grant { role: Role::Viewer, place: place("p", Some("e")) },
        ];
        users::set_grants(&mut tx, &t, "1", &grants).await.unwrap();
        users::set_grants(&mut tx, &other, "3", &grants[..1]).await.unwrap();
        let member = users::member(&mut tx, &t, "1").await.unwrap().unwrap();
        assert_eq!((member.grants, member.user.revision), (grants.to_vec(), 2));
        assert!(users::grants(&mut tx, &other, "1").await.unwrap().is_empty());
        assert_eq!(users::owner_count(&mut tx, &t).await.unwrap(), 1);
        users::set_password(&mut tx, &t, "1", &PasswordHash("h".to_owned())).await.unwrap();
        users::set_password(&mut tx, &other, "1", &PasswordHash("x".to_owned())).await.unwrap();
        let kept = users::user(&mut tx, &t, "1").await.unwrap().unwrap();
        assert_eq!((kept.password, kept.revision), (Some(PasswordHash("h".to_owned())), 3));
        contents::delete_environment(&mut tx, &scope("t/p/e"), NOW).await.unwrap();
        assert_eq!(users::grants(&mut tx, &t, "1").await.unwrap(), grants[..2]);
        contents::delete_project(&mut tx, &t, &ProjectKey::parse("p").unwrap(), NOW).await.unwrap();
        assert_eq!(users::grants(&mut tx, &t, "1").await.unwrap(), grants[..1]);
        sessions::insert(&mut tx, &session("s", "1", 5), &Digest::of(b"s")).await.unwrap();
        users::remove(&mut tx, &other, "1").await.unwrap();
        assert!(sessions::find(&mut tx, &Digest::of(b"s")).await.unwrap().is_some(), "another tenant's");
        users::remove(&mut tx, &t, "1").await.unwrap();
        assert!(sessions::find(&mut tx, &Digest::of(b"s")).await.unwrap().is_none());
        assert_eq!((names(&mut tx).await.len(), users::owner_count(&mut tx, &t).await.unwrap()), (1, 0));
        assert_eq!(users::owner_count(&mut tx, &other).await.unwrap(), 1);
    }
}

#[tokio::test]
async fn a_code_is_taken_once_and_the_newest_of_a_person_is_the_only_one() {
    for (_database, _store, mut tx) in worlds().await {
        let code = |user_id: &str, ms| CodeRow {
            tenant: tenant("t"),
            user_id: user_id.to_owned(),
            expires_ms: UnixMillis(ms),
        };
        let (first, second) = (Digest::of(b"first"), Digest::of(b"second"));
        users::put_code(&mut tx, &code("1", 5), &first).await.unwrap();
        users::put_code(&mut tx, &code("1", 9), &second).await.unwrap();
        assert!(users::code(&mut tx, &first).await.unwrap().is_none());
        let taken = users::take_code(&mut tx, &second).await.unwrap().unwrap();
        assert_eq!((taken.user_id.as_str(), taken.expires_ms), ("1", UnixMillis(9)));
        assert!(users::take_code(&mut tx, &second).await.unwrap().is_none());
        users::put_code(&mut tx, &code("1", 5), &first).await.unwrap();
        users::put_code(&mut tx, &code("2", 6), &second).await.unwrap();
        assert_eq!(users::prune_codes(&mut tx, UnixMillis(5)).await.unwrap(), 1);
        assert!(users::code(&mut tx, &second).await.unwrap().is_some());
    }
}

#[tokio::test]
async fn sessions_are_found_by_their_digest_and_go_one_by_one_or_by_age() {
    for (_database, _store, mut tx) in worlds().await {
        let t = tenant("t");
        users::insert(&mut tx, &t, &user("1", "a")).await.unwrap();
        for (name, used_ms) in [("x", 10), ("y", 20), ("z", 30)] {
            let secret = Digest::of(name.as_bytes());
            sessions::insert(&mut tx, &session(name, "1", used_ms), &secret).await.unwrap();
        }
        let (found, name) = sessions::find(&mut tx, &Digest::of(b"y")).await.unwrap().unwrap();
        assert_eq!((found.session_id.as_str(), name.as_str(), found.opened_by), ("y", "a", OpenedBy::Link));
        for ms in [25, 22] {
            sessions::note_use(&mut tx, &Digest::of(b"y"), UnixMillis(ms)).await.unwrap();
        }
        let ids = async |conn: &mut Connection| -> String {
            let all = sessions::of_user(conn, &tenant("t"), "1").await.unwrap();
            let told = all.into_iter().map(|row| format!("{}{}", row.session_id, row.used_ms.0));
            told.collect::<Vec<_>>().join(" ")
        };
        assert_eq!(ids(&mut tx).await, "x10 y25 z30", "never backwards");
        assert!(!sessions::end(&mut tx, &tenant("other"), "1", "x").await.unwrap());
        assert!(!sessions::end(&mut tx, &t, "2", "x").await.unwrap());
        assert!(sessions::end(&mut tx, &t, "1", "x").await.unwrap());
        assert_eq!(sessions::end_others(&mut tx, &t, "1", Some("y")).await.unwrap(), 1);
        sessions::insert(&mut tx, &session("w", "1", 40), &Digest::of(b"w")).await.unwrap();
        assert_eq!(sessions::prune(&mut tx, UnixMillis(25), UnixMillis(1)).await.unwrap(), 1);
        assert_eq!(sessions::prune(&mut tx, UnixMillis(1), UnixMillis(40)).await.unwrap(), 1);
    }
}
