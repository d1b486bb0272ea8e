//! `flagfuse import`: flags of another system from a file into an environment, on behalf of who has the database.

use crate::cli::arguments::ImportArgs;
use anyhow::{Context as _, bail};
use flagfuse_control_plane::change::{Actor, Change, Existing, Import, Preconditions, apply, rehearse};
use flagfuse_control_plane::clock::Clock;
use flagfuse_control_plane::plane::ControlPlane;
use flagfuse_importers::importer;
use flagfuse_shared::limits::IMPORT_LEN_MAX;

/// What to print: each flag and segment, what was refused and why, and the version.
pub(crate) async fn run(args: ImportArgs) -> anyhow::Result<String> {
    let path = args.file.display();
    let len = std::fs::metadata(&args.file).with_context(|| format!("cannot read {path}"))?.len();
    if len > IMPORT_LEN_MAX as u64 {
        bail!("{path} has {len} bytes, the limit is {IMPORT_LEN_MAX}");
    }
    let bytes = std::fs::read(&args.file).with_context(|| format!("cannot read {path}"))?;
    let imported = importer(args.format)(&bytes, args.from_environment.as_deref())?;
    let mut lines: Vec<String> = imported.flags.iter().map(|wire| format!("flag {}", wire.key)).collect();
    lines.extend(imported.shared.segments.iter().map(|wire| format!("segment {}", wire.key)));
    lines.extend(imported.refused.iter().map(|left| format!("refused: {}: {}", left.name, left.reason)));
    lines.extend(imported.notes.iter().map(|noted| format!("note: {}: {}", noted.name, noted.note)));
    let scope = args.place.scope();
    let actor = Actor { tenant: scope.tenant.clone(), name: "operator".to_owned() };
    let existing = if args.replace { Existing::Replace } else { Existing::Refuse };
    let import = Import { format: args.format, imported, existing };
    let change = Change::Import { scope, import: Box::new(import) };
    let plane = ControlPlane::unlock(&args.data.location()?, args.data.passphrase()?, Clock::System).await?;
    let (store, publisher, now) = (&plane.store, &plane.publisher, plane.clock.now());
    if args.dry_run {
        rehearse(store, publisher, &actor, change.into(), Preconditions::default(), now).await?;
        lines.push("nothing was stored: --dry-run".to_owned());
    } else {
        let version = apply(store, publisher, &actor, change, now).await?.version;
        lines.push(version.map_or_else(
            || "nothing to import".to_owned(),
            |version| format!("published as version {version}"),
        ));
    }
    plane.store.close().await;
    Ok(lines.join("\n"))
}
