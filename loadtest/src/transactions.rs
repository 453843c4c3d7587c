//! CPU per point-query transaction: `pgbench -S` in each protocol mode, every peer in turn within each round.

use anyhow::Result;

use crate::Pg;
use crate::peers::Peers;
use crate::report::{Report, Table};

const MODES: [&str; 3] = ["simple", "extended", "prepared"];

pub(crate) fn measure(peers: &Peers, options: &Pg, report: &mut Report) -> Result<()> {
    let mut table = Table::new("pgbench -S, client TLS", "CPU µs a transaction");
    for _round in 0..options.rounds {
        for mode in MODES {
            for clients in &options.clients {
                for peer in peers.all() {
                    let before = peer.cpu_ns()?;
                    let done = peer.pgbench(&[
                        "-n",
                        "-S",
                        "-M",
                        mode,
                        "-c",
                        &clients.to_string(),
                        "-j",
                        "1",
                        "-t",
                        &options.transactions.to_string(),
                    ])?;
                    let used = peer.cpu_ns()? - before;
                    if !peer.pids.is_empty() {
                        let micros = used as f64 / 1_000.0 / done.transactions as f64;
                        table.add(&format!("{mode}, {clients} clients"), &peer.name, micros);
                    }
                }
            }
        }
    }
    report.push(table);
    Ok(())
}
