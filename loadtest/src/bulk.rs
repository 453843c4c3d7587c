//! CPU per gigabyte of rows: repeated 1 MB SELECTs, one 100 MB SELECT, one 100 MB COPY.

use anyhow::Result;

use crate::Pg;
use crate::peers::Peers;
use crate::report::{Report, Table};

/// Name, SQL, how many times in one session. The tables are made by `peers`.
const CASES: [(&str, &str, u32); 3] = [
    ("SELECT 1 MB x 50", "SELECT * FROM bulk_rows WHERE id <= 7000", 50),
    ("SELECT 100 MB", "SELECT * FROM bulk_rows", 1),
    ("COPY 100 MB", "COPY bulk_rows TO STDOUT", 1),
];

pub(crate) fn measure(peers: &Peers, options: &Pg, report: &mut Report) -> Result<()> {
    let mut table = Table::new("bulk rows, client TLS", "CPU s a GB");
    for _round in 0..options.rounds {
        for (case, sql, times) in CASES {
            for peer in peers.all().iter().filter(|peer| !peer.pids.is_empty()) {
                let before = peer.cpu_ns()?;
                let bytes = peer.read_rows(sql, times)?;
                let used = peer.cpu_ns()? - before;
                table.add(case, &peer.name, used as f64 / bytes as f64);
            }
        }
    }
    report.push(table);
    Ok(())
}
