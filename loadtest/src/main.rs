//! weir-load: Weir beside its peers, interleaved in one run, in CPU per unit of work.
//!
//! It drives stock pgbench and psql against real servers and reads what each proxy's processes used. It judges
//! nothing: it prints medians and ratios. Wall-clock rates are not compared, machines being what they are.

mod appliance;
mod bulk;
mod idle;
mod latency;
mod peers;
mod process;
mod report;
mod transactions;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

/// Load generator and peer comparisons.
#[derive(Parser)]
#[command(name = "weir-load", version, about)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Postgres: pgbench and bulk reads, direct, through PgBouncer and through Weir.
    ///
    /// Example: weir-load pg --rounds 3 --clients 16,32
    Pg(Pg),
}

#[derive(Args)]
pub(crate) struct Pg {
    /// Interleaved rounds; medians are taken over them.
    #[arg(long, default_value_t = 3)]
    rounds: u32,
    /// Concurrent clients.
    #[arg(long, value_delimiter = ',', default_values_t = [16, 32])]
    clients: Vec<u32>,
    /// Transactions per client and sample.
    #[arg(long, default_value_t = 600)]
    transactions: u32,
    /// What to measure.
    #[arg(long, value_delimiter = ',', value_enum, default_values_t = [Part::Transactions, Part::Bulk, Part::Latency, Part::Idle])]
    parts: Vec<Part>,
    /// Where the appliance lives while it is measured.
    #[arg(long, default_value = "target/load")]
    dir: PathBuf,
    /// Print one JSON object instead of tables.
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Part {
    Bulk,
    Idle,
    Latency,
    Transactions,
}

fn main() -> anyhow::Result<()> {
    let Cli { command: Command::Pg(options) } = Cli::parse();
    let appliance = appliance::Appliance::start(&options.dir)?;
    let peers = peers::Peers::start(&appliance)?;
    let mut report = report::Report::default();
    for part in &options.parts {
        match part {
            Part::Bulk => bulk::measure(&peers, &options, &mut report)?,
            Part::Idle => idle::measure(&peers, &mut report)?,
            Part::Latency => latency::measure(&peers, &options, &mut report)?,
            Part::Transactions => transactions::measure(&peers, &options, &mut report)?,
        }
    }
    report.print(options.json)?;
    let log = appliance.dir.join("logs/recorder.log");
    drop((peers, appliance));
    // The recorder's last word: how many commands shared a sync.
    let said = std::fs::read_to_string(&log)?;
    let synced =
        said.lines().rev().find(|line| line.contains("synced")).unwrap_or("the recorder did not say");
    eprintln!("{synced}");
    Ok(())
}
