//! Samples in, one table a measurement out: medians, and each peer's ratio to the one it is held against.

use std::collections::BTreeMap;

use anyhow::Result;

/// What ratios are held against.
pub(crate) const ANCHOR: &str = "pgbouncer";

#[derive(Default)]
pub(crate) struct Report {
    tables: Vec<Table>,
}

/// One measurement: rows are cases, columns are peers.
pub(crate) struct Table {
    title: String,
    unit: &'static str,
    /// Case, then peer, then samples; cases in the order first seen.
    cases: Vec<(String, BTreeMap<String, Vec<f64>>)>,
    peers: Vec<String>,
}

impl Table {
    pub(crate) fn new(title: impl Into<String>, unit: &'static str) -> Self {
        Self { title: title.into(), unit, cases: Vec::new(), peers: Vec::new() }
    }

    pub(crate) fn add(&mut self, case: &str, peer: &str, sample: f64) {
        if !self.peers.iter().any(|known| known == peer) {
            self.peers.push(peer.to_owned());
        }
        let at = self.cases.iter().position(|(known, _)| known == case).unwrap_or_else(|| {
            self.cases.push((case.to_owned(), BTreeMap::new()));
            self.cases.len() - 1
        });
        if let Some((_, peers)) = self.cases.get_mut(at) {
            peers.entry(peer.to_owned()).or_default().push(sample);
        }
    }

    fn print(&self) {
        println!("\n{} ({}; median, ratio to {ANCHOR})", self.title, self.unit);
        print!("{:<28}", "");
        self.peers.iter().for_each(|peer| print!("{peer:>22}"));
        println!();
        for (case, peers) in &self.cases {
            print!("{case:<28}");
            let anchor = peers.get(ANCHOR).and_then(|samples| median(samples));
            for peer in &self.peers {
                let value = peers.get(peer).and_then(|samples| median(samples));
                let cell = match (value, anchor) {
                    (Some(value), Some(anchor)) if anchor > 0.0 => {
                        format!("{value:.2} ({:.2}x)", value / anchor)
                    }
                    (Some(value), _) => format!("{value:.2}"),
                    (None, _) => "-".to_owned(),
                };
                print!("{cell:>22}");
            }
            println!();
        }
    }

    fn json(&self) -> serde_json::Value {
        let cases = self.cases.iter().map(|(case, peers)| {
            let medians = peers.iter().map(|(peer, samples)| (peer.clone(), median(samples).into()));
            (case.clone(), serde_json::Value::Object(medians.collect()))
        });
        serde_json::json!({"title": self.title, "unit": self.unit, "cases": serde_json::Value::Object(cases.collect())})
    }
}

impl Report {
    pub(crate) fn push(&mut self, table: Table) {
        self.tables.push(table);
    }

    pub(crate) fn print(&self, json: bool) -> Result<()> {
        if json {
            let tables = self.tables.iter().map(Table::json).collect::<Vec<_>>();
            println!("{}", serde_json::to_string_pretty(&tables)?);
        } else {
            self.tables.iter().for_each(Table::print);
        }
        Ok(())
    }
}

fn median(samples: &[f64]) -> Option<f64> {
    let mut sorted = samples.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied()
}
