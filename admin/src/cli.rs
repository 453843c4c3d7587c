//! The command line: nouns and verbs, each with an example. Only what works is listed.

mod archive;
mod auditors;
mod keys;
mod manual;
mod sessions;
mod setup;
mod ssh;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

pub(crate) use archive::{ShipArgs, VerifyArgs};
use auditors::RECONCILE_HELP;
pub(crate) use auditors::{ExportArgs, ReconcileArgs, ReplayArgs, Report, ReportArgs};
pub(crate) use keys::{KeysArg, KeysCommand};
pub(crate) use manual::write as write_manual;
pub(crate) use sessions::{ProveArgs, Recorded, SegmentsArg, Sessions};
pub(crate) use setup::{ConfigArg, SetupArgs, Template};
pub(crate) use ssh::{Ssh, SshCert};

/// Administers Weir: serves the node's admin service, and asks it things.
#[derive(Parser)]
#[command(name = "weir-admin", version, arg_required_else_help = true)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Run the admin service: control socket, approvals, credentials, HTTP API
    #[command(after_help = "Example:\n  weir-admin serve --config /etc/weir/weir.toml")]
    Serve(ConfigArg),
    /// Make a first node, or what weir.toml names and is missing
    #[command(after_help = setup::INIT_HELP)]
    Init(Box<SetupArgs>),
    /// Write manual pages and completions below a folder
    #[command(hide = true)]
    Manual { dir: PathBuf },
    /// Show what `apply` would change
    #[command(after_help = "Example:\n  weir-admin plan --config /etc/weir/weir.toml")]
    Plan(TableArg),
    /// Read the access files, seal their secrets and put them in force
    #[command(after_help = "Example:\n  weir-admin apply --config /etc/weir/weir.toml")]
    Apply(ConfigArg),
    /// Held commands: who waits for whom, and your answer
    #[command(subcommand)]
    Approvals(Approvals),
    /// What is left of budgets, and of what people released for runs
    #[command(subcommand)]
    Budgets(Budgets),
    /// Recorded sessions, read from segment files, and live ones
    #[command(subcommand)]
    Sessions(Sessions),
    /// Certificates for SSH clients
    #[command(subcommand)]
    Ssh(Ssh),
    /// Who holds sessions now, and whom to turn away
    #[command(subcommand)]
    Identities(Identities),
    /// Protected upstreams
    #[command(subcommand)]
    Connections(Connections),
    /// Whether everything that should answer does
    #[command(after_help = "Example:\n  weir-admin status")]
    Status(ServiceTableArg),
    /// Public halves of the keys that admin made; `keys auditor` makes an auditor's
    #[command(
        args_conflicts_with_subcommands = true,
        after_help = "Examples:\n  weir-admin keys --config /etc/weir/weir.toml\n  \
                      weir-admin keys auditor --out auditor.key"
    )]
    Keys(KeysArg),
    /// Evidence for auditors, made from segments alone: the same segments give the same bytes
    #[command(subcommand)]
    Report(Report),
    /// Find what bypassed the gateway: the backend's own log beside the segments
    #[command(after_help = RECONCILE_HELP)]
    Reconcile(ReconcileArgs),
    /// Copy sealed segments to the archive that weir.toml names, and keep doing so
    #[command(
        after_help = "An object is made once, read back and compared; one of its name that holds something else is an alarm and is \
                      left as it is. Exits 1 with --once or --check if anything is not in the archive as it was sealed.\n\n\
                      Examples:\n  weir-admin ship --config /etc/weir/weir.toml\n  weir-admin ship --check"
    )]
    Ship(ShipArgs),
    /// Look at what the gateway stands on: upstreams' roles and privileges, and the way to them
    #[command(
        after_help = "One line a finding: ok, warn or fail, and what to do. Ends with 1 where anything fails.\n\n\
                      Examples:\n  weir-admin doctor --config /etc/weir/weir.toml\n  weir-admin doctor --json"
    )]
    Doctor(TableArg),
    /// Development only: an issuer, its tokens, and the whole appliance on loopback
    #[command(subcommand)]
    Dev(Dev),
}

#[derive(Args)]
pub(crate) struct TableArg {
    #[command(flatten)]
    pub config: ConfigArg,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// How to reach the admin service, and as whom.
#[derive(Args)]
pub(crate) struct ServiceArg {
    /// The admin service
    #[arg(long, env = "WEIR_ADMIN_URL", value_name = "URL")]
    pub url: String,
    /// File holding your token
    #[arg(long, env = "WEIR_ADMIN_TOKEN_FILE", value_name = "FILE")]
    pub token_file: PathBuf,
}

#[derive(Args)]
pub(crate) struct ServiceTableArg {
    #[command(flatten)]
    pub service: ServiceArg,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Subcommand)]
pub(crate) enum Approvals {
    /// Commands that wait for people
    #[command(after_help = "Example:\n  weir-admin approvals list")]
    List {
        #[command(flatten)]
        service: ServiceTableArg,
        /// Also those answered, expired or withdrawn
        #[arg(long)]
        all: bool,
    },
    /// One held command in full
    #[command(after_help = "Example:\n  weir-admin approvals show 3f2a")]
    Show {
        hold: String,
        #[command(flatten)]
        service: ServiceTableArg,
    },
    /// Let it run
    #[command(after_help = "Examples:\n  weir-admin approvals approve 3f2a --reason 'ticket 812'\n  \
                            weir-admin approvals approve 3f2a --run --statements 50 --minutes 30")]
    Approve(Approval),
    /// Refuse it
    #[command(after_help = "Example:\n  weir-admin approvals deny 3f2a --reason 'no ticket'")]
    Deny(Answer),
}

