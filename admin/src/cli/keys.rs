//! `keys`: public halves of what admin made, and an auditor's key.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::TableArg;

#[derive(Args)]
pub(crate) struct KeysArg {
    #[command(subcommand)]
    pub command: Option<KeysCommand>,
    #[command(flatten)]
    pub table: TableArg,
}

#[derive(Subcommand)]
pub(crate) enum KeysCommand {
    /// Make an auditor's key (mode 0600) and its public half beside it, which recorders encrypt to
    #[command(
        after_help = "The public half is for `recipients` in [recorder]. The private half opens what was recorded: keep it \
                      where auditors work, not on the node.\n\n\
                      Example:\n  weir-admin keys auditor --out /media/vault/auditor.key"
    )]
    Auditor {
        /// The private half; the public half gets `.pub` appended
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
    },
}
