//! `weir-dataplane`: the proxy. Starts one pinned thread a core, the control thread and the thread that hands rings to
//! the recorder, then waits for signals. It holds no file it could write but its rings.

mod budgets;
mod clock;
mod config;
mod control;
mod exposition;
mod limits;
mod listen;
mod metrics;
mod net;
mod record;
mod roll;
mod session;
mod shared;
mod socket;
mod ssh_door;
mod standing;
mod start;
mod tls;
mod tokens;
mod upstream;
mod worker;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use tracing_subscriber::EnvFilter;

/// The Weir proxy: takes clients in, identifies them, asks policy, and connects them to what it protects.
///
/// Example: weir-dataplane --config /etc/weir/weir.toml
#[derive(Parser)]
#[command(version)]
struct Arguments {
    /// The node's configuration.
    #[arg(long, default_value = "/etc/weir/weir.toml")]
    config: PathBuf,
    /// Check the configuration, the certificates and the bundle, and start nothing.
    #[arg(long)]
    check: bool,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let filter = EnvFilter::try_from_env("WEIR_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    let colour = std::io::IsTerminal::is_terminal(&std::io::stderr());
    tracing_subscriber::fmt().with_env_filter(filter).with_ansi(colour).with_writer(std::io::stderr).init();
    match start::run(&arguments.config, arguments.check) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error:#}");
            ExitCode::FAILURE
        }
    }
}
