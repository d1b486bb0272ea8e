//! The copies of signed frames in KV: the last resort of an isolate that no replica answers. A copy may be old, so it is never
//! called fresh, and it is verified like any other.

use flagfuse_shared::ids::Scope;
use worker::{Env, Result};

use crate::deadline::within;

const BINDING: &str = "FLAGS_KV";
/// Time KV has: a key that no colocation nearby has cached comes from far away.
const READ_TIMEOUT_MS: u64 = 1_000;
const WRITE_TIMEOUT_MS: u64 = 10_000;

/// Whether this deployment keeps copies.
pub fn keeps_kv_copies(env: &Env) -> bool {
    env.kv(BINDING).is_ok()
}

/// The copy of an environment's frame; `None` when there is none, or it cannot be had in time.
pub async fn read_kv_copy(env: &Env, scope: &Scope) -> Option<Vec<u8>> {
    let kv = env.kv(BINDING).ok()?;
    match within(READ_TIMEOUT_MS, kv.get(&scope.to_string()).bytes()).await {
        Ok(Ok(copy)) => copy,
        Ok(Err(error)) => {
            worker::console_warn!("the copy of {scope} could not be read: {error}");
            None
        }
        Err(late) => {
            worker::console_warn!("the copy of {scope} could not be read: {late}");
            None
        }
    }
}

/// Replaces the copy of an environment's frame.
pub async fn write_kv_copy(env: &Env, scope: &Scope, frame: &[u8]) -> Result<()> {
    let put = env.kv(BINDING)?.put_bytes(&scope.to_string(), frame)?;
    within(WRITE_TIMEOUT_MS, put.execute())
        .await
        .map_err(|late| worker::Error::RustError(late.to_string()))?
        .map_err(Into::into)
}
