//! Many editors of one flag at once: whoever says which state was seen takes nothing back that another one wrote, and whoever
//! comes late is shown what is there.
//! `FLAGFUSE_EDITORS_S=60` lets them edit for a minute on each database.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::Barrier;
use tokio::time::{Instant, timeout};

use crate::world::{FLAG, World, flag};

const EDITOR_COUNT: usize = 32;
/// How long it may take until the last of them has read.
const READ_LIMIT: Duration = Duration::from_mins(2);

#[expect(clippy::disallowed_methods, reason = "a developer asks for longer on the command line")]
fn seconds() -> Option<u64> {
    std::env::var("FLAGFUSE_EDITORS_S").ok()?.parse().ok()
}

/// What one editor did.
#[derive(Debug, Default, Clone, Copy)]
struct Tally {
    made: u64,
    refused: u64,
}

/// A number in the flag, which every editor raises by one.
fn number(flag: &Value) -> u64 {
    flag["description"].as_str().and_then(|text| text.parse().ok()).unwrap_or_default()
}

/// Raises the number once, or until the time is over. All have read it before anybody writes.
async fn edit(world: &World, have_read: &Barrier, until: Option<Instant>) -> Tally {
    let mut tally = Tally::default();
    let read = world.send(&world.admin, "GET", FLAG, Vec::new()).await;
    timeout(READ_LIMIT, Barrier::wait(have_read)).await.expect("all editors have read the flag");
    let (mut etag, mut seen) = (read.etag.unwrap(), read.body["flag"].clone());
    loop {
        let before = number(&seen);
        let mut next = seen.clone();
        next["description"] = json!((before + 1).to_string());
        let answer = world.call_if(("if-match", &etag), "PUT", FLAG, &next).await;
        match answer.status.as_u16() {
            200 => {
                (tally.made, etag, seen) = (tally.made + 1, answer.etag.unwrap(), next);
            }
            412 => {
                tally.refused += 1;
                let current = &answer.body["current"];
                let told = answer.etag.expect("a refusal has the tag of what is there");
                assert_eq!(answer.body["etag"], json!(told));
                assert_eq!(told, format!("\"{}\"", current["revision"]), "of one moment: {}", answer.body);
                assert!(number(&current["flag"]) > before, "newer than what was seen: {}", answer.body);
                (etag, seen) = (told, current["flag"].clone());
            }
            // The database was busy.
            429 => tokio::time::sleep(Duration::from_millis(5)).await,
            status => panic!("{status} {}", answer.body),
        }
        let is_over = match until {
            Some(until) => Instant::now() >= until,
            None => tally.made > 0,
        };
        if is_over {
            return tally;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_32_concurrent_editors_none_loses_an_update_and_each_refusal_carries_what_is_there() {
    for world in World::on_both().await {
        world.make_demo().await;
        let mut first = flag();
        first["description"] = json!("0");
        world.ok("PUT", FLAG, first).await;
        let until = seconds().map(|seconds| Instant::now() + Duration::from_secs(seconds));
        let (world, have_read) = (Arc::new(world), Arc::new(Barrier::new(EDITOR_COUNT)));
        let editors: Vec<_> = (0..EDITOR_COUNT)
            .map(|_| {
                let (world, have_read) = (Arc::clone(&world), Arc::clone(&have_read));
                tokio::spawn(async move { edit(&world, &have_read, until).await })
            })
            .collect();
        let mut sum = Tally::default();
        for editor in editors {
            let Tally { made, refused } = editor.await.unwrap();
            sum = Tally { made: sum.made + made, refused: sum.refused + refused };
        }
        let last = world.get(FLAG).await;
        assert_eq!(number(&last["flag"]), sum.made, "lost updates: {sum:?}");
        assert!(sum.made >= EDITOR_COUNT as u64 && sum.refused > 0, "{sum:?}");
        println!(
            "{EDITOR_COUNT} editors: {} updates, 0 lost, {} refused with what is there",
            sum.made, sum.refused
        );
    }
}
