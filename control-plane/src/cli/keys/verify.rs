//! `flagfuse keys verify`: how the keys stand, for people and programs. Changes nothing but the schema of an old database.

use std::fmt::Write as _;
use std::path::Path;

use crate::cli::arguments::keys::KeysVerifyArgs;
use anyhow::{Context as _, bail};
use flagfuse_control_plane::clock::Clock;
use flagfuse_control_plane::plane::ControlPlane;
use flagfuse_control_plane::publish::keys::status::{KeyStatus, RoleStatus, file_warnings, status};
use flagfuse_control_plane::store::keysets;
use flagfuse_shared::snapshot::envelope::{Envelope, split_frame};
use flagfuse_shared::snapshot::manifest::Keyset;
use flagfuse_shared::snapshot::verify::key_id_of;
use flagfuse_shared::snapshot::{Outcome, TrustedRoots, verify, verify_keyset};
use serde_json::json;

use crate::cli::explain::{claimed_scope, read_frame, refused};

/// What to print; an error when an edge would refuse the keyset or the frame.
pub(super) async fn run(args: &KeysVerifyArgs) -> anyhow::Result<String> {
    let plane = ControlPlane::unlock(&args.data.location()?, args.data.passphrase()?, Clock::System).await?;
    let keys = plane.publisher.keys();
    let roots = if args.roots.is_empty() {
        keys.trusted_roots()?
    } else {
        TrustedRoots::parse(args.roots.iter().map(String::as_str), args.threshold)?
    };
    verify_keyset(&keys.current().envelope, &roots).map_err(refused).context("the keyset in force")?;
    let mut found = {
        let mut conn = plane.store.read().await?;
        let replicas = keysets::known_replicas(&mut conn).await?;
        status(&mut conn, keys, &replicas, plane.clock.now()).await?
    };
    let forks: Vec<String> = found.fork_warnings().collect();
    found.warnings.extend(forks);
    found.warnings.extend(file_warnings(keys)?);
    let frame = args.frame.as_deref().map(|path| frame_signers(path, &roots)).transpose()?;
    plane.store.close().await;
    if args.json {
        return Ok(json!({ "keys": found, "frame": frame }).to_string());
    }
    Ok(text(&found, frame.as_deref()))
}

fn text(found: &KeyStatus, frame: Option<&str>) -> String {
    let mut text =
        format!("keyset {} in force, valid until {} ms\n", found.keyset_version, found.expires_ms.0);
    for (name, role) in [("root", &found.root), ("release", &found.release), ("freshness", &found.freshness)]
    {
        let _ = writeln!(text, "{name}: {}", role_text(role));
    }
    for (scope, epoch) in &found.min_epoch {
        let _ = writeln!(text, "epoch of {scope}: {epoch}");
    }
    let _ = writeln!(text, "rotation: {}", found.rotation.state);
    for waiting in &found.rotation.waiting {
        let _ = writeln!(text, "  keyset {} waits ({})", waiting.keyset_version, waiting.gate.as_str());
    }
    for scope in &found.rotation.unpublished {
        let _ = writeln!(text, "  {scope} is not published under the keyset in force");
    }
    for laggard in &found.rotation.replicas {
        let holds = laggard.holds.as_deref().unwrap_or("nothing");
        let _ = writeln!(
            text,
            "  replica {} confirmed {holds} of {}, needed is {}",
            laggard.replica, laggard.environment, laggard.needs
        );
    }
    for warning in &found.warnings {
        let _ = writeln!(text, "warning: {warning}");
    }
    text.push_str(frame.unwrap_or_default());
    text.trim_end().to_owned()
}

fn role_text(role: &RoleStatus) -> String {
    let ids = role.key_ids.iter().map(|id| {
        let mark = if role.at_hand.contains(id) { " (private key at hand)" } else { "" };
        format!("{id}{mark}")
    });
    format!("{} of {}: {}", role.threshold, role.key_ids.len(), ids.collect::<Vec<_>>().join(", "))
}

/// Verifies a frame as an edge would, then says whose signatures it bears.
fn frame_signers(path: &Path, roots: &TrustedRoots) -> anyhow::Result<String> {
    let frame = read_frame(path)?;
    let scope = claimed_scope(&frame)?;
    let admitted = match verify(&frame, roots, &scope, None, Clock::System.now()).map_err(refused)? {
        Outcome::Newer(admitted) => admitted,
        Outcome::Same => bail!("nothing is held, so nothing can be the same"),
    };
    let segments = split_frame(&frame).map_err(refused)?;
    let keyset = Envelope::parse(segments.keyset).map_err(refused)?;
    let manifest = Envelope::parse(segments.manifest).map_err(refused)?;
    let body = keyset.payload_bytes().map_err(refused)?;
    let listed: Keyset = serde_json::from_slice(&body).context("the frame's keyset")?;
    let is_release =
        |id: &String| listed.roles.release.keys.iter().any(|key| key_id_of(key).as_ref() == Some(id));
    let ids =
        |envelope: &Envelope| envelope.signatures.iter().map(|one| one.keyid.clone()).collect::<Vec<_>>();
    let release: Vec<String> = ids(&manifest).into_iter().filter(is_release).collect();
    Ok(format!(
        "frame: {scope} {} under keyset {}, manifest signed by release key {}, keyset signed by root key {}",
        admitted.held.version,
        admitted.held.keyset_version,
        release.join(", "),
        ids(&keyset).join(", "),
    ))
}
