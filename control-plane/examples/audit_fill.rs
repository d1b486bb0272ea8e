//! Writes entries into the audit trail of a control plane on SQLite that does not run, as changes over the last months would have left
//! them: what `cargo xtask bench admin` reads among.
//!
//! `cargo run --profile calibrate --example audit_fill -- DATA ENTRIES`

use std::path::Path;

use anyhow::{Context, bail};
use flagfuse_control_plane::clock::Clock;
use flagfuse_control_plane::plane::ControlPlane;
use flagfuse_control_plane::store::Lock;
use flagfuse_control_plane::store::audit::{AuditPlace, NewAudit, insert};
use flagfuse_shared::ids::{Scope, UnixMillis};
use serde_json::json;

/// Entries of one transaction.
const AT_ONCE: u64 = 10_000;
/// Flags that they are about, in turn.
const FLAG_COUNT: u64 = 5_000;
/// Who made them, in turn.
const ACTOR_COUNT: u64 = 40;
/// Time between two of them.
const STEP_MS: u64 = 10_000;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [data, count] = arguments.as_slice() else { bail!("usage: audit_fill DATA ENTRIES") };
    let count: u64 = count.parse().context("ENTRIES is a number")?;
    let clock = Clock::System;
    let began = clock.now().minus(count.saturating_mul(STEP_MS));
    let plane = ControlPlane::open(Path::new(data), clock).await?;
    let scope = Scope::parse("default/demo/production").context("a scope")?;
    let mut at = 0;
    while at < count {
        let mut tx = plane.store.write(Lock::Environment(&scope)).await?;
        let until = count.min(at + AT_ONCE);
        for number in at..until {
            let flag = format!("flag-{}", number % FLAG_COUNT);
            let actor = format!("user:person-{}", number % ACTOR_COUNT);
            let fields =
                json!([{ "pointer": "/enabled", "before": number % 2 == 0, "after": number % 2 == 1 }]);
            let entry = NewAudit {
                actor: &actor,
                action: "flag.put",
                subject: &flag,
                detail: json!({ "enabled": number % 2 == 1, "fields": fields }),
                flags: std::slice::from_ref(&flag),
            };
            let then = UnixMillis(began.0 + number * STEP_MS);
            insert(&mut tx, AuditPlace::Environment(&scope), entry, then).await?;
        }
        tx.commit().await?;
        at = until;
    }
    plane.store.close().await;
    Ok(())
}
