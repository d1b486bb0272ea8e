//! The command line and its environment variables, parsed once.

pub(crate) mod fuse;
pub(crate) mod keys;
pub(crate) mod place;
pub(crate) mod rollout;
pub(crate) mod send;

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};
use clap::{Args, Parser, Subcommand, ValueEnum};
use flagfuse_control_plane::api::FlagLabels;
use flagfuse_control_plane::credential::TokenKind;
use flagfuse_control_plane::publish::push::EdgeRegion;
use flagfuse_control_plane::telemetry::LogFormat;
use flagfuse_importers::Format;
use flagfuse_shared::ids::EnvironmentKey;
use flagfuse_shared::limits::{REGION_COUNT_MAX, SHARD_COUNT_MAX};

use self::place::{DataArgs, DatabaseArgs, OptionalScopeArgs, ScopeArgs, TenantArgs};

/// The control plane of Flagfuse.
#[derive(Debug, Parser)]
#[command(name = "flagfuse", version, about)]
pub(crate) struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
    /// What is logged: a level, or levels of targets such as `info,sqlx=warn`
    #[arg(long, global = true, env = "RUST_LOG", value_name = "FILTER")]
    pub log: Option<String>,
    /// How it is logged: text for people, or a JSON object a line
    #[arg(long, global = true, env = "FLAGFUSE_LOG_FORMAT", value_name = "FORMAT", default_value = "text", value_parser = log_format())]
    pub log_format: LogFormat,
}

/// What the program can do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Make keys, database and the first tokens in an empty directory.
    Init(InitArgs),
    /// Serve the API, evaluate fuses, push snapshots.
    Serve(ServeArgs),
    /// Bring the database up to date and exit.
    Migrate(DataArgs),
    /// Make, rotate, revoke and check the keys that sign.
    Keys(keys::KeysArgs),
    /// Make tokens and client keys.
    Token(TokenArgs),
    /// Make a link with which somebody signs in once.
    LoginLink(LoginLinkArgs),
    /// Check a signed snapshot as an edge would.
    VerifySnapshot(VerifyArgs),
    /// Take over flags of another system from a file.
    Import(ImportArgs),
    /// Send events from a file to a control plane; goes on where it was when it is called again.
    Send(send::SendArgs),
    /// Measure how a service answers, as what a contract is compared with.
    Baseline(rollout::BaselineArgs),
    /// Validate, promote or roll back a flag, or tell how far it got; the exit code says how it stands.
    Rollout(rollout::RolloutArgs),
    /// Tell why a flag answers as it does, step by step.
    Explain(ExplainArgs),
    /// Ask about fuses.
    Fuse(fuse::FuseArgs),
    /// Print the `OpenAPI` document of the API.
    Openapi(OpenapiArgs),
}

/// Arguments of `openapi`.
#[derive(Debug, Args)]
pub(crate) struct OpenapiArgs {
    /// Print the table of codes instead, as the documentation has it.
    #[arg(long)]
    pub codes: bool,
}

/// Arguments of `init`.
#[derive(Debug, Args)]
pub(crate) struct InitArgs {
    /// Where.
    #[command(flatten)]
    pub data: DataArgs,
    /// The tenant of the first tokens.
    #[command(flatten)]
    pub of: TenantArgs,
    /// Whose the tenant is, and where they will sign in.
    #[command(flatten)]
    pub owner: SignInArgs,
    /// Print JSON for programs.
    #[arg(long)]
    pub json: bool,
}

/// Who signs in, and where.
#[derive(Debug, Args)]
pub(crate) struct SignInArgs {
    /// Name of the account: a to z, 0 to 9 and . _ + @ -
    #[arg(long, value_name = "NAME", default_value = "owner")]
    pub user: String,
    /// Where people reach this control plane.
    #[arg(long, value_name = "URL", env = "FLAGFUSE_URL", default_value = "http://127.0.0.1:7400")]
    pub url: String,
}

