//! `GET /healthz`: that this isolate runs and how many snapshots it holds and streams it relays. Open to all, so it names nobody's projects.

use serde_json::json;

use crate::config::Config;
use crate::http::reply::Reply;
use crate::notify::relay::stream_count;
use crate::snapshot::isolate::{shard, with_memory};
use crate::snapshot::memory::Memory;

/// The health page of this isolate.
pub fn answer(config: &Config) -> Reply {
    let body = json!({
        "status": "ok", "region": config.region, "shard": shard(config), "isolate": config.isolate,
        "snapshots": with_memory(Memory::held_count), "streams": stream_count(), "metadata": {},
    });
    Reply::json(200, body.to_string())
}
