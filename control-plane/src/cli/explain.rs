//! `flagfuse explain`: why a flag answers as it does, from a database or from a frame on disk.

use std::path::Path;

use crate::cli::arguments::ExplainArgs;
use crate::cli::arguments::place::passphrase;
use anyhow::{Context as _, bail};
use flagfuse_control_plane::clock::Clock;
use flagfuse_control_plane::plane::ControlPlane;
use flagfuse_control_plane::publish::newest_snapshot;
use flagfuse_inspect::explain::{Opened, explain, open};
use flagfuse_shared::context::Context;
use flagfuse_shared::evaluate::Question;
use flagfuse_shared::ids::{Scope, UnixMillis};
use flagfuse_shared::limits::FRAME_LEN_MAX;
use flagfuse_shared::snapshot::envelope::{Envelope, split_frame};
use flagfuse_shared::snapshot::manifest::Manifest;
use flagfuse_shared::snapshot::{Refusal, TrustedRoots};
use flagfuse_shared::strict;

/// What to print.
pub(crate) async fn run(args: ExplainArgs) -> anyhow::Result<String> {
    // A decision of the past is verified as of then, too: the frame may have expired since.
    let now = args.now_ms.map_or_else(|| Clock::System.now(), UnixMillis);
    let given = strict::parse(args.context.as_bytes()).context("--context")?;
    let context = Context::from_json(given).context("--context")?;
    let opened = match (&args.frame, &args.data, args.place.scope()) {
        (Some(path), _, _) => from_frame(path, &args, now)?,
        (None, Some(data), Some(scope)) => {
            let location = args.database.location(data)?;
            let passphrase = passphrase(args.passphrase_file.as_deref())?;
            let plane = ControlPlane::unlock(&location, passphrase, Clock::System).await?;
            let keys = plane.publisher.keys();
            let opened = newest_snapshot::opened(&mut *plane.store.read().await?, keys, &scope, now).await?;
            plane.store.close().await;
            opened
        }
        (None, _, _) => bail!("either --data, --project and --environment, or --frame and --roots"),
    };
    let explanation =
        explain(&opened, &args.flag, Question { random: args.chance, ..Question::new(&context, now) });
    Ok(if args.json { explanation.to_json().to_string() } else { explanation.to_text() })
}

fn from_frame(path: &Path, args: &ExplainArgs, now: UnixMillis) -> anyhow::Result<Opened> {
    let frame = read_frame(path)?;
    let roots = TrustedRoots::parse(args.roots.iter().map(String::as_str), args.threshold)?;
    open(&frame, &roots, &claimed_scope(&frame)?, now).map_err(refused)
}

/// A frame within its limit.
pub(crate) fn read_frame(path: &Path) -> anyhow::Result<Vec<u8>> {
    let frame = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    if frame.len() > FRAME_LEN_MAX {
        bail!("{} has {} bytes, the limit is {FRAME_LEN_MAX}", path.display(), frame.len());
    }
    Ok(frame)
}

/// Whose snapshot a frame claims to be; read before it is verified, and to be verified for that scope.
pub(crate) fn claimed_scope(frame: &[u8]) -> anyhow::Result<Scope> {
    let segments = split_frame(frame).map_err(refused)?;
    let body = Envelope::parse(segments.manifest).and_then(|e| e.payload_bytes()).map_err(refused)?;
    let claimed: Manifest = serde_json::from_slice(&body).context("manifest is malformed")?;
    Ok(claimed.scope())
}

/// A refusal as the program tells it.
pub(crate) fn refused(refusal: Refusal) -> anyhow::Error {
    anyhow::anyhow!("refused: {}: {}", refusal.code.as_str(), refusal.detail)
}