impl SignInArgs {
    /// The link of a code.
    pub(crate) fn link(&self, code: &str) -> String {
        format!("{}/#login={code}", self.url.trim_end_matches('/'))
    }
}

/// Arguments of `login-link`.
#[derive(Debug, Args)]
pub(crate) struct LoginLinkArgs {
    /// Where.
    #[command(flatten)]
    pub data: DataArgs,
    /// The tenant of the account.
    #[command(flatten)]
    pub of: TenantArgs,
    /// Whose link.
    #[command(flatten)]
    pub sign_in: SignInArgs,
}

/// Arguments of `serve`.
#[derive(Debug, Args)]
pub(crate) struct ServeArgs {
    /// Where.
    #[command(flatten)]
    pub data: DataArgs,
    /// Address of the API.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:7400")]
    pub listen: SocketAddr,
    /// An edge region, repeatable.
    #[arg(long = "edge", value_name = "NAME=URL", value_parser = edge)]
    pub edges: Vec<EdgeRegion>,
    /// Replicas of each region; one answers some 500 requests of isolates a second.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=i64::from(SHARD_COUNT_MAX)))]
    pub edge_shards: u16,
    /// File with the token presented to the edges.
    #[arg(long, value_name = "FILE")]
    pub push_token_file: Option<PathBuf>,
    /// The same from the environment, used when no file is given; arguments can be seen by others.
    #[arg(long, hide = true, env = "FLAGFUSE_PUSH_TOKEN", hide_env_values = true)]
    pub push_token: Option<String>,
    /// Where an operator reads `/metrics` of this process and its database, in `OpenMetrics`; nobody is asked for a token there,
    /// so it belongs on the loopback or behind something that asks.
    #[arg(long, value_name = "ADDR")]
    pub metrics_listen: Option<SocketAddr>,
    /// Which flags have a series of their own there.
    #[arg(long, value_name = "WHICH", value_enum, default_value_t)]
    pub metrics_flag_labels: FlagLabelsArg,
    /// Milliseconds between two looks at the fuses.
    #[arg(long, value_name = "MS", default_value_t = 1_000, value_parser = clap::value_parser!(u64).range(10..=60_000))]
    pub tick_ms: u64,
    /// Requests that an admin or viewer token may make in a minute, a sixth of them at once; 0 is without a limit. Trips, switches
    /// to off and reverts are never limited.
    #[arg(long, value_name = "N", default_value_t = 600, value_parser = clap::value_parser!(u32).range(0..=1_000_000))]
    pub requests_per_minute: u32,
    /// Where other control planes of the same database reach this one, such as `http://10.0.0.7:8700`: they hand it the events
    /// that it counts. Without it they tell edges to come back.
    #[arg(long, value_name = "URL", env = "FLAGFUSE_ADVERTISE_URL", value_parser = advertised)]
    pub advertise_url: Option<String>,
    /// The tenant whose environments the edges hold; it must have a way in.
    #[command(flatten)]
    pub of: TenantArgs,
}

/// Which flags have a series of their own in metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub(crate) enum FlagLabelsArg {
    /// None.
    Off,
    /// Those with a fuse, 500 of them at most.
    #[default]
    Fused,
}

impl From<FlagLabelsArg> for FlagLabels {
    fn from(which: FlagLabelsArg) -> Self {
        match which {
            FlagLabelsArg::Off => Self::Off,
            FlagLabelsArg::Fused => Self::Fused,
        }
    }
}

/// `http://HOST:PORT`, and nothing behind it: control planes of one database talk in a network of their own.
fn advertised(url: &str) -> Result<String, String> {
    let authority = url.strip_prefix("http://").map(|rest| rest.strip_suffix('/').unwrap_or(rest));
    let port =
        authority.and_then(|authority| authority.rsplit_once(':')).map(|(_, port)| port.parse::<u16>());
    match (authority, port) {
        (Some(authority), Some(Ok(port))) if port > 0 && !authority.contains(['/', '?', '#', '@']) => {
            Ok(format!("http://{authority}"))
        }
        _ => Err("it has to be http://HOST:PORT, without a path".to_owned()),
    }
}

