//! `ssh`: certificates for SSH clients.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};

use super::ServiceArg;

#[derive(Subcommand)]
pub(crate) enum Ssh {
    /// A short-lived user certificate for your key, against your token
    #[command(
        after_help = "It ends with your token at the latest, and is for connections that were granted to you. It is written beside the \
                      key, where `ssh -i KEY` finds it.\n\n\
                      Example:\n  weir-admin ssh cert --key ~/.ssh/id_ed25519.pub --connection web1 --ttl 1h\n  \
                      ssh -p 2222 -i ~/.ssh/id_ed25519 deploy+web1@gateway uptime"
    )]
    Cert(SshCert),
}

#[derive(Args)]
pub(crate) struct SshCert {
    /// The public key; KEY-cert.pub is written beside it
    #[arg(long, value_name = "KEY.pub")]
    pub key: PathBuf,
    /// A connection that it is for; may be given several times. Without it, all that were granted to you
    #[arg(long = "connection", value_name = "NAME")]
    pub connections: Vec<String>,
    /// How long it is good for, at most 12h
    #[arg(long, default_value = "1h", value_parser = weir_sources::duration)]
    pub ttl: Duration,
    /// The one command that it is for
    #[arg(long, value_name = "LINE")]
    pub force_command: Option<String>,
    /// Addresses or networks that it may be used from, with commas between
    #[arg(long, value_name = "LIST")]
    pub source_address: Option<String>,
    #[command(flatten)]
    pub service: ServiceArg,
}
