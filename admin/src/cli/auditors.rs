//! What auditors' commands take: replays, exports, reports, reconciliation.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::SegmentsArg;
use crate::sessions::{Backend, Format, Peer, Since};
use crate::when;

pub(super) const RECONCILE_HELP: &str = "Exits 1 if anything bypassed the gateway, or was recorded and never seen.\n\nExamples:\n  \
     weir-admin reconcile --backend csvlog postgresql-2026-01-31.csv\n  \
     weir-admin reconcile --backend csvlog --user app --from 2026-01-31 *.csv\n  \
     weir-admin reconcile --backend cloudtrail trail.json";

#[derive(Args)]
pub(crate) struct ReconcileArgs {
    #[command(flatten)]
    pub segments: SegmentsArg,
    /// Whose log it is
    #[arg(long, value_enum)]
    pub backend: Backend,
    /// The log's files
    #[arg(required = true, value_name = "FILE")]
    pub files: Vec<PathBuf>,
    #[command(flatten)]
    pub span: SpanArgs,
    /// Only what this user of the backend did; may be repeated
    #[arg(long = "user", value_name = "USER")]
    pub users: Vec<String>,
    /// Only what was done in this database; may be repeated
    #[arg(long = "database", value_name = "DATABASE")]
    pub databases: Vec<String>,
    /// The log holds some statements only: do not list what was recorded and never seen
    #[arg(long)]
    pub partial: bool,
    /// Something between gateway and backend changes addresses: join by text alone
    #[arg(long)]
    pub behind_nat: bool,
    /// Of the log's times, where its zone is not UTC: +01:00
    #[arg(long, value_name = "OFFSET", allow_hyphen_values = true, value_parser = offset)]
    pub utc_offset: Option<i64>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

fn offset(text: &str) -> Result<i64, String> {
    when::offset_us(text).ok_or_else(|| "write an offset such as +01:00".to_owned())
}

#[derive(Args)]
pub(crate) struct ReplayArgs {
    /// Session id, or enough of its beginning
    pub session: String,
    #[command(flatten)]
    pub segments: SegmentsArg,
    /// In its own time, so many times as fast; without it all at once
    #[arg(long, value_name = "N", value_parser = speed)]
    pub speed: Option<f64>,
    /// Longest pause, with --speed
    #[arg(long, value_name = "TIME", default_value = "3s", value_parser = weir_sources::duration)]
    pub max_pause: std::time::Duration,
    /// Begin so long after the session's beginning (90s), or at a time
    #[arg(long, value_name = "WHEN", default_value = "1970-01-01", value_parser = Since::parse)]
    pub from: Since,
    /// As a page on this machine's loopback, until Ctrl-C
    #[arg(long, conflicts_with_all = ["bytes", "speed"])]
    pub serve: bool,
    /// Port of the page; 0 takes a free one
    #[arg(long, default_value_t = 0, requires = "serve")]
    pub port: u16,
    /// What the client was sent, byte for byte, and nothing else
    #[arg(long, conflicts_with_all = ["from", "speed"])]
    pub bytes: bool,
    /// What one of the two said before anything was masked, byte for byte: where the connection keeps originals, for a key
    /// that they were sealed to
    #[arg(long, value_name = "WHOSE", conflicts_with_all = ["bytes", "from", "speed", "serve"])]
    pub original: Option<Peer>,
}

fn speed(text: &str) -> Result<f64, String> {
    let speed = text.parse().ok().filter(|speed: &f64| speed.is_finite() && *speed > 0.0);
    speed.ok_or_else(|| "write how many times as fast, such as 1, 4 or 0.5".to_owned())
}

#[derive(Args)]
pub(crate) struct ExportArgs {
    #[command(flatten)]
    pub segments: SegmentsArg,
    /// Only this session
    #[arg(long)]
    pub session: Option<String>,
    /// What to write
    #[arg(long, value_enum, default_value_t)]
    pub format: Format,
    /// Write here, whole or not at all; without it to standard output
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
    #[command(flatten)]
    pub span: SpanArgs,
    /// The same as --format jsonl
    #[arg(long, conflicts_with = "format")]
    pub json: bool,
}

/// A span of recorded time.
#[derive(Args)]
pub(crate) struct SpanArgs {
    /// Events from this time on: 2026-01-31, or 2026-01-31T17:05:09Z
    #[arg(long, value_name = "TIME", value_parser = when::parse)]
    pub from: Option<i64>,
    /// Events before this time
    #[arg(long, value_name = "TIME", value_parser = when::parse)]
    pub until: Option<i64>,
}

#[derive(Subcommand)]
pub(crate) enum Report {
    /// HIPAA Security Rule, 164.312
    #[command(
        after_help = "Example:\n  weir-admin report hipaa --from 2026-01-01 --until 2026-02-01 --key segment.pub --out january"
    )]
    Hipaa(ReportArgs),
    /// NIST SP 800-53: AC-2, AC-3, AC-6, AU-2, AU-3, AU-6, AU-9, AU-10, AU-12, IA-2, SC-7, SI-4
    #[command(
        after_help = "Example:\n  weir-admin report nist --from 2026-01-01 --until 2026-02-01 --key segment.pub --out january"
    )]
    Nist(ReportArgs),
}

#[derive(Args)]
pub(crate) struct ReportArgs {
    #[command(flatten)]
    pub segments: SegmentsArg,
    /// The node's public segment key
    #[arg(long, env = "WEIR_VERIFY_KEY", value_name = "FILE")]
    pub key: PathBuf,
    /// Events from this time on: 2026-01-31, or 2026-01-31T17:05:09Z
    #[arg(long, value_name = "TIME", value_parser = when::parse)]
    pub from: i64,
    /// Events before this time
    #[arg(long, value_name = "TIME", value_parser = when::parse)]
    pub until: i64,
    /// Where the report goes: a new directory
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
    /// Number of the first segment, where earlier ones were retired
    #[arg(long, value_name = "NUMBER", default_value_t = 1)]
    pub first: u64,
    /// The recorder has ended: the last segment must be sealed too
    #[arg(long)]
    pub sealed: bool,
    /// A file of checkpoints, as the archive has them or as `sessions verify --checkpoint` wrote it: what it names must be there
    #[arg(long, value_name = "FILE")]
    pub checkpoint: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}
