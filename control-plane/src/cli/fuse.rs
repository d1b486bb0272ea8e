//! `flagfuse fuse replay`: verdicts made again from the cells they were made of. Only reads the database.

use std::io::Write as _;

use anyhow::{Context as _, bail};
use flagfuse_control_plane::engine::{Replay, Replayed};
use flagfuse_control_plane::plane;
use flagfuse_control_plane::store::verdicts::recorded;
use serde_json::{Value, json};

use super::arguments::fuse::ReplayArgs;

/// Verdicts that are read at a time.
const PAGE: u32 = 100;

/// What became of the verdicts.
#[derive(Debug, Default)]
struct Course {
    same: u64,
    differing: Vec<Value>,
    impossible: Vec<Value>,
}

/// Makes all verdicts of a flag again; an error when one differs.
pub(super) async fn replay(args: &ReplayArgs) -> anyhow::Result<()> {
    let store = plane::open_store(&args.data.location()?).await?;
    let scope = args.place.scope();
    let mut course = Course::default();
    let (mut replay, mut after) = (Replay::default(), i64::MIN);
    loop {
        // One view a page: the engine goes on writing meanwhile.
        let mut conn = store.read().await?;
        let page = recorded(&mut conn, &scope, &args.flag, after, PAGE).await?;
        let Some(last) = page.last() else { break };
        after = last.verdict_id;
        for verdict in &page {
            let (id, at_ms) = (verdict.verdict_id, verdict.at_ms.0);
            match replay.of(&mut conn, &scope, verdict).await? {
                Replayed::Same => course.same += 1,
                Replayed::Differs { rebuilt, part } => course.differing.push(json!({
                    "verdict_id": id, "at_ms": at_ms, "part": part,
                    "recorded": { "decision": verdict.decision, "summary": verdict.summary },
                    "rebuilt": { "decision": rebuilt.decision.as_str(), "summary": rebuilt.summary },
                })),
                Replayed::Impossible(why) => {
                    course.impossible.push(json!({ "verdict_id": id, "at_ms": at_ms, "why": why }));
                }
            }
        }
    }
    store.close().await;
    say(args, &course)?;
    match course.differing.len() {
        0 => Ok(()),
        count => bail!("{count} verdicts are not what their cells say"),
    }
}

fn say(args: &ReplayArgs, course: &Course) -> anyhow::Result<()> {
    let Course { same, differing, impossible } = course;
    let text = if args.json {
        json!({ "same": same, "differing": differing, "impossible": impossible }).to_string()
    } else {
        let mut lines = vec![format!(
            "{}: {same} verdicts are the same bit for bit, {} differ, {} cannot be made again",
            args.flag,
            differing.len(),
            impossible.len()
        )];
        let first = |found: &[Value]| found.first().map(Value::to_string);
        lines.extend(first(differing).map(|found| format!("the first that differs: {found}")));
        lines.extend(first(impossible).map(|found| format!("the first that cannot: {found}")));
        lines.join("\n")
    };
    writeln!(std::io::stdout(), "{text}").context("writing to standard output")
}