#[derive(Args)]
pub(crate) struct Answer {
    /// Hold id, or enough of its beginning to be the only one
    pub hold: String,
    /// Kept with the answer and in the record
    #[arg(long)]
    pub reason: Option<String>,
    #[command(flatten)]
    pub service: ServiceArg,
}

#[derive(Args)]
pub(crate) struct Approval {
    #[command(flatten)]
    pub answer: Answer,
    /// Release everything alike of the command's run too, as far as the rule allows
    #[arg(long)]
    pub run: bool,
    /// With --run: at most this many statements
    #[arg(long, requires = "run", value_name = "N")]
    pub statements: Option<u64>,
    /// With --run: at most this many rows
    #[arg(long, requires = "run", value_name = "N")]
    pub rows: Option<u64>,
    /// With --run: for at most this long
    #[arg(long, requires = "run", value_name = "N")]
    pub minutes: Option<u64>,
}

#[derive(Subcommand)]
pub(crate) enum Budgets {
    /// Whose budgets are in use, and what was taken of them in this window
    #[command(after_help = "Example:\n  weir-admin budgets list")]
    List(ServiceTableArg),
}

#[derive(Subcommand)]
pub(crate) enum Identities {
    /// Who holds sessions now, and what was revoked
    #[command(after_help = "Example:\n  weir-admin identities list")]
    List(ServiceTableArg),
    /// End a subject's or a token's sessions and refuse its tokens issued until now
    #[command(
        after_help = "Example:\n  weir-admin identities revoke --issuer https://ci.example --subject job-7"
    )]
    Revoke {
        /// Exact `iss`
        #[arg(long)]
        issuer: String,
        /// All tokens of this subject issued until now
        #[arg(long, required_unless_present = "token", conflicts_with = "token")]
        subject: Option<String>,
        /// One token, by its `jti`
        #[arg(long)]
        token: Option<String>,
        #[arg(long, default_value = "revoked by an administrator")]
        reason: String,
        #[command(flatten)]
        service: ServiceArg,
    },
}

#[derive(Subcommand)]
pub(crate) enum Connections {
    /// Every connection in force
    #[command(after_help = "Example:\n  weir-admin connections list")]
    List(ServiceTableArg),
    /// One connection with its roles and grants
    #[command(after_help = "Example:\n  weir-admin connections show clinic")]
    Show {
        connection: String,
        #[command(flatten)]
        service: ServiceTableArg,
    },
}

#[derive(Subcommand)]
pub(crate) enum Dev {
    /// Serve OIDC discovery, keys and tokens on loopback
    #[command(after_help = "Example:\n  weir-admin dev issuer --dir target/issuer --listen 127.0.0.1:9000")]
    Issuer {
        /// Where the issuer's key is kept; made if missing
        #[arg(long, value_name = "DIR")]
        dir: PathBuf,
        /// Loopback address
        #[arg(long, default_value = "127.0.0.1:0")]
        listen: String,
    },
    /// Print a token of the development issuer
    #[command(
        after_help = "Example:\n  weir-admin dev token --sub job-7 --group jobs --ttl 15m --claim purpose=billing"
    )]
    Token(TokenArgs),
    /// Start the whole appliance with sample upstreams as children of this process
    #[command(after_help = "Example:\n  weir-admin dev up --dir target/demo")]
    Up(UpArgs),
}

#[derive(Args)]
pub(crate) struct TokenArgs {
    /// The issuer's directory
    #[arg(long, env = "WEIR_DEV_ISSUER", value_name = "DIR", default_value = "target/demo/issuer")]
    pub dir: PathBuf,
    /// Subject
    #[arg(long)]
    pub sub: String,
    /// A group; may be repeated
    #[arg(long = "group", value_name = "GROUP")]
    pub groups: Vec<String>,
    /// Time to live, such as 90s, 15m or 2h
    #[arg(long, default_value = "15m", value_parser = weir_sources::duration)]
    pub ttl: std::time::Duration,
    /// Audience
    #[arg(long, default_value = "weir")]
    pub aud: String,
    /// A further claim, `name=value`; JSON values are taken as JSON. May be repeated
    #[arg(long = "claim", value_name = "K=V")]
    pub claims: Vec<String>,
}

#[derive(Args)]
pub(crate) struct UpArgs {
    /// Everything it makes goes here; it must be empty, missing, or a former one's
    #[arg(long, value_name = "DIR", default_value = "target/demo")]
    pub dir: PathBuf,
    /// Run this once everything answers, with the environment file's variables; then end with its status
    #[arg(long, value_name = "SCRIPT")]
    pub tour: Option<PathBuf>,
    /// Stay up after the tour
    #[arg(long)]
    pub keep: bool,
    /// Cores for the data plane
    #[arg(long, default_value_t = 1)]
    pub cores: usize,
}
