//! Each request has an id, which its answer carries.

use std::collections::BTreeSet;

use crate::world::{FLAG, World};

async fn id(world: &World, path: &str, given: &[&str]) -> String {
    let headers: Vec<_> = given.iter().map(|id| ("x-request-id", *id)).collect();
    let answer = world.send_with(&world.admin, "GET", path, &headers, Vec::new()).await;
    let ids: Vec<_> = answer.headers.get_all("x-request-id").iter().collect();
    assert_eq!(ids.len(), 1, "{path}: {ids:?}");
    ids[0].to_str().unwrap().to_owned()
}

#[tokio::test]
async fn every_answer_has_an_id_and_a_plain_one_that_came_with_the_request_is_kept() {
    let world = World::new().await;
    let mut seen = BTreeSet::new();
    // Also what no route answers and what is refused.
    for path in [FLAG, "/healthz", "/v1/nothing", "/v1/tokens/none", "/v1/audit?limit=x"] {
        let own = id(&world, path, &[]).await;
        assert!(own.len() >= 32 && seen.insert(own.clone()), "{path}: {own:?}");
        assert_eq!(id(&world, path, &["from-the-proxy_1.2"]).await, "from-the-proxy_1.2", "{path}");
    }
    let long = "x".repeat(65);
    for odd in [&["two words"][..], &["a\u{e4}"], &["a", "b"], &[""], &[&long], &["{\"span\":1}"]] {
        let own = id(&world, FLAG, odd).await;
        assert!(own.len() >= 32 && !odd.contains(&own.as_str()) && seen.insert(own), "{odd:?}");
    }
}
