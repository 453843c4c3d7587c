//! `weir-recorder`: reads its configuration, makes keys, runs the service. Nothing else is decided here.

use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use weir_recorder::config::Config;
use weir_recorder::disk::RealDisk;
use weir_recorder::service::Service;
use weir_recorder::{Error, keys};

/// Writes what the data plane's rings hold into sealed, signed segments.
///
/// Example: weir-recorder --config /etc/weir/weir.toml
#[derive(Parser)]
#[command(version, args_conflicts_with_subcommands = true, arg_required_else_help = true)]
struct Arguments {
    /// The node's configuration; the table [recorder] is this program's
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand)]
enum Command {
    /// Make a segment signing key (mode 0600) and its public half beside it
    ///
    /// Example: weir-recorder keygen --out /etc/weir/keys/segment.key
    Keygen {
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
    },
}

fn main() -> ExitCode {
    // Data keys and what is to be encrypted with them never reach a core file.
    if let Err(error) = rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable)
    {
        eprintln!("weir-recorder: cannot keep this process out of core files: {error}");
        return ExitCode::FAILURE;
    }
    let filter = tracing_subscriber::EnvFilter::try_from_env("WEIR_LOG");
    let filter = filter.unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("info"));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    let arguments = Arguments::parse();
    let outcome = match (arguments.command, arguments.config) {
        (Some(Command::Keygen { out }), _) => {
            keys::generate(&out).map(|public| println!("{}", public.display()))
        }
        (None, Some(config)) => run(&config),
        (None, None) => return ExitCode::from(2),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn run(config: &std::path::Path) -> Result<(), Error> {
    let config = Config::load(config)?;
    let signals = |source| Error::Os { what: "cannot listen for signals", source };
    let service = Service::start(config, Box::new(RealDisk))?;
    let (stop, write) = UnixStream::pair().map_err(signals)?;
    for signal in [signal_hook::consts::SIGTERM, signal_hook::consts::SIGINT] {
        signal_hook::low_level::pipe::register(signal, write.try_clone().map_err(signals)?)
            .map_err(signals)?;
    }
    service.run(&stop)
}
