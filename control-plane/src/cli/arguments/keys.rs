//! Arguments of `flagfuse keys`. A passphrase is never one of them: arguments can be seen by others.

use std::path::PathBuf;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Args, Subcommand, ValueEnum};
use flagfuse_control_plane::model::ceremony::OnlineRole;
use flagfuse_control_plane::publish::keys::Passphrase;

use super::place::{DataArgs, DirectoryArgs, PassphraseError, ScopeArgs, passphrase_of_file};

/// Arguments of `keys`.
#[derive(Debug, Args)]
pub(crate) struct KeysArgs {
    /// What to do with keys.
    #[command(subcommand)]
    pub command: KeysCommand,
}

/// What can be done with keys.
#[derive(Debug, Subcommand)]
pub(crate) enum KeysCommand {
    /// Make root keys in a folder to be carried away, and all other keys in the data directory.
    Init(KeysInitArgs),
    /// Replace the keys of a role without anybody noticing.
    Rotate(RotateArgs),
    /// Take a key away at once.
    Revoke(RevokeArgs),
    /// Begin a new epoch of an environment: after a restore, or when a stolen key ran the numbers up.
    BumpEpoch(BumpEpochArgs),
    /// Check keys and keyset, and say what a rotation waits for.
    Verify(KeysVerifyArgs),
}

/// Arguments of `keys init`.
#[derive(Debug, Args)]
pub(crate) struct KeysInitArgs {
    /// Where.
    #[command(flatten)]
    pub directory: DirectoryArgs,
    /// Folder for the root keys, outside of the data directory.
    #[arg(long, value_name = "DIR")]
    pub roots_dir: PathBuf,
    /// Root keys to make.
    #[arg(long, value_name = "N", default_value_t = 3)]
    pub root_count: usize,
    /// Root keys that have to sign.
    #[arg(long, value_name = "N", default_value_t = 2)]
    pub root_threshold: usize,
    /// Release keys to make. The control plane holds them all, so more than one guards against a copied file, not
    /// against whoever controls its machine.
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub release_count: usize,
    /// Release keys that have to sign.
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub release_threshold: usize,
    /// File with the passphrase of the root keys; the one of the other keys when absent.
    #[arg(long, value_name = "FILE")]
    pub roots_passphrase_file: Option<PathBuf>,
    /// Write all keys in clear: for development.
    #[arg(long)]
    pub unencrypted: bool,
    /// Days until the keyset ends.
    #[arg(long, value_name = "DAYS", default_value_t = 365, value_parser = clap::value_parser!(u64).range(1..=3_650))]
    pub valid_days: u64,
}

/// The root keys that take part in a ceremony.
#[derive(Debug, Args)]
pub(crate) struct RootsArgs {
    /// Files of root keys, as many different ones as the root threshold says.
    #[arg(long, value_name = "FILE", value_delimiter = ',', num_args = 1.., required = true)]
    pub roots: Vec<PathBuf>,
    /// Files with their passphrases, one for all or one for each; the one of the data directory when absent.
    #[arg(long, value_name = "FILE", value_delimiter = ',', num_args = 1..)]
    pub roots_passphrase_file: Vec<PathBuf>,
    /// Days until the new keysets end.
    #[arg(long, value_name = "DAYS", default_value_t = 365, value_parser = clap::value_parser!(u64).range(1..=3_650))]
    pub valid_days: u64,
    /// Number of the first new keyset at least: when replicas refuse it with `E_KEYSET`, since the directory comes from
    /// an old copy too, one above what they hold.
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub keyset_version: u64,
}

impl RootsArgs {
    /// Their passphrases: from the files, or the data directory's.
    pub(crate) fn passphrases(&self, data: &DataArgs) -> Result<Vec<Passphrase>, PassphraseError> {
        if self.roots_passphrase_file.is_empty() {
            return Ok(data.passphrase()?.into_iter().collect());
        }
        self.roots_passphrase_file.iter().map(|path| passphrase_of_file(path)).collect()
    }
}

/// Which keys are rotated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum RotatedRole {
    /// Sign manifests.
    Release,
    /// Sign beats.
    Freshness,
    /// Sign keysets.
    Root,
}

/// Arguments of `keys rotate`.
#[derive(Debug, Args)]
pub(crate) struct RotateArgs {
    /// Where.
    #[command(flatten)]
    pub data: DataArgs,
    /// Which keys.
    #[arg(long)]
    pub role: RotatedRole,
    /// Who signs.
    #[command(flatten)]
    pub roots: RootsArgs,
    /// Folder for new root keys.
    #[arg(long, value_name = "DIR", required_if_eq("role", "root"))]
    pub roots_dir: Option<PathBuf>,
    /// New root keys to make.
    #[arg(long, value_name = "N", default_value_t = 3)]
    pub root_count: usize,
    /// New root keys that have to sign.
    #[arg(long, value_name = "N", default_value_t = 2)]
    pub root_threshold: usize,
}

/// Arguments of `keys revoke`.
#[derive(Debug, Args)]
pub(crate) struct RevokeArgs {
    /// Where.
    #[command(flatten)]
    pub data: DataArgs,
    /// Its role.
    #[arg(long, value_parser = online_role())]
    pub role: OnlineRole,
    /// Its id, as `keys verify` shows it.
    #[arg(long, value_name = "KEYID")]
    pub key: String,
    /// Who signs.
    #[command(flatten)]
    pub roots: RootsArgs,
}

/// Arguments of `keys bump-epoch`.
#[derive(Debug, Args)]
pub(crate) struct BumpEpochArgs {
    /// Where.
    #[command(flatten)]
    pub data: DataArgs,
    /// Which environment.
    #[command(flatten)]
    pub place: ScopeArgs,
    /// Who signs.
    #[command(flatten)]
    pub roots: RootsArgs,
}

/// Arguments of `keys verify`.
#[derive(Debug, Args)]
pub(crate) struct KeysVerifyArgs {
    /// Where.
    #[command(flatten)]
    pub data: DataArgs,
    /// Root public keys in base64 as the edges are configured with; the keyset's own when absent.
    #[arg(long = "root", value_name = "KEY", value_delimiter = ',', num_args = 1..)]
    pub roots: Vec<String>,
    /// Root signatures that those edges ask for.
    #[arg(long, default_value_t = 1)]
    pub threshold: usize,
    /// A signed frame: say who signed it and under which keyset.
    #[arg(long, value_name = "FILE")]
    pub frame: Option<PathBuf>,
    /// Print JSON for programs.
    #[arg(long)]
    pub json: bool,
}

/// The roles whose keys lie with the control plane, by their words.
fn online_role() -> impl TypedValueParser<Value = OnlineRole> {
    let roles = [OnlineRole::Release, OnlineRole::Freshness];
    let words = PossibleValuesParser::new(roles.map(OnlineRole::as_str));
    words.try_map(move |word| roles.into_iter().find(|role| role.as_str() == word).ok_or("not a role"))
}