impl ServeArgs {
    /// Refuses regions that receipts could not tell apart, and more of them than there can be.
    pub(crate) fn check_edges(&self) -> Result<(), String> {
        let count = self.edges.len();
        if count > REGION_COUNT_MAX {
            return Err(format!("--edge is given {count} times, the limit is {REGION_COUNT_MAX} regions"));
        }
        for (at, edge) in self.edges.iter().enumerate() {
            if self.edges.iter().take(at).any(|other| other.name == edge.name) {
                return Err(format!("--edge names the region {:?} twice", edge.name));
            }
        }
        Ok(())
    }
}

/// Arguments of `token`.
#[derive(Debug, Args)]
pub(crate) struct TokenArgs {
    /// What to do with tokens.
    #[command(subcommand)]
    pub command: TokenCommand,
}

/// What can be done with tokens from the command line.
#[derive(Debug, Subcommand)]
pub(crate) enum TokenCommand {
    /// Make one and print it; it is not shown again.
    Create(TokenCreateArgs),
}

/// Arguments of `token create`.
#[derive(Debug, Args)]
pub(crate) struct TokenCreateArgs {
    /// Where.
    #[command(flatten)]
    pub data: DataArgs,
    /// What it is for.
    #[arg(long, value_parser = token_kind())]
    pub kind: TokenKind,
    /// For people.
    #[arg(long)]
    pub name: String,
    /// Its tenant; a client key's environment.
    #[command(flatten)]
    pub place: OptionalScopeArgs,
}

/// Arguments of `verify-snapshot`.
#[derive(Debug, Args)]
pub(crate) struct VerifyArgs {
    /// The signed frame.
    pub file: PathBuf,
    /// A root public key in base64, repeatable.
    #[arg(long = "root", value_name = "KEY", required = true)]
    pub roots: Vec<String>,
    /// Root signatures needed.
    #[arg(long, default_value_t = 1)]
    pub threshold: usize,
}

/// Arguments of `import`.
#[derive(Debug, Args)]
pub(crate) struct ImportArgs {
    /// Where.
    #[command(flatten)]
    pub data: DataArgs,
    /// Into which environment.
    #[command(flatten)]
    pub place: ScopeArgs,
    /// What wrote the file.
    #[arg(long, value_parser = import_format())]
    pub format: Format,
    /// Which environment of the file counts, where it has several.
    #[arg(long, value_name = "NAME")]
    pub from_environment: Option<String>,
    /// Check everything, store nothing.
    #[arg(long)]
    pub dry_run: bool,
    /// Replace flags and segments that are there already.
    #[arg(long)]
    pub replace: bool,
    /// The document.
    pub file: PathBuf,
}

/// Arguments of `explain`.
#[derive(Debug, Args)]
pub(crate) struct ExplainArgs {
    /// Directory of the database and the keys; its newest snapshot answers.
    #[arg(long, value_name = "DIR", env = "FLAGFUSE_DATA", required_unless_present = "frame")]
    pub data: Option<PathBuf>,
    /// File with the passphrase of the keys; `FLAGFUSE_KEY_PASSPHRASE` when absent.
    #[arg(long, value_name = "FILE")]
    pub passphrase_file: Option<PathBuf>,
    /// Which database.
    #[command(flatten)]
    pub database: DatabaseArgs,
    /// Which environment of it.
    #[command(flatten)]
    pub place: OptionalScopeArgs,
    /// A signed frame that answers instead of a database.
    #[arg(long, value_name = "FILE", requires = "roots")]
    pub frame: Option<PathBuf>,
    /// Root public keys in base64 that the frame has to be signed under.
    #[arg(long, value_name = "KEY", value_delimiter = ',', num_args = 1..)]
    pub roots: Vec<String>,
    /// Root signatures needed.
    #[arg(long, default_value_t = 1)]
    pub threshold: usize,
    /// Which flag.
    #[arg(long)]
    pub flag: String,
    /// Who asks: a JSON object of attributes.
    #[arg(long, value_name = "JSON", default_value = "{}")]
    pub context: String,
    /// When, in Unix milliseconds; now when absent. The snapshot has to be valid at that time.
    #[arg(long, value_name = "MS")]
    pub now_ms: Option<u64>,
    /// The lot, where a flag draws one as Unleash's may.
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub chance: u64,
    /// Print JSON for programs.
    #[arg(long)]
    pub json: bool,
}

