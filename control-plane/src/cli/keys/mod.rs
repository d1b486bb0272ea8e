//! `flagfuse keys`: ceremonies over a data directory, told to whoever holds them. Prints public parts only.

mod verify;

use std::fmt::Write as _;

use crate::cli::arguments::keys::{
    BumpEpochArgs, KeysArgs, KeysCommand, KeysInitArgs, RevokeArgs, RootsArgs, RotateArgs, RotatedRole,
};
use crate::cli::arguments::place::{DataArgs, passphrase_of_file};
use anyhow::{Context as _, bail};
use flagfuse_control_plane::clock::Clock;
use flagfuse_control_plane::model::ceremony::{Gate, OnlineRole, SignedStep};
use flagfuse_control_plane::plane::ControlPlane;
use flagfuse_control_plane::publish::keys::files::KeyFolder;
use flagfuse_control_plane::publish::keys::hold::{Ceremony, read_roots};
use flagfuse_control_plane::publish::keys::{NewKeys, Protection, RoleSize, create};
use flagfuse_shared::snapshot::manifest::Role;

const DAY_MS: u64 = 24 * 3_600_000;

/// What to print.
pub(crate) async fn run(args: KeysArgs) -> anyhow::Result<String> {
    match args.command {
        KeysCommand::Init(args) => init(&args),
        KeysCommand::Rotate(args) => rotate(&args).await,
        KeysCommand::Revoke(args) => revoke(&args).await,
        KeysCommand::BumpEpoch(args) => bump_epoch(args).await,
        KeysCommand::Verify(args) => verify::run(&args).await,
    }
}

fn init(args: &KeysInitArgs) -> anyhow::Result<String> {
    let protection = match (args.directory.passphrase()?, args.unencrypted) {
        (Some(_), true) => bail!("--unencrypted and a passphrase contradict each other"),
        (Some(passphrase), false) => Protection::Sealed(passphrase),
        (None, true) => Protection::Unencrypted,
        (None, false) => bail!(
            "keys are sealed under a passphrase: give one with --passphrase-file FILE or in FLAGFUSE_KEY_PASSPHRASE, \
             or say --unencrypted"
        ),
    };
    let roots_protection = match &args.roots_passphrase_file {
        Some(path) => Protection::Sealed(passphrase_of_file(path)?),
        None => protection.clone(),
    };
    let made = create(&NewKeys {
        data: &args.directory.data,
        roots_dir: &args.roots_dir,
        root: RoleSize { count: args.root_count, threshold: args.root_threshold },
        release: RoleSize { count: args.release_count, threshold: args.release_threshold },
        protection: &protection,
        roots_protection: &roots_protection,
        expires_ms: Clock::System.now().plus(args.valid_days * DAY_MS),
    })?;
    let mut text = String::new();
    for path in &made.root_paths {
        // Writing to a String cannot fail, here and below.
        let _ = writeln!(text, "root key {}: carry it away, to a place of its own", path.display());
    }
    let role = Role { threshold: args.root_threshold, keys: made.root_public_keys };
    let _ = write!(
        text,
        "{}\nnext: flagfuse init --data {}",
        edge_settings(&role),
        args.directory.data.display()
    );
    Ok(text)
}

/// A ceremony over an opened control plane.
struct Open {
    plane: ControlPlane,
    validity_ms: u64,
    version_min: u64,
    roots: Vec<flagfuse_shared::snapshot::sign::PrivateKey>,
}

impl Open {
    async fn new(data: &DataArgs, roots: &RootsArgs) -> anyhow::Result<Self> {
        let plane = ControlPlane::unlock(&data.location()?, data.passphrase()?, Clock::System).await?;
        Ok(Self {
            plane,
            validity_ms: roots.valid_days * DAY_MS,
            version_min: roots.keyset_version,
            roots: read_roots(&roots.roots, &roots.passphrases(data)?)?,
        })
    }

    fn ceremony(&self) -> Ceremony<'_> {
        Ceremony {
            keys: self.plane.publisher.keys(),
            store: &self.plane.store,
            roots: self.roots.clone(),
            validity_ms: self.validity_ms,
            version_min: self.version_min,
            now: self.plane.clock.now(),
        }
    }
}

async fn rotate(args: &RotateArgs) -> anyhow::Result<String> {
    let open = Open::new(&args.data, &args.roots).await?;
    let role = match args.role {
        RotatedRole::Release => OnlineRole::Release,
        RotatedRole::Freshness => OnlineRole::Freshness,
        RotatedRole::Root => return rotate_roots(args, &open).await,
    };
    let steps = open.ceremony().rotate(role).await?;
    open.plane.store.close().await;
    let role = role.as_str();
    Ok(format!(
        "{}\nthe old {role} key signs until then; afterwards its file may be destroyed: `flagfuse keys verify` names it\n\
         the root keys are not needed any more",
        told(&steps)
    ))
}

async fn rotate_roots(args: &RotateArgs, open: &Open) -> anyhow::Result<String> {
    let dir = args.roots_dir.as_ref().context("--role root needs --roots-dir DIR for the new root keys")?;
    let size = RoleSize { count: args.root_count, threshold: args.root_threshold };
    // The new roots are sealed like the old ones: by whoever is here.
    let protection = Protection::of(args.roots.passphrases(&args.data)?.into_iter().next());
    let folder = KeyFolder::at(dir);
    let (role, steps) =
        open.ceremony().rotate_roots(&args.data.directory.data, &folder, size, &protection).await?;
    Ok(format!(
        "{}\n{}\nthe keyset is signed by old and new roots, so edges with either of them take it: change the settings of \
         every edge before the next ceremony, which the new roots alone will sign\n\
         new root keys lie in {}: carry them away, then destroy the old ones",
        told(&steps),
        edge_settings(&role),
        dir.display(),
    ))
}

async fn revoke(args: &RevokeArgs) -> anyhow::Result<String> {
    let open = Open::new(&args.data, &args.roots).await?;
    let steps = open.ceremony().revoke(args.role, &args.key).await?;
    open.plane.store.close().await;
    Ok(format!(
        "{}\nreplicas that have it refuse every older keyset (E_KEYSET) and what {} signs (E_KEY)\n\
         if the key was stolen and used, raise the epoch too: `flagfuse keys bump-epoch`",
        told(&steps),
        args.key,
    ))
}

async fn bump_epoch(args: BumpEpochArgs) -> anyhow::Result<String> {
    let open = Open::new(&args.data, &args.roots).await?;
    let scope = args.place.scope();
    let (epoch, steps) = open.ceremony().bump_epoch(&scope).await?;
    open.plane.store.close().await;
    Ok(format!("{}\n{scope} goes on in epoch {epoch}, with the content of this database", told(&steps)))
}

/// What becomes of new keysets.
fn told(steps: &[SignedStep]) -> String {
    let line = |step: &SignedStep| match step.gate {
        Gate::AtOnce => {
            format!("keyset {}: in force within a second of a running control plane", step.keyset_version)
        }
        Gate::AfterAck => {
            format!(
                "keyset {}: in force once every replica has confirmed the one before",
                step.keyset_version
            )
        }
    };
    steps.iter().map(line).collect::<Vec<_>>().join("\n")
}

/// What every edge has to be told.
fn edge_settings(root: &Role) -> String {
    format!(
        "edges: FLAGFUSE_ROOT_KEYS = \"{}\"\n       FLAGFUSE_ROOT_THRESHOLD = \"{}\"",
        root.keys.join(","),
        root.threshold
    )
}
