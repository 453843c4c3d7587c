//! What the archive's commands take: shipping, and verifying what came of it.

use std::path::PathBuf;

use clap::Args;

use super::{ConfigArg, SegmentsArg};

#[derive(Args)]
pub(crate) struct ShipArgs {
    #[command(flatten)]
    pub config: ConfigArg,
    /// Ship what is sealed now, and end
    #[arg(long)]
    pub once: bool,
    /// Compare everything that was shipped with what the archive holds, and with the segments that are still here
    #[arg(long, conflicts_with = "once")]
    pub check: bool,
    /// With --check: print JSON
    #[arg(long, requires = "check")]
    pub json: bool,
}

#[derive(Args)]
pub(crate) struct VerifyArgs {
    #[command(flatten)]
    pub segments: SegmentsArg,
    /// The node's public segment key
    #[arg(long, env = "WEIR_VERIFY_KEY", value_name = "FILE")]
    pub key: PathBuf,
    /// Number of the first segment, where earlier ones were retired
    #[arg(long, value_name = "NUMBER", default_value_t = 1)]
    pub first: u64,
    /// The recorder has ended: the last segment must be sealed too
    #[arg(long)]
    pub sealed: bool,
    /// Remember here how far the record went, and find it set back or cut since. Keep the file where the recorder
    /// cannot write. A file of signed checkpoints is only compared with
    #[arg(long, value_name = "FILE")]
    pub checkpoint: Option<PathBuf>,
    /// The admin service, whose checkpoints are compared with if it answers
    #[arg(long, env = "WEIR_ADMIN_URL", value_name = "URL")]
    pub url: Option<String>,
    /// File holding your token for it
    #[arg(long, env = "WEIR_ADMIN_TOKEN_FILE", value_name = "FILE")]
    pub token_file: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}