/// The kinds of tokens by their words.
fn token_kind() -> impl TypedValueParser<Value = TokenKind> {
    let kinds = TokenKind::ALL;
    let words = PossibleValuesParser::new(kinds.map(TokenKind::as_str));
    words.try_map(move |word| {
        kinds.into_iter().find(|kind| kind.as_str() == word).ok_or("not a kind of token")
    })
}

/// How logs are written, by the words for it.
fn log_format() -> impl TypedValueParser<Value = LogFormat> {
    let formats = LogFormat::ALL;
    let words = PossibleValuesParser::new(formats.map(LogFormat::as_str));
    words.try_map(move |word| {
        formats.into_iter().find(|format| format.as_str() == word).ok_or("not a format of logs")
    })
}

/// The formats by their words.
fn import_format() -> impl TypedValueParser<Value = Format> {
    let help = |format| match format {
        Format::Unleash => "A client features document, or an export",
        Format::Flagd => "A flag definition",
        Format::LaunchDarkly => "What `…/sdk/latest-all` answers",
    };
    let word = |format: Format| PossibleValue::new(format.as_str()).help(help(format));
    PossibleValuesParser::new(Format::ALL.map(word))
        .try_map(|word| Format::ALL.into_iter().find(|format| format.as_str() == word).ok_or("not a format"))
}

fn edge(text: &str) -> Result<EdgeRegion, String> {
    let (name, url) = text.split_once('=').ok_or("an edge is NAME=URL")?;
    // A region's name follows the rules of the other keys.
    EnvironmentKey::parse(name).map_err(|e| e.to_string().replace("environment key", "region name"))?;
    if !url.starts_with("http://") && !url.starts_with("https://") {
        return Err("the URL of an edge starts with http:// or https://".to_owned());
    }
    Ok(EdgeRegion { name: name.to_owned(), url: url.to_owned() })
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    fn serve(edges: &[String], shards: &str) -> Result<ServeArgs, String> {
        let mut words =
            ["flagfuse", "serve", "--data", "d", "--edge-shards", shards].map(str::to_owned).to_vec();
        words.extend(edges.iter().flat_map(|edge| ["--edge".to_owned(), edge.clone()]));
        match Cli::try_parse_from(words).map_err(|e| e.to_string())?.command {
            Command::Serve(args) => Ok(args),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn regions_and_shards_have_limits() {
        let edges = |count| (0..count).map(|n| format!("r{n}=http://x")).collect::<Vec<_>>();
        serve(&edges(REGION_COUNT_MAX), "16").unwrap().check_edges().unwrap();
        let many = serve(&edges(REGION_COUNT_MAX + 1), "1").unwrap().check_edges().unwrap_err();
        assert!(many.contains("10 times") && many.contains("limit is 9"), "{many}");
        let twice = serve(&[edges(1), edges(1)].concat(), "1").unwrap().check_edges().unwrap_err();
        assert!(twice.contains("\"r0\" twice"), "{twice}");
        for shards in ["0", "17"] {
            let fault = serve(&[], shards).unwrap_err();
            assert!(fault.contains("1..=16"), "{fault}");
        }
    }

    #[test]
    fn edges_are_name_and_url() {
        let edge = edge("local=http://127.0.0.1:8787").unwrap();
        assert_eq!((edge.name.as_str(), edge.url.as_str()), ("local", "http://127.0.0.1:8787"));
        for bad in ["http://x", "=http://x", "a=ftp://x", "A b=http://x"] {
            assert!(super::edge(bad).is_err(), "{bad}");
        }
    }
}
