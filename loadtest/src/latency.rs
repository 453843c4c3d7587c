//! What a proxy adds to a transaction's latency at a fixed, modest rate.

use anyhow::{Context, Result};

use crate::Pg;
use crate::peers::Peers;
use crate::report::{Report, Table};

pub(crate) fn measure(peers: &Peers, options: &Pg, report: &mut Report) -> Result<()> {
    let mut p50 = Table::new("latency p50 at 400/s, 16 clients, extended", "µs");
    let mut p99 = Table::new("latency p99, the same runs", "µs");
    for _round in 0..options.rounds {
        for peer in peers.all() {
            let logs = peers.dir().join(format!("latency-{}", peer.name));
            let prefix = logs.to_string_lossy().into_owned();
            peer.pgbench(&[
                "-n",
                "-S",
                "-M",
                "extended",
                "-c",
                "16",
                "-j",
                "1",
                "-R",
                "400",
                "-T",
                "5",
                "-l",
                "--log-prefix",
                &prefix,
            ])?;
            let mut micros = read_log(&prefix)?;
            micros.sort_unstable();
            for (table, share) in [(&mut p50, 50), (&mut p99, 99)] {
                let at = micros.len() * share / 100;
                table.add("extended", &peer.name, *micros.get(at).context("pgbench logged nothing")? as f64);
            }
        }
    }
    report.push(p50);
    report.push(p99);
    Ok(())
}

/// The third field of pgbench's log lines is the transaction's time in µs, the schedule lag (sixth) included.
fn read_log(prefix: &str) -> Result<Vec<u64>> {
    let folder = std::path::Path::new(prefix).parent().context("prefix has no folder")?;
    let mut micros = Vec::new();
    for entry in std::fs::read_dir(folder)?.flatten() {
        let path = entry.path();
        if path.to_string_lossy().starts_with(&format!("{prefix}.")) {
            let text = std::fs::read_to_string(&path)?;
            micros.extend(text.lines().filter_map(|line| {
                let fields = line.split_whitespace().collect::<Vec<_>>();
                let (total, lag) = (fields.get(2)?.parse::<u64>().ok()?, fields.get(6)?.parse::<u64>().ok()?);
                Some(total.saturating_sub(lag))
            }));
            std::fs::remove_file(path)?;
        }
    }
    Ok(micros)
}
