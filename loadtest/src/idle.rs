//! Resident memory per idle session: hundreds of TLS sessions that have each run one query. Of Weir, only with everything
//! on: what its allocator keeps of one measurement would serve the next.

use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::peers::Peers;
use crate::process::pss_bytes;
use crate::report::{Report, Table};

/// The sample server takes 1300, and PgBouncer keeps its own open.
const SESSIONS: u32 = 500;

const WARM: Duration = Duration::from_secs(2);

/// Long enough for every session to be open and idle when memory is read, on a slow machine too.
const SETTLE: Duration = Duration::from_secs(25);

pub(crate) fn measure(peers: &Peers, report: &mut Report) -> Result<()> {
    let mut table = Table::new(format!("{SESSIONS} idle TLS sessions after one query"), "KiB a session");
    let script = peers.dir().join("idle.sql");
    std::fs::write(&script, "SELECT 1;\n\\sleep 40 s\n").context("writing the idle script")?;
    for peer in peers.all().iter().filter(|peer| ["pgbouncer", "weir fast"].contains(&peer.name.as_str())) {
        // What the first sessions make a process hold once is no session's.
        peer.spawn_pgbench(&["-n", "-S", "-c", "16", "-t", "20"])?.wait()?;
        thread::sleep(WARM);
        let before = peer.pids.iter().map(|pid| pss_bytes(*pid)).sum::<Result<u64>>()?;
        let sessions = SESSIONS.to_string();
        let mut run = peer.spawn_pgbench(&[
            "-n",
            "-c",
            &sessions,
            "-j",
            "2",
            "-t",
            "1",
            "-f",
            &script.to_string_lossy(),
        ])?;
        thread::sleep(SETTLE);
        let after = peer.pids.iter().map(|pid| pss_bytes(*pid)).sum::<Result<u64>>()?;
        anyhow::ensure!(run.try_wait()?.is_none(), "{}: the idle sessions did not stay", peer.name);
        run.kill()?;
        run.wait()?;
        table.add(
            "after one query",
            &peer.name,
            after.saturating_sub(before) as f64 / 1024.0 / f64::from(SESSIONS),
        );
    }
    report.push(table);
    Ok(())
}
